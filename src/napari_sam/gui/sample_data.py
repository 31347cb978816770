"""The sample images of the package for *File › Open Sample*."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def nuclei() -> list[LayerData]:
    """Open nuclei in fluorescence."""
    return open_sample("nuclei")


def histology() -> list[LayerData]:
    """Open stained tissue in colour."""
    return open_sample("histology")


def phase_contrast() -> list[LayerData]:
    """Open migrating cells in phase contrast."""
    return open_sample("phase_contrast")


def ovule_3d() -> list[LayerData]:
    """Open a confocal stack of an ovule."""
    return open_sample("ovule_3d")


def embryo_3d() -> list[LayerData]:
    """Open a fluorescence stack of an embryo's nuclei."""
    return open_sample("embryo_3d")


def neurites_3d() -> list[LayerData]:
    """Open an electron microscopy stack of neurites."""
    return open_sample("neurites_3d")


def open_sample(name: str) -> list[LayerData]:
    """Return a sample of :mod:`napari_sam.samples` as napari's layer data.

    Parameters
    ----------
    name
        One of :data:`napari_sam.samples.NAMES`.
    """
    from napari_sam.gui.preload import preload
    from napari_sam.image import stack_limits
    from napari_sam.samples import load

    preload()  # the dock is likely to be opened next
    sample = load(name)
    axes = sample.axes[:-1] if sample.is_rgb else sample.axes
    sizes = sample.pixel_size or {}
    about: dict[str, Any] = {
        "name": sample.name,
        "rgb": sample.is_rgb,
        "scale": [sizes.get(axis, 1.0) for axis in axes],
        "axis_labels": tuple(axis.lower() for axis in axes),
        "metadata": {"licence": sample.licence, "credit": sample.credit},
    }
    stack = (
        sample.data[None] if len(sample.data.shape) == (3 if sample.is_rgb else 2) else sample.data
    )
    limits = stack_limits(stack)
    if limits is not None:  # napari's default for 8 bits, 0 to 255, shows most microscopy too dark
        about["contrast_limits"] = limits
    if sizes and all(axis in sizes for axis in axes):
        about["units"] = tuple(sample.unit or "pixel" for _ in axes)
    return [(sample.data, about, "image")]
