"""Pictures as cameras and drawing programs write them, with all of their bits."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.io.image_file import Stored, UnreadableImageError

# Named, so that a broken file is not offered to every decoder in turn.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# Of PNG with 16 bits: Pillow's type of image and its names for the first and second byte.
_BYTES = {"RGB;16B": ("RGB", "RGB;16L"), "RGBA;16B": ("RGBA", "RGBA;16L")}
_JPEG_2000_START = b"\xff\x4f\xff\x51"


def read_picture(path: Path) -> Stored:
    """Read PNG, JPEG, BMP, GIF, WebP or JPEG 2000.

    GIF and animated PNG are stacks over time, as napari opens them; of other files with several
    pictures the first is read. Palettes and inks become RGB.

    Raises
    ------
    UnreadableImageError
        If the file is damaged, cut short, none of these, or too large for its decoder.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as picture:
            if picture.format == "GIF" or (picture.format == "PNG" and _frames(picture) > 1):
                return _read_animation(picture)
            raw = _raw_mode(picture)  # known until it is loaded
            picture.load()
            stored = _read_deep(path, picture, raw) or _read_shallow(picture)
            return _with_notice_of_frames(stored, _frames(picture))
    except (Image.DecompressionBombError, MemoryError) as error:
        raise UnreadableImageError(
            f"cannot read {path} as a picture: {error}; if it really is that large, save it as "
            "TIFF or Zarr"
        ) from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise UnreadableImageError(f"cannot read {path} as a picture: {error}") from error


def _frames(picture: Any) -> int:
    return int(getattr(picture, "n_frames", 1))


def _with_notice_of_frames(stored: Stored, count: int) -> Stored:
    if count == 1:
        return stored
    notice = f"it holds {count} pictures, of which the first was read; save a stack as TIFF"
    return replace(stored, notices=(*stored.notices, notice))


def _read_animation(picture: Any) -> Stored:
    notices: tuple[str, ...] = ()
    if _raw_mode(picture).endswith(";16B"):
        notices = ("8 of the 16 bits of its colours were read; save a stack as TIFF",)
    frames = []
    for number in range(_frames(picture)):
        picture.seek(number)
        frames.append(np.asarray(picture.convert("RGB")))
    return Stored(np.stack(frames), "TYXS", notices=notices)


def _read_shallow(picture: Any) -> Stored:
    """Read what Pillow holds in full: up to 8 bits of a colour, any grey value."""
    mode = picture.mode
    if mode in _GREY:
        pixels = np.asarray(picture)
        # Pillow before 11.3 widens the 16 bits of PNG.
        narrow = mode == "I" and picture.format == "PNG"
        return Stored(pixels.astype(np.uint16) if narrow else pixels, "YX")
    if mode in ("LA", "La"):
        return Stored(np.asarray(picture)[..., 0], "YX")
    if mode in ("RGB", "RGBA"):
        return Stored(np.asarray(picture), "YXS")
    notices: tuple[str, ...] = ()
    if mode not in ("P", "PA", "RGBX", "RGBa"):
        notices = (f"its colours are {mode} and were turned into RGB without a colour profile",)
    return Stored(np.asarray(picture.convert("RGB")), "YXS", notices=notices)


def _read_deep(path: Path, picture: Any, raw: str) -> Stored | None:
    """Read more than 8 bits of a colour, where there are more; Pillow keeps 8."""
    if picture.format == "JPEG2000":
        return _read_deep_jpeg_2000(path, picture)
    if picture.format != "PNG" or raw not in (*_BYTES, "LA;16B"):
        return None
    from PIL import Image

    compressed = _png_data(path.read_bytes())
    interlaced = int(picture.info.get("interlace", 0))

    def decode(mode: str, bytes_as: str) -> NDArray[Any]:
        decoded = Image.frombytes(mode, picture.size, compressed, "zip", bytes_as, interlaced)
        return np.asarray(decoded)

    if raw == "LA;16B":  # two numbers of two bytes: as many as RGBA has
        return Stored(np.array(decode("RGBA", "RGBA")).view(">u2")[..., 0].astype("u2"), "YX")
    mode, second = _BYTES[raw]
    pixels = decode(mode, raw).astype(np.uint16)
    return Stored(pixels << 8 | decode(mode, second), "YXS")


def _raw_mode(picture: Any) -> str:
    """Return how the file holds its pixels, in Pillow's words."""
    arguments = picture.tile[0][3] if picture.tile else ""
    return arguments if isinstance(arguments, str) else ""


def _png_data(content: bytes) -> bytes:
    """Join the parts of a PNG's compressed pixels."""
    at, parts = 8, []
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"IDAT":
            parts.append(content[at + 8 : at + 8 + length])
        if kind == b"IEND":  # some programs write more behind it
            break
        at += length + 12
    return b"".join(parts)


def _read_deep_jpeg_2000(path: Path, picture: Any) -> Stored | None:
    content = path.read_bytes()
    depth = _jpeg_2000_depth(content)
    if depth <= 8:
        return None
    try:
        from imagecodecs import jpeg2k_decode
    except ImportError:
        pass
    else:
        pixels = jpeg2k_decode(content)
        if pixels.ndim == 3 and pixels.shape[2] == 2:
            pixels = pixels[..., 0]
        return Stored(pixels, "YXS" if pixels.ndim == 3 else "YX")
    pixels = np.asarray(picture)
    if pixels.ndim == 2:
        return Stored(pixels >> (16 - depth), "YX")  # Pillow fills its 16 bits from above
    # Pillow keeps 8 bits of a colour and makes the brightest ones black
    raise ValueError(
        f"its colours have {depth} bits, for which a decoder is missing; install it with: "
        'pip install "napari-sam-live[codecs]"'
    )


def _jpeg_2000_depth(content: bytes) -> int:
    """Return the most bits that a component has."""
    start = content.find(_JPEG_2000_START)
    if start < 0:
        return 8
    (count,) = struct.unpack_from(">H", content, start + 40)
    return max((content[start + 42 + 3 * i] & 0x7F) + 1 for i in range(count))
