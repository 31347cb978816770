"""Make the package's sample images from the labelled microscopy set.

Usage: ``make_samples.py FOLDER``, with the folder that holds ``loader.py`` and the packed images.

Writes each image as a compressed OME-TIFF with its pixel size and a prompts file with one click
in the middle of some of its objects to ``src/napari_sam/data/samples``, and the labels it came
with to ``tests/core/data``, where tests measure against them. The images are from the validation
split or, for the neurites, from the slices that training leaves out.
"""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_sam.io import write_labels, write_prompts
from napari_sam.prompts import Prompts, deepest_point

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "src/napari_sam/data/samples"
LABELS = ROOT / "tests/core/data"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which item becomes which sample, and where its clicks are.

    `planes` are the clicked planes, `objects` how many objects are clicked on each, `smallest`
    the area in pixels from which an object counts.
    """

    item: str
    axes: str
    objects: int
    smallest: int
    region: tuple[slice, ...] = (slice(None),)
    planes: tuple[tuple[int, ...], ...] = ((),)


RECIPES = {
    "nuclei": Recipe("dsb_425", "YX", objects=24, smallest=200),
    "histology": Recipe("dsb_440", "YXS", objects=10, smallest=200),
    "phase_contrast": Recipe("usi_36", "YX", objects=16, smallest=300),
    "ovule_3d": Recipe(
        "ps_sample_ovule", "ZYX", objects=6, smallest=150, planes=((8,), (16,), (24,))
    ),
    "embryo_3d": Recipe(
        "qcanet_8_cell_stage", "ZYX", objects=6, smallest=80, planes=((13,), (21,), (29,), (37,))
    ),
    "neurites_3d": Recipe(
        "fib25_z140-249",
        "ZYX",
        objects=6,
        smallest=400,
        region=(slice(-20, None),),
        planes=((4,), (10,), (16,)),
    ),
}


def main(folder: Path) -> None:
    """Write every sample, its clicks and its labels."""
    packed = load_packed(folder)
    items = {item["id"]: item for item in packed.items()}
    for name, recipe in RECIPES.items():
        item = items[recipe.item]
        image, labels = (array[recipe.region] for array in packed.load(item))
        write_image(IMAGES / f"{name}.tif", image, recipe.axes, voxel_size(item))
        write_prompts(IMAGES / f"{name}.csv", central_clicks(labels, recipe))
        write_labels(LABELS / f"{name}.tif", labels)
        print(f"{name}: {(IMAGES / f'{name}.tif').stat().st_size / 1e3:.0f} kB")


def load_packed(folder: Path):
    """Import the loader that lies beside the packed images."""
    spec = importlib.util.spec_from_file_location("loader", folder / "loader.py")
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    return loader.Packed()


def voxel_size(item: dict) -> dict[str, float]:
    """Return the known pixel sizes of an item in micrometres."""
    if voxel := item.get("voxel_um"):
        return dict(zip("ZYX", voxel, strict=True))
    side = item["pixel_size_um"]
    return {"Y": side, "X": side} if side else {}


def write_image(path: Path, image: NDArray, axes: str, sizes: dict[str, float]) -> None:
    """Write an OME-TIFF that every program reads: zlib without a predictor, 8 or 16 bits."""
    metadata = {"axes": axes}
    for axis, size in sizes.items():
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        image,
        ome=True,
        photometric="rgb" if axes.endswith("S") else "minisblack",
        compression="zlib",
        compressionargs={"level": 9},
        metadata=metadata,
    )


def central_clicks(labels: NDArray, recipe: Recipe) -> dict:
    """Click the middle of evenly spread objects that lie wholly inside the plane."""
    clicks = {}
    for plane in recipe.planes:
        here = labels[plane]
        border = np.concatenate([here[0], here[-1], here[:, 0], here[:, -1]])
        numbers, areas = np.unique(here, return_counts=True)
        wanted = (numbers > 0) & (areas >= recipe.smallest) & ~np.isin(numbers, border)
        eligible = numbers[wanted]
        chosen = np.linspace(0, len(eligible) - 1, min(recipe.objects, len(eligible)))
        for number in eligible[np.unique(chosen.round().astype(int))]:
            point = deepest_point(here == number)
            clicks[plane, int(number)] = Prompts(points=[point], point_labels=[1])
    return clicks


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
