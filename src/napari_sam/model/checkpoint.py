"""Read and write checkpoint files: tensors by name, and the configuration they fit."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_sam.model.architecture import CheckpointError, infer_config, some
from napari_sam.model.config import SamConfig
from napari_sam.model.sam import Sam, build
from napari_sam.special_files import refuse_special

# Where trainers put the state dict, and what they put before its names.
_WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "sam.", "model.")

# What torch.load raises for files that are damaged or were never checkpoints.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    zipfile.BadZipFile,
)


def read(path: Path) -> tuple[dict[str, Tensor], SamConfig]:
    """Read a checkpoint's tensors and configuration.

    Accepted are PyTorch files that hold a state dict with SAM's names, at the top level or
    wrapped by a trainer, and safetensors files; a configuration in the latter's metadata is
    taken as it is, otherwise it is inferred from the tensors.

    Parameters
    ----------
    path
        The file; its content, not its suffix, tells the format.

    Returns
    -------
    state, config
        Tensors on the CPU in the file's own precision, and the network they fit.

    Raises
    ------
    CheckpointError
        If the file is damaged, unsafe or of another architecture.
    OSError
        If it cannot be opened.
    """
    state, text = _read_any(path)
    try:
        return state, infer_config(state) if text is None else SamConfig.from_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors alone, of whatever network; see :func:`read`."""
    return _read_any(path)[0]


def load_into_new(state: Mapping[str, Tensor], config: SamConfig, origin: str) -> Sam:
    """Build a network that holds the given tensors.

    Parameters
    ----------
    state
        Exactly the tensors of the network, in any floating precision; float32 ones are not
        copied.
    config
        The network.
    origin
        What to call the tensors in errors.

    Returns
    -------
    sam
        In eval mode, float32, on the CPU.

    Raises
    ------
    CheckpointError
        If a tensor is missing, superfluous, of another shape, or holds NaN or infinity.
    """
    try:
        with _WithoutInitialValues():
            sam = build(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{origin}: no network fits its configuration ({error})") from error
    _compare(sam.state_dict(), state, config, origin)
    values = {name: value.to("cpu", torch.float32).contiguous() for name, value in state.items()}
    if broken := _not_finite(values):
        raise CheckpointError(
            f"{origin}: expected finite weights, got NaN or infinity in {some(broken)}; "
            "the training that wrote it failed, or half precision overflowed"
        )
    sam.load_state_dict(values, strict=True, assign=True)
    return sam.eval()


def save(sam: Sam, path: str | Path, half: bool = True) -> None:
    """Write a safetensors file with the configuration in its metadata.

    Parameters
    ----------
    sam
        The network.
    path
        Ends in ``.safetensors``; replaced only when the new file is complete.
    half
        Store float16 rather than float32.

    Raises
    ------
    ValueError
        If the suffix is another, or a weight is not finite in the chosen precision.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"expected a path ending in .safetensors, got {path}")
    dtype = torch.float16 if half else torch.float32
    values = {k: v.detach().to("cpu", dtype).contiguous() for k, v in sam.state_dict().items()}
    if broken := _not_finite(values):
        raise ValueError(
            f"expected weights that are finite in {dtype}, got others in {some(broken)}; "
            "save with half=False, or take an earlier state of the training"
        )
    part = path.with_name(path.name + ".part")
    refuse_special(part)
    metadata = {"format": "pt", "config": sam.config.to_json()}
    # not save_file, whose files only their owner may read
    part.write_bytes(safetensors.torch.save(values, metadata=metadata))
    os.replace(part, path)


class _WithoutInitialValues(TorchFunctionMode):
    """Leave out random initial values, which would only cost time before a checkpoint's come.

    Building on the meta device avoids them too, but imports torch's compiler, for seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        values = dict(kwargs or {})
        if getattr(func, "__module__", None) == nn.init.__name__:
            return values["tensor"] if "tensor" in values else args[0]
        return func(*args, **values)


def _not_finite(values: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with NaN or infinity: either shows in the extremes, which are fast."""
    return [
        name
        for name, value in values.items()
        if value.numel() and not torch.stack(value.aminmax()).isfinite().all()
    ]


def _read_any(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Read the tensors of a file of either format, and the configuration where it has one."""
    refuse_special(path)
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # safetensors: eight bytes of length, then a JSON header
        content, text = _read_safetensors(path)
        return _unwrap(content, path), text
    if start[:1] == pickle.PROTO and start[1:2] != b"\x02":  # PyTorch writes protocol 2
        raise CheckpointError(_refused(path, "a bare pickle"))
    return _unwrap(_read_pickle(path), path), None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names, metadata = file.keys(), file.metadata() or {}
            # copies: views would keep the file mapped, which on Windows forbids replacing it
            state = {name: file.get_tensor(name).clone() for name in names}
            return state, metadata.get("config")
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(_damaged(path, "safetensors file", error)) from error


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:  # given a path, torch.load would go by its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise CheckpointError(_refused(path, _told(error))) from error
        raise CheckpointError(_damaged(path, "PyTorch checkpoint", error)) from error
    except _UNREADABLE as error:
        raise CheckpointError(_damaged(path, "PyTorch checkpoint", error)) from error


def _refused(path: Path, found: str) -> str:
    return (
        f"{path}: refused, because it holds more than tensors and could run code when opened "
        f"({found}). If you trust its author, save only the weights with "
        "torch.save(model.state_dict(), ...) in the program that wrote it"
    )


def _damaged(path: Path, kind: str, error: Exception) -> str:
    return (
        f"{path}: expected a {kind}, got {path.stat().st_size} bytes that cannot be read as one "
        f"({_told(error)}); the file is truncated, damaged or of another kind: fetch it anew"
    )


def _told(error: Exception) -> str:
    """Return the line of an error that says what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if "GLOBAL" in line or line.startswith("Unsupported")]
    return (*marked, *lines, type(error).__name__)[0][:200]


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in what a trainer saved, and take prefixes off its names."""
    seen = content
    while isinstance(seen, Mapping) and not _is_state(seen):
        inner = next((seen[key] for key in _WRAPPERS if isinstance(seen.get(key), Mapping)), None)
        if inner is None:
            break
        seen = inner
    if not _is_state(seen):
        got = f"keys {some(map(str, seen))}" if isinstance(seen, Mapping) else type(seen).__name__
        raise CheckpointError(
            f"{path}: expected tensors by name, at the top level or under one of "
            f"{', '.join(_WRAPPERS)}; got {got}"
        )
    state = dict(seen)
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(
            isinstance(k, str)
            and isinstance(v, Tensor)
            and v.layout is torch.strided
            and v.is_floating_point()
            for k, v in content.items()
        )
    )


def _compare(
    expected: Mapping[str, Tensor], came: Mapping[str, Tensor], config: SamConfig, origin: str
) -> None:
    faults = []
    if missing := [name for name in expected if name not in came]:
        faults.append(f"{len(missing)} are missing ({some(missing)})")
    if extra := [name for name in came if name not in expected]:
        faults.append(f"{len(extra)} have no place in it ({some(extra)})")
    if wrong := [n for n in came if n in expected and came[n].shape != expected[n].shape]:
        examples = [f"{n}: {tuple(expected[n].shape)}, got {tuple(came[n].shape)}" for n in wrong]
        faults.append(f"{len(wrong)} have another shape ({some(examples)})")
    if faults:
        raise CheckpointError(
            f"{origin}: expected the {len(expected)} tensors of {config.name!r} "
            f"(image size {config.image_size}), but {'; '.join(faults)}"
        )
