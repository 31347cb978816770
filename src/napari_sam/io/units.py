"""Pixel sizes in the units that files use, brought to micrometres and seconds."""

import math
from collections.abc import Mapping

from napari_sam.io.image_file import MICROMETRE

_IN_MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,  # the Greek letter, which many writers use in place of the micro sign
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "å": 1e-4,
    "angstrom": 1e-4,
    "pm": 1e-6,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "inch": 25_400.0,
}
_IN_SECONDS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}
_NO_UNIT = {"", "pixel", "pixels", "px", "reference frame"}


def to_micrometres(length: float, unit: str) -> float | None:
    """Convert a length, or return None for a unit that is not one of length."""
    factor = _IN_MICROMETRES.get(unit.strip().casefold())
    return None if factor is None else length * factor


def to_seconds(duration: float, unit: str) -> float | None:
    """Convert a duration, or return None for a unit that is not one of time."""
    factor = _IN_SECONDS.get(unit.strip().casefold())
    return None if factor is None else duration * factor


def pixel_sizes(
    sizes: Mapping[str, tuple[float, str]],
) -> tuple[dict[str, float] | None, str | None]:
    """Bring sizes with a unit each to common ones.

    Parameters
    ----------
    sizes : mapping of axis letter to (size, unit)
        ``T`` is a duration, every other axis a length. Sizes that are not positive or not finite
        are left out: files state 0 or infinity for "not known".

    Returns
    -------
    pixel_size : dict of axis letter to float, or None
        Lengths in micrometres if each length's unit is known, else as they came;
        seconds for ``T``.
    unit : str or None
        ``µm``, the word that the file used, or None where there are no lengths.
    """
    known = {axis: (size, unit) for axis, (size, unit) in sizes.items() if _is_size(size)}
    result: dict[str, float] = {}
    if "T" in known:
        seconds = to_seconds(*known.pop("T"))
        if seconds is not None:
            result["T"] = seconds
    converted = {axis: to_micrometres(*size) for axis, size in known.items()}
    unit: str | None = MICROMETRE if converted else None
    for axis, length in converted.items():
        if length is None:
            # One axis in another unit would make the others lie: keep all as they came.
            word = known[axis][1].strip()
            unit = None if word.casefold() in _NO_UNIT else word
            result.update({axis: size for axis, (size, _) in known.items()})
            break
        result[axis] = length
    return {axis: size for axis, size in result.items() if _is_size(size)} or None, unit


def _is_size(size: float) -> bool:
    return 0 < size < math.inf
