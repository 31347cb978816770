"""What was taught to a model: the tensors that changed, and what they were taught on."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
import xxhash
from torch import Tensor

from napari_sam.atomic import replaced
from napari_sam.model import tensor_file
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.checkpoint import load_into_new
from napari_sam.model.keys import model_key
from napari_sam.model.lesson import METADATA, Card, HeldBack, Lesson, card_of, read_card
from napari_sam.model.sam import Sam

__all__ = ["HeldBack", "Lesson", "TaughtModel", "read", "save"]

_LARGEST = 2**31  # bytes of a file; all of ViT-H has 1.3e9


@dataclass(frozen=True, slots=True, eq=False)
class TaughtModel:
    """A model by what makes it another than its parent.

    Parameters
    ----------
    lesson
        What it was taught, and on which parent.
    tensors
        Weights that changed, by their names in the network; half precision.
    key
        Model key of the network that results, see :func:`~napari_sam.model.keys.model_key`.
    name
        The user's for it; may be empty.
    """

    lesson: Lesson
    tensors: dict[str, Tensor]
    key: str
    name: str = ""

    @classmethod
    def between(cls, parent: Sam, taught: Sam, lesson: Lesson) -> TaughtModel:
        """Return what differs between a taught network and its parent, in half precision.

        If the parent is a taught model itself, the result belongs to that model's parent, and
        :attr:`Lesson.earlier` records the earlier training.

        Raises
        ------
        ValueError
            If a weight isn't finite in half precision.
        """
        before = parent.state_dict()
        changed: dict[str, Tensor] = {}
        for name, value in taught.state_dict().items():
            if torch.equal(value.cpu(), before[name].cpu()):
                continue
            half = value.detach().to("cpu", torch.float16).contiguous()
            if not half.isfinite().all():
                raise ValueError(f"expected finite weights, got others in {name}: it can't be used")
            changed[name] = half
        key = model_key(_changed(parent, changed, "the taught network"))
        if (earlier := parent.taught) is not None:
            first = earlier.lesson
            lesson = replace(
                lesson,
                parent=first.parent,
                parent_key=first.parent_key,
                earlier=(*first.earlier, replace(first, earlier=())),
            )
            changed = earlier.tensors | changed
        return cls(lesson, changed, key)

    @classmethod
    def from_bytes(cls, data: bytes, origin: str = "the taught model") -> TaughtModel:
        """Read what :meth:`to_bytes` gave.

        Parameters
        ----------
        data
            The content of a taught model's file.
        origin
            What to call it in errors.

        Raises
        ------
        CheckpointError
            If it is damaged, or something else.
        """
        card = read_card(io.BytesIO(data), origin)
        if card is None:
            raise CheckpointError(
                f"{origin}: expected a taught model, got {len(data)} bytes that are none; it is "
                "another checkpoint, or damaged"
            )
        tensors = tensor_file.tensors_of_bytes(data, origin)
        if wrong := [name for name, value in tensors.items() if value.dtype != torch.float16]:
            raise CheckpointError(
                f"{origin}: expected weights in half precision, got {tensors[wrong[0]].dtype} in "
                f"{wrong[0]}; the file was written by another program"
            )
        model = cls(card.lesson, tensors, card.key, card.name)
        if model.digest != card.digest:
            raise CheckpointError(
                f"{origin}: expected the weights with digest {card.digest}, got {model.digest}; "
                "the file is damaged: use another copy"
            )
        return model

    @property
    def digest(self) -> str:
        """Tells what was taught from everything else that was: of tensors, parent and result."""
        found = xxhash.xxh3_128(f"{self.lesson.parent_key} {self.key}".encode())
        for name in sorted(self.tensors):
            value = self.tensors[name].contiguous()
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    @property
    def card(self) -> Card:
        """The metadata of its file."""
        return Card(self.lesson, self.key, self.digest, self.name)

    def named(self, name: str) -> TaughtModel:
        """Return the same model under another name."""
        return replace(self, name=name)

    def to_bytes(self) -> bytes:
        """Return the content of its file: the same bytes for the same model."""
        return safetensors.torch.save(self.tensors, metadata={METADATA: self.card.to_json()})

    def fits(self, parent: Sam) -> bool:
        """Whether a network is the one that was taught."""
        return model_key(parent) == self.lesson.parent_key

    def applied_to(self, parent: Sam) -> Sam:
        """Return the taught network; the parent stays as it is.

        Weights that were not taught are the parent's own, in the same memory.

        Raises
        ------
        CheckpointError
            If it is another parent.
        """
        key = model_key(parent)
        if key != self.lesson.parent_key:
            raise CheckpointError(
                f"expected the model {self.lesson.parent} ({self.lesson.parent_key[:8]}), which "
                f"was taught, got {parent.config.name} ({key[:8]}); give that model, or teach "
                "this one anew"
            )
        sam = _changed(parent, self.tensors, self.name or "the taught model")
        if (key := model_key(sam)) != self.key:
            raise CheckpointError(
                f"{self.name or 'the taught model'}: expected the network with the key "
                f"{self.key[:8]}, got {key[:8]}; the file is damaged: use another copy"
            )
        sam.taught = self
        if self.name:
            sam.config = sam.config.renamed(self.name)
        return sam


def save(model: TaughtModel, path: str | Path) -> None:
    """Write a taught model as a safetensors file.

    Parameters
    ----------
    model
        What to write.
    path
        Ends in ``.safetensors``; replaced only when the new file is complete.

    Raises
    ------
    ValueError
        If the suffix is another.
    OSError
        If it can't be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"expected a path ending in .safetensors, got {path}")
    content = model.to_bytes()
    with replaced(path) as temporary:
        temporary.write_bytes(content)


def read(path: str | Path) -> TaughtModel:
    """Read the file of a taught model.

    Raises
    ------
    CheckpointError
        If it is damaged, or something else.
    OSError
        If it can't be opened.
    """
    path = Path(path).expanduser()
    if card_of(path) is None:
        raise CheckpointError(
            f"{path}: expected a taught model, got another file; if it is a checkpoint, load it "
            "as a model"
        )
    if (size := path.stat().st_size) > _LARGEST:
        raise CheckpointError(
            f"{path}: expected at most {_LARGEST} bytes of weights that changed, got {size}; no "
            "model has as many: the file is damaged"
        )
    return TaughtModel.from_bytes(path.read_bytes(), str(path))


def _changed(parent: Sam, changed: Mapping[str, Tensor], origin: str) -> Sam:
    """Build a network that has some weights of its own, and the parent's otherwise."""
    state = {name: value.detach() for name, value in parent.state_dict().items()}
    return load_into_new(state | dict(changed), parent.config, origin)
