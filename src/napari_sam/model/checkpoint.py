"""Read and write checkpoint files: tensors by name, and the configuration they fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_sam.atomic import replaced
from napari_sam.model import tensor_file
from napari_sam.model.architecture import (
    INSTANCES,
    CheckpointError,
    config_of_shapes,
    some,
    with_instances,
    without_unused,
)
from napari_sam.model.bounds import check_bounds
from napari_sam.model.config import SamConfig
from napari_sam.model.sam import Sam, build


def read(path: Path) -> tuple[dict[str, Tensor], SamConfig]:
    """Read a checkpoint's tensors and configuration.

    Accepted are PyTorch files that hold a state dict with SAM's names, at the top level or
    wrapped by a trainer, and safetensors files; a configuration in the latter's metadata is
    taken as it is, otherwise it is inferred from the tensors. micro-sam's trainer has a decoder
    for instances beside the network, which is taken along.

    Parameters
    ----------
    path
        The file, whose format is recognised by its content, not its suffix.

    Returns
    -------
    state, config
        Tensors on the CPU in the file's own precision, and the network they fit.

    Raises
    ------
    CheckpointError
        If the file is damaged, unsafe, of another architecture, or claims to be larger than it is.
    OSError
        If it cannot be opened.
    """
    shapes, text = tensor_file.outline(path)
    try:
        config = config_of_shapes(shapes) if text is None else SamConfig.from_json(text)
        check_bounds(config)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return without_unused(tensor_file.tensors(path), config), config


def with_decoder(
    state: Mapping[str, Tensor], config: SamConfig, path: Path
) -> tuple[dict[str, Tensor], SamConfig]:
    """Add a decoder for instances, from a file of its own, to a network that has none.

    Parameters
    ----------
    state, config
        As from :func:`read`.
    path
        The decoder's file: a state dict with the names of micro-sam's, or a safetensors file.

    Raises
    ------
    CheckpointError, OSError
        As from :func:`read`; also if the decoder belongs to another model.
    """
    shapes, _ = tensor_file.outline(path)
    try:
        joined = with_instances(config, shapes)
        check_bounds(joined)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    decoder = {f"{INSTANCES}{name}": value for name, value in tensor_file.tensors(path).items()}
    return {**state, **decoder}, joined


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors alone, of whatever network; see :func:`read`."""
    tensor_file.outline(path)
    return tensor_file.tensors(path)


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
        with _WithoutInitialValues(len(state), sum(value.numel() for value in state.values())):
            sam = build(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{origin}: no network fits its configuration ({error})") from error
    _compare(sam.state_dict(), state, config, origin)
    try:
        values = {name: v.to("cpu", torch.float32).contiguous() for name, v in state.items()}
    except RuntimeError as error:
        raise CheckpointError(
            f"{origin}: its weights can't be read as numbers ({error})"
        ) from error
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
    metadata = {"format": "pt", "config": sam.config.to_json()}
    with replaced(path) as temporary:  # not save_file, whose files only their owner may read
        temporary.write_bytes(safetensors.torch.save(values, metadata=metadata))


# How layers make their parameters.
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.randn)


class _WithoutInitialValues(TorchFunctionMode):
    """Leave out random initial values, which would only cost time before a checkpoint's come.

    Building on the meta device avoids them too, but imports torch's compiler, for seconds.

    Parameters
    ----------
    tensors, numbers
        What the checkpoint holds. Building stops where a network is far larger: it would take
        all time and memory, only to turn out not to fit.

    Raises
    ------
    ValueError
        If the network is far larger.
    """

    def __init__(self, tensors: int, numbers: int) -> None:
        super().__init__()
        self._held = f"{tensors} tensors with {numbers} numbers"
        # some may be missing, which is reported by their names
        self._tensors_left, self._numbers_left = 2 * tensors + 1000, 2 * numbers + 10**7

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
        if func in _MAKERS:
            size = args[0] if args and not isinstance(args[0], int) else args
            self._tensors_left -= 1
            self._numbers_left -= math.prod(values.get("size", size))
            if min(self._tensors_left, self._numbers_left) < 0:
                raise ValueError(f"it describes a far larger one than the file's {self._held}")
        return func(*args, **values)


def _not_finite(values: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with NaN or infinity: either shows in the extremes, which are fast."""
    return [
        name
        for name, value in values.items()
        if value.numel() and not torch.stack(value.aminmax()).isfinite().all()
    ]


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
