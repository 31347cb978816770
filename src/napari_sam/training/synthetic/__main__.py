"""Draw the contact sheet: ``python -m napari_sam.training.synthetic sheet.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_sam.training.synthetic import KINDS, Sample, generate
from napari_sam.training.synthetic.fields import borders

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
            tile = Image.fromarray(_outlined(generate(rng, size, kind)))
            sheet.paste(tile, (left + place * (size + 1), top + _CAPTION))
    return sheet


def _outlined(sample: Sample) -> NDArray[np.uint8]:
    picture = sample.image.copy()
    edge = borders(sample.labels) > 0
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
    chosen = parser.parse_args()
    sheet = contact_sheet(chosen.size, chosen.each, chosen.columns, chosen.seed)
    sheet.quantize(256, dither=Image.Dither.NONE).save(chosen.path, optimize=True)


if __name__ == "__main__":
    main()
