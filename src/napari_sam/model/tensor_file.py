"""Tensors by name in files of untrusted origin, which are checked before they are read.

Opening a file must neither run code nor take forever. The sizes that a file declares are compared
with its own size first: a few bytes can declare, or unpack to, more than a machine can hold.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from napari_sam.model.architecture import INSTANCES, CheckpointError, some
from napari_sam.special_files import SpecialFileError, refuse_special

_Value = TypeVar("_Value")

# Where trainers put the state dict, and what they put before its names.
_WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "sam.", "model.")
# Where micro-sam's trainer puts the decoder for instances, beside the network.
_DECODER = "decoder_state"
_MOST_WRAPPERS = 8
# What batch norms count in training, as whole numbers; it is no weight.
_COUNT = "num_batches_tracked"

# ViT-H has 594 tensors, and three times as many with the state of its optimizer, in a pickle of
# 0.2 MB and 50,000 operations.
_MOST_TENSORS = 5_000
_LONGEST_NAME = 200
_LARGEST_DIRECTORY = 2**22  # bytes of a list of contents
_LARGEST_PICKLE = 2**24
_MOST_OPERATIONS = 150_000
_MOST_UNFOLDED = 10 * _MOST_OPERATIONS
_DEEPEST = 200
# A file of weights is as long as they are; code and the like may be packed.
_PACKED = 2**24

# What torch.load raises for files that are damaged or were never checkpoints.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    zipfile.BadZipFile,
)


def outline(path: Path) -> tuple[dict[str, tuple[int, ...]], str | None]:
    """Return the shapes of a file's tensors without reading their values.

    Returns
    -------
    shapes, config
        Shapes by name; the text of a configuration if the file has one.

    Raises
    ------
    CheckpointError
        If the file is damaged or unsafe, has no tensors by name, or declares more than it has.
    OSError
        If it cannot be opened.
    """
    if _is_safetensors(path):
        sizes, config = _outline_safetensors(path)
        room = path.stat().st_size
    else:
        room = _check_pytorch(path)
        with torch.serialization.skip_data():
            state = _unwrap(_read_pickle(path), path)
        sizes = {k: (tuple(v.shape), v.numel() * v.element_size()) for k, v in state.items()}
        config = None
    _check_sizes({name: claimed for name, (_, claimed) in sizes.items()}, room, path)
    return {name: shape for name, (shape, _) in sizes.items()}, config


def tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that :func:`outline` found to be in order.

    Returns
    -------
    state
        Floating-point tensors by name, without what a trainer put before the names, on the CPU. A
        decoder for instances that a trainer saved beside the network is among them, with its
        names behind ``instance_decoder.``.

    Raises
    ------
    CheckpointError, OSError
        As in :func:`outline`.
    """
    if not _is_safetensors(path):
        return _unwrap(_read_pickle(path), path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # copies: views would keep the file mapped, which on Windows forbids replacing it
            names = file.keys()
            state = {n: file.get_tensor(n).clone() for n in names if not n.endswith(_COUNT)}
    except (safetensors.SafetensorError, *_UNREADABLE) as error:
        raise CheckpointError(_damaged(path, "safetensors file", error)) from error
    return _unwrap(state, path)


def tensors_of_bytes(data: bytes, origin: str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file's content.

    Parameters
    ----------
    data
        All of it.
    origin
        What to call it in errors.

    Raises
    ------
    CheckpointError
        If it is damaged, or holds anything else than floating-point numbers by name.
    """
    try:
        state = safetensors.torch.load(data)
    except (safetensors.SafetensorError, *_UNREADABLE) as error:
        raise CheckpointError(
            f"{origin}: expected a safetensors file, got {len(data)} bytes that cannot be read as "
            f"one ({_reason(error)}); the file is truncated, damaged or of another kind"
        ) from error
    if not _is_state(state):
        raise CheckpointError(_no_state(origin, f"{len(state)} tensors {some(state)}"))
    _check_count(state, origin)
    return state


def saved_by_trainer(path: Path) -> Any:
    """Read whatever tensors and numbers a trainer saved with PyTorch; see :func:`outline`."""
    if _is_safetensors(path):
        raise CheckpointError(f"{path}: expected a PyTorch checkpoint, got a safetensors file")
    _check_pytorch(path)
    return _read_pickle(path)


def _is_safetensors(path: Path) -> bool:
    """Recognise the format by a file's content; raise an error if it is neither of the two."""
    try:
        refuse_special(path)
    except SpecialFileError as error:
        raise CheckpointError(str(error)) from error
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # eight bytes of length, then a JSON header
        if (length := int.from_bytes(start[:8], "little")) > _LARGEST_DIRECTORY:
            raise CheckpointError(_too_much(path, f"a header of {length} bytes"))
        return True
    if start[:1] == pickle.PROTO and start[1:2] != b"\x02":  # PyTorch writes protocol 2
        raise CheckpointError(_refused(path, "a bare pickle"))
    return False


def _outline_safetensors(
    path: Path,
) -> tuple[dict[str, tuple[tuple[int, ...], int]], str | None]:
    """Shape and bytes of each tensor: the library has compared them with the file's length."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            _check_count(names, path)
            slices = {name: file.get_slice(name) for name in names if not name.endswith(_COUNT)}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            kinds = {name: part.get_dtype() for name, part in slices.items()}
            config = (file.metadata() or {}).get("config")
    except (safetensors.SafetensorError, *_UNREADABLE) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(_damaged(path, "safetensors file", error)) from error
    if not shapes or not all(kind.startswith(("F", "BF")) for kind in kinds.values()):
        raise CheckpointError(_no_state(path, f"{len(shapes)} tensors {some(shapes)}"))
    return {name: (shape, 0) for name, shape in _without_prefixes(shapes).items()}, config


def _check_pytorch(path: Path) -> int:
    """Check what a PyTorch file would do when it is read; return the bytes it has for tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if not zipped:
        with path.open("rb") as file:
            start = io.BytesIO(file.read(_LARGEST_PICKLE))
        # a magic number, a version, the machine, the content, and the order of the storages
        for _ in range(5):
            if not _is_bounded(start, path):
                break
        return size
    try:
        with _Frugal(path) as frugal, zipfile.ZipFile(frugal) as archive:
            records = archive.infolist()
            unpacked = sum(record.file_size for record in records)
            if unpacked > size + _PACKED:
                raise CheckpointError(
                    _too_much(path, f"records that unpack to {unpacked} bytes, of a file of {size}")
                )
            for record in records:
                if record.filename.endswith("data.pkl"):
                    if record.file_size > _LARGEST_PICKLE:
                        raise CheckpointError(
                            _too_much(path, f"a list of tensors of {record.file_size} bytes")
                        )
                    _is_bounded(io.BytesIO(archive.read(record)), path)
    except (zipfile.BadZipFile, *_UNREADABLE, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(_damaged(path, "PyTorch checkpoint", error)) from error
    return max(size, unpacked)


class _Frugal(io.FileIO):
    """A file that is never read in larger pieces than a list of contents may be long."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _LARGEST_DIRECTORY:
            size = _LARGEST_DIRECTORY
        return super().read(size) or b""


def _is_bounded(stream: io.BytesIO, path: Path) -> bool:
    """Walk over a pickle without making its objects; return whether it has an end.

    Refused are those that take too many steps to read, and those whose objects hold each other
    so often that walking over them would never end, as a dictionary does with a key.
    """
    stack: list[tuple[int, int] | None] = []  # of each object its parts and its depth; a mark
    memo: dict[object, tuple[int, int]] = {}
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MOST_OPERATIONS:
                raise CheckpointError(_too_much(path, f"more than {_MOST_OPERATIONS} objects"))
            if code.name.endswith("PUT") or code.name == "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1] or (1, 1)
            elif code.name.endswith("GET"):
                stack.append(memo.get(argument, (1, 1)))
            elif code.name == "MARK":
                stack.append(None)
            else:
                parts, depth = _taken(stack, code.stack_before)
                if parts > _MOST_UNFOLDED or depth > _DEEPEST:
                    raise CheckpointError(_too_much(path, "objects that hold each other endlessly"))
                stack += [(parts, depth)] * len(code.stack_after)
    except CheckpointError:
        raise
    except (ValueError, LookupError):  # reading the file fails here, too, with a better message
        return False
    return True


def _taken(stack: list[tuple[int, int] | None], before: Iterable[object]) -> tuple[int, int]:
    """Take an operation's objects off the stack; return parts and depth of what holds them."""
    taken: list[tuple[int, int] | None] = []
    wanted = list(before)
    if pickletools.markobject in wanted:
        while (top := stack.pop()) is not None:
            taken.append(top)
        wanted = wanted[: wanted.index(pickletools.markobject)]
    taken += [stack.pop() for _ in wanted]
    held = [one for one in taken if one is not None]
    return 1 + sum(parts for parts, _ in held), 1 + max((depth for _, depth in held), default=0)


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:  # given a path, torch.load would go by its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise CheckpointError(_refused(path, _reason(error))) from error
        raise CheckpointError(_damaged(path, "PyTorch checkpoint", error)) from error
    except _UNREADABLE as error:
        raise CheckpointError(_damaged(path, "PyTorch checkpoint", error)) from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in what a trainer saved, and take prefixes off its names.

    A decoder for instances beside it joins it.
    """
    seen = content
    decoder = content.get(_DECODER) if isinstance(content, Mapping) else None
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(seen, Mapping) or _is_state(seen):
            break
        inner = next((seen[key] for key in _WRAPPERS if isinstance(seen.get(key), Mapping)), None)
        if inner is None:
            break
        seen = inner
    if not _is_state(seen):
        got = f"keys {some(map(str, seen))}" if isinstance(seen, Mapping) else type(seen).__name__
        raise CheckpointError(_no_state(path, got))
    _check_count(seen, path)
    state = _without_prefixes({k: v for k, v in seen.items() if not k.endswith(_COUNT)})
    if isinstance(decoder, Mapping) and not decoder:
        decoder = None
    if decoder is not None and seen is not content:
        if not _is_state(decoder):
            raise CheckpointError(
                f"{path}: expected tensors by name under {_DECODER!r}, got something else; the "
                "file is damaged, or was written by another program"
            )
        joined = {k: v for k, v in decoder.items() if not k.endswith(_COUNT)}
        state |= {f"{INSTANCES}{name}": value for name, value in joined.items()}
        _check_count(state, path)
    return state


def _without_prefixes(state: Mapping[str, _Value]) -> dict[str, _Value]:
    named = dict(state)
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in named)), None):
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(k, str) and _is_plain(v, k) for k, v in content.items())
    )


def _is_plain(value: object, name: str) -> bool:
    """Whether it is a tensor of floating-point numbers that are there, or a count of batches."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not value.is_nested
        and value.device.type == "cpu"
        and (value.is_floating_point() or name.endswith(_COUNT))
    )


def _check_count(names: Iterable[str], path: Path | str) -> None:
    listed = list(names)
    if len(listed) > _MOST_TENSORS:
        raise CheckpointError(_too_much(path, f"{len(listed)} tensors"))
    if (longest := max(map(len, listed), default=0)) > _LONGEST_NAME:
        raise CheckpointError(_too_much(path, f"a tensor with a name of {longest} letters"))


def _check_sizes(claimed: Mapping[str, int], room: int, path: Path) -> None:
    """Refuse tensors that are larger than what the file holds of them."""
    if (total := sum(claimed.values())) > room:
        largest = max(claimed, key=lambda name: claimed[name])
        raise CheckpointError(
            _too_much(
                path,
                f"tensors of {total} bytes ({largest} alone {claimed[largest]}), of a file with "
                f"room for {room}",
            )
        )


def _no_state(path: Path | str, got: str) -> str:
    return (
        f"{path}: expected tensors by name, at the top level or under one of "
        f"{', '.join(_WRAPPERS)}; got {got}"
    )


def _too_much(path: Path | str, claimed: str) -> str:
    return (
        f"{path}: expected the weights of a network, got {claimed}; the file is damaged or was "
        "made to overload whoever opens it: fetch it anew, or save the weights alone with "
        "torch.save(model.state_dict(), ...)"
    )


def _refused(path: Path, found: str) -> str:
    return (
        f"{path}: refused, because it holds more than tensors and could run code when opened "
        f"({found}). If you trust its author, save only the weights with "
        "torch.save(model.state_dict(), ...) in the program that wrote it"
    )


def _damaged(path: Path, kind: str, error: Exception) -> str:
    return (
        f"{path}: expected a {kind}, got {path.stat().st_size} bytes that cannot be read as one "
        f"({_reason(error)}); the file is truncated, damaged or of another kind: fetch it anew"
    )


def _reason(error: Exception) -> str:
    """Return the line of an error that states what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if "GLOBAL" in line or line.startswith("Unsupported")]
    return (*marked, *lines, type(error).__name__)[0][:200]
