"""Devices and precisions by name."""

from __future__ import annotations

import logging
from typing import Literal, cast

import torch

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# How the instructions of a CPU call half precision.
_SHORT = {"bfloat16": "bf16", "float16": "fp16"}


class DeviceWarning(UserWarning):
    """Work was moved to another device than the one asked for."""


def choose_device(device: str) -> torch.device:
    """Resolve a device's name; ``"auto"`` is a GPU where there is one.

    Raises
    ------
    ValueError
        If the name is unknown, or the device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"expected a device such as 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps', got {device!r}"
        ) from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(chosen.type)
    if count is None:
        count = int(chosen.type == "mps" and torch.backends.mps.is_available())
    if (chosen.index or 0) >= count:
        raise ValueError(
            f"expected a device that is here, got {device!r}: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices. Choose 'cpu' or 'auto', or install a "
            "CUDA build of torch and its driver"
        )
    return chosen


def choose_precision(
    precision: str, device: torch.device, faster_in_half: bool = True
) -> Precision:
    """Resolve a precision's name for a device.

    ``"auto"`` is half precision on CUDA, and bfloat16 on a CPU that multiplies it natively.

    Parameters
    ----------
    precision
        ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"``.
    device
        Where the network runs.
    faster_in_half
        Whether the network gains from it on a CPU: small ones are bound by memory.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if precision == "auto":
        if device.type == "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        native = device.type == "cpu" and cpu_multiplies("bfloat16")
        return "bfloat16" if native and faster_in_half else "float32"
    if precision in DTYPES:
        return cast(Precision, precision)
    raise ValueError(f"expected a precision among auto, {', '.join(DTYPES)}, got {precision!r}")


def warn_if_emulated(precision: str, device: torch.device) -> None:
    """Log a warning if a processor has no instructions for a precision.

    On a CPU with AVX2 alone a bfloat16 product takes more than a hundred times as long as a
    float32 one, and nothing else would report the cause.
    """
    # other processors don't report it, or by other names
    if device.type != "cpu" or _cpu_capabilities().get("architecture") != "x86_64":
        return
    if precision in _SHORT and not cpu_multiplies(precision):
        log.warning(
            "this CPU has no instructions for %s and takes up to a hundred times as long with it "
            "as with float32; choose the precision 'float32' or, for segmenting, 'auto'",
            precision,
        )


def cpu_multiplies(half: str) -> bool:
    """Whether the CPU has instructions for products in ``"bfloat16"`` or ``"float16"``.

    Older versions of torch don't report it: the result is False with them.
    """
    known, name = _cpu_capabilities(), _SHORT[half]
    return bool(known.get(f"avx512_{name}") or known.get(f"amx_{name}"))


def _cpu_capabilities() -> dict[str, object]:
    get = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch we support
    return get() if get else {}
