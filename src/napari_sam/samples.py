"""Real microscopy inside the package: small, licensed, left out of the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Final

from napari_sam.io import ImageFile, PlaneObject, read_image, read_prompts
from napari_sam.prompts import Prompts


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample(ImageFile):
    """A sample image with its licence, and clicks to try on it.

    Parameters
    ----------
    data, axes, pixel_size, unit
        As in :class:`~napari_sam.io.ImageFile`.
    name : str
        Its key in `NAMES`.
    title : str
        Its title, for a menu.
    licence : str
        SPDX identifier of the image's licence.
    credit : str
        The credit to give when the image is shown or passed on.
    prompts : mapping of (plane index, object) to Prompts
        One click on each of some objects.
    """

    name: str
    title: str
    licence: str
    credit: str
    prompts: Mapping[PlaneObject, Prompts]


@dataclass(frozen=True, slots=True)
class _Origin:
    title: str
    licence: str
    credit: str


_BROAD = "Carpenter lab, Broad Institute of Harvard and MIT, Data Science Bowl 2018 (BBBC038)"
_ORIGINS: Final = {
    "nuclei": _Origin("Nuclei, fluorescence (2-D)", "CC0-1.0", _BROAD),
    "histology": _Origin("Nuclei, stained tissue in colour (2-D)", "CC0-1.0", _BROAD),
    "phase_contrast": _Origin(
        "Migrating cells, phase contrast (2-D)",
        "MIT",
        "Okinawa Institute of Science & Technology Graduate University, Usiigaci",
    ),
    "ovule_3d": _Origin(
        "Cells of an ovule, confocal (3-D)",
        "MIT",
        "European Molecular Biology Laboratory and Heidelberg Collaboratory for Image "
        "Processing, PlantSeg",
    ),
    "embryo_3d": _Origin(
        "Nuclei of an embryo, fluorescence (3-D)", "MIT", "Funahashi Lab., Keio University, QCANet"
    ),
    "neurites_3d": _Origin(
        "Neurites, electron microscopy (3-D)", "CC-BY-3.0", "FlyEM, HHMI Janelia, FIB-25"
    ),
}

NAMES: Final[tuple[str, ...]] = tuple(_ORIGINS)
"""Names of the samples, the simplest first."""


def title(name: str) -> str:
    """Return a sample's line for a menu without reading the image.

    Raises
    ------
    ValueError
        If there is no sample of that name.
    """
    return _origin(name).title


def load(name: str) -> Sample:
    """Load a sample image and the clicks that come with it.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    Sample
        An `ImageFile` held in memory.

    Raises
    ------
    ValueError
        If there is no sample of that name.

    Examples
    --------
    >>> sample = load("ovule_3d")
    >>> sample.axes, sample.data.shape, sample.pixel_size, sample.unit
    ('ZYX', (32, 128, 128), {'X': 0.15, 'Y': 0.15, 'Z': 0.235}, 'µm')
    """
    origin = _origin(name)
    folder = files("napari_sam") / "data" / "samples"
    with as_file(folder / f"{name}.tif") as path:
        image = read_image(path)
        # In memory, since the file may be a temporary copy out of an archive.
        data = image.data[...]
        pixels = data.compute() if hasattr(data, "compute") else data
    with as_file(folder / f"{name}.csv") as path:
        prompts = read_prompts(path)
    return Sample(
        pixels,
        image.axes,
        image.pixel_size,
        image.unit,
        name=name,
        title=origin.title,
        licence=origin.licence,
        credit=origin.credit,
        prompts=prompts,
    )


def _origin(name: str) -> _Origin:
    if name not in _ORIGINS:
        raise ValueError(f"expected one of the samples {', '.join(NAMES)}, got {name!r}")
    return _ORIGINS[name]
