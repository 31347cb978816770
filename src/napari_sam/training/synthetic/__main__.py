"""Draw the contact sheet: ``python -m napari_sam.training.synthetic sheet.png``.

With ``--volumes``, that of the stacks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_sam.training.synthetic import KINDS, generate
from napari_sam.training.synthetic.fields import borders
from napari_sam.training.synthetic.volumes import VOLUME_KINDS, generate_volume

_CAPTION = 14
_GAP = 4
_OUTLINE = (255, 214, 0)


def contact_sheet(size: int, each: int, columns: int, seed: int) -> Image.Image:
    """Picture of every family: ``each`` samples side by side, outlined in their right halves.

    ``size`` is the side of a sample in pixels, ``columns`` the number of families in a row.
    """
    rows = -(-len(KINDS) // columns)
    width, height = each * (size + 1) + _GAP, size + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for index, kind in enumerate(KINDS):
        rng = np.random.default_rng((seed, index))
        left, top = index % columns * width, index // columns * height
        pen.text((left + 1, top), kind, fill="black")
        for place in range(each):
            sample = generate(rng, size, kind)
            tile = Image.fromarray(_outlined(sample.image, sample.labels))
            sheet.paste(tile, (left + place * (size + 1), top + _CAPTION))
    return sheet


def volume_sheet(size: int, each: int, seed: int) -> Image.Image:
    """Picture of every family of stacks: ``each`` to a row.

    Of each stack a plane from the middle is shown, outlined in its right half, and under it a
    section along the axis, in which a plane is as high as it is thick.
    """
    shape = (32, size, size)
    section_height = size // 2
    row_height = size + section_height + _CAPTION + _GAP
    sheet = Image.new("RGB", (each * (size + 1), len(VOLUME_KINDS) * row_height), "white")
    pen = ImageDraw.Draw(sheet)
    for index, kind in enumerate(VOLUME_KINDS):
        rng = np.random.default_rng((seed, index))
        top = index * row_height
        pen.text((1, top), kind, fill="black")
        for place in range(each):
            volume = generate_volume(rng, shape, kind)
            middle = np.repeat(volume.image[shape[0] // 2, ..., None], 3, 2)
            tile = Image.fromarray(_outlined(middle, volume.labels[shape[0] // 2]))
            sheet.paste(tile, (place * (size + 1), top + _CAPTION))
            section = Image.fromarray(volume.image[:, size // 2]).convert("RGB")
            tall = section.resize((size, round(shape[0] * volume.step)), Image.Resampling.NEAREST)
            sheet.paste(
                tall.crop((0, 0, size, section_height)),
                (place * (size + 1), top + _CAPTION + size + 1),
            )
    return sheet


def _outlined(image: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    picture = image.copy()
    edge = borders(labels) > 0
    edge[:, : edge.shape[1] // 2] = False
    picture[edge] = _OUTLINE
    return picture


def main() -> None:
    """Write the sheet to the given path, in 256 colours to keep the file small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--volumes", action="store_true", help="stacks instead of planes")
    chosen = parser.parse_args()
    if chosen.volumes:
        sheet = volume_sheet(chosen.size, chosen.each, chosen.seed)
    else:
        sheet = contact_sheet(chosen.size, chosen.each, chosen.columns, chosen.seed)
    sheet.quantize(256, dither=Image.Dither.NONE).save(chosen.path, optimize=True)


if __name__ == "__main__":
    main()
