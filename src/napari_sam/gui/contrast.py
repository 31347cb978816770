"""Colours with enough contrast to the background of napari's theme."""

from __future__ import annotations

from typing import Any

from napari.utils.theme import get_theme

LEAST = 3.0  # contrast of a symbol to its background, as WCAG 2 requires
_STEPS = 40

Rgb = tuple[float, float, float]


def background_of(viewer: Any) -> str:
    """Return the background of a viewer's theme, such as ``"#23242b"``."""
    colour: str = get_theme(viewer.theme).background.as_hex(format="long")
    return colour[:7]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21."""
    dark, light = sorted((_luminance(_rgb(one)), _luminance(_rgb(other))))
    return (light + 0.05) / (dark + 0.05)


def blended(colour: str, opacity: float, below: str) -> str:
    """Return the colour that results from drawing one with some opacity over another.

    Parameters
    ----------
    colour, below
        The colour drawn and the one below it, as ``"#rrggbb"``.
    opacity
        Opacity of the colour drawn, from 0 to 1.
    """
    return _hex(_between(_rgb(below), _rgb(colour), opacity))


def readable(colour: str, *backgrounds: str) -> str:
    """Return a colour, made darker or lighter if it needs more contrast to be readable.

    Parameters
    ----------
    colour, backgrounds
        As ``"#rrggbb"``; the backgrounds must be similar: all dark or all light.

    Returns
    -------
    readable
        The nearest colour on the way to black or white whose contrast to all backgrounds is at
        least 3.

    Raises
    ------
    ValueError
        If no colour has enough contrast to all backgrounds.
    """
    rgb = _rgb(colour)
    for step in range(_STEPS + 1):
        for towards in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
            made = _hex(_between(rgb, towards, step / _STEPS))
            if all(contrast(made, background) >= LEAST for background in backgrounds):
                return made
    raise ValueError(f"expected backgrounds that are alike, got {', '.join(backgrounds)}")


def _rgb(colour: str) -> Rgb:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _hex(rgb: Rgb) -> str:
    return "#" + "".join(f"{round(255 * x):02x}" for x in rgb)


def _between(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(rgb: Rgb) -> float:
    parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
