"""What the samples of a TIFF mean: grey values, colours, alpha, inks, numbers of a palette."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RGB, _PALETTE, _SEPARATED, _YCBCR = 2, 3, 5, 6
_NOT_RGB = {_YCBCR: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32845: "LogLuv"}
_JPEG = (6, 7, 33005, 34892)  # its decoder makes RGB of YCbCr
_CMYK = 1
_ALPHA = (1, 2)
# A palette's brightness may fall by so much of its range where it should only rise: rounding.
_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Colours:
    """How to read the samples of a series.

    Parameters
    ----------
    has_alpha
        Whether the second of two samples is alpha.
    to_rgb
        Makes RGB of a plane that holds something else.
    notices
        What is lost.
    """

    has_alpha: bool = False
    to_rgb: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    notices: tuple[str, ...] = ()


def colours_of(tiff: Any, series: Any) -> Colours:
    """Say how to read the samples of a series; the channels of an LSM are what they seem."""
    page = series.keyframe
    if tiff.is_lsm:
        return Colours()
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    extra = [int(kind) for kind in page.extrasamples or ()]
    if photometric == _PALETTE and samples == 1 and page.colormap is not None:
        return _palette(np.asarray(page.colormap))
    if photometric == _SEPARATED:
        return _inks(page, samples)
    if samples == 2:
        return Colours(has_alpha=extra[:1] in ([1], [2]))
    if samples == 4 and "S" in series.axes and not set(extra[-1:]) & set(_ALPHA):
        notice = (
            "its samples were read as red, green and blue, without the fourth; to read all as "
            "channels, give its axes with C for the samples"
        )
        return Colours(notices=(notice,))
    if photometric in _NOT_RGB and samples == 3 and int(page.compression) not in _JPEG:
        name = _NOT_RGB[photometric]
        return Colours(notices=(f"its {name} was read as if it were RGB; save it as RGB",))
    return Colours()


def _palette(palette: NDArray[Any]) -> Colours:
    """Decide between the numbers and their colours, `palette` being (3, number of colours)."""
    if _is_ramp(palette):
        return Colours()
    colours = palette.T
    # 16 bits as the format asks for, or 8 as some write it
    colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)

    def to_rgb(plane: NDArray[Any]) -> NDArray[np.uint8]:
        return colours[plane.astype(np.intp)]  # those of one bit are bool

    return Colours(
        to_rgb=to_rgb,
        notices=(
            "its pixels are numbers of a palette; their colours were read, as the numbers are no "
            "order of brightness",
        ),
    )


def _is_ramp(palette: NDArray[Any]) -> bool:
    """Whether a palette becomes only brighter or only darker: its numbers are intensities."""
    brightness = np.array([0.299, 0.587, 0.114]) @ palette.astype(float)
    used = np.flatnonzero(palette.any(axis=0))
    brightness = brightness[: used[-1] + 1 if len(used) else 0]  # what follows is empty
    if len(brightness) < 2 or np.ptp(brightness) == 0:
        return True
    least = _TOLERANCE * np.ptp(brightness)
    rises = (np.maximum.accumulate(brightness) - brightness).max() <= least
    falls = (brightness - np.minimum.accumulate(brightness)).max() <= least
    return bool(rises or falls)


def _inks(page: Any, samples: int) -> Colours:
    kind = page.tags.get("InkSet")
    if samples != 4 or (kind is not None and int(kind.value) != _CMYK):
        return Colours(notices=(f"its {samples} inks were read as channels, not as colours",))
    most = np.iinfo(page.dtype).max if page.dtype.kind in "ui" else 1.0

    def to_rgb(plane: NDArray[Any]) -> NDArray[Any]:
        left = most - plane.astype(np.float32)  # light that each ink lets through
        rgb = left[..., :3] * (left[..., 3:] / most)
        return rgb.round().astype(plane.dtype) if plane.dtype.kind in "ui" else rgb

    notice = "its colours are CMYK and were turned into RGB without a colour profile"
    return Colours(to_rgb=to_rgb, notices=(notice,))
