"""Cut the small pictures of the start page out of those that ``make_screenshots.py`` takes.

python docs/make_cards.py
"""

from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parent / "images"
SIZE = (480, 300)  # pixels, width and height
# Card: picture, and left, top, right, bottom of the part.
PARTS = {
    "one-object": ("viewer-strokes", (0, 66, 690, 497)),
    "many-objects": ("viewer-everything", (400, 220, 1000, 595)),
    "finish": ("viewer-queue", (650, 90, 1400, 559)),
    "stacks": ("viewer-follow", (420, 290, 900, 590)),
    "time": ("viewer-tracks", (350, 270, 1030, 695)),
    "fix-labels": ("viewer-correct", (350, 200, 1010, 612)),
    "teach": ("teach-before-after", (0, 0, 588, 368)),
    "hand-over": ("viewer-objects", (1044, 655, 1396, 875)),
    "many-images": ("viewer-images", None),
    "batch": ("batch-overlay", None),
    "remote": ("viewer-dock", None),
}


def main() -> None:
    for card, (picture, part) in PARTS.items():
        with Image.open(IMAGES / f"{picture}.png") as whole:
            pixels = whole.convert("RGB")
        if part is None:  # the top, as high as it is wide by the card's shape
            part = (0, 0, pixels.width, min(pixels.height, pixels.width * SIZE[1] // SIZE[0]))
        small = pixels.crop(part).resize(SIZE, Image.Resampling.LANCZOS)
        path = IMAGES / f"card-{card}.png"
        small.quantize(128).save(path, optimize=True)
        print(path, path.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
