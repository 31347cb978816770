"""Which models answered in a session: what is known of each, and those that are at hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from napari_sam.io.session_file import Json
from napari_sam.segmentation.protocol import Segmenter

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel

# Models that undo brings back at once: the latest. Each may hold a process and a GPU's memory.
_HELD = 3


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model that answered in a session.

    Parameters
    ----------
    key, name, encoder_key, precision, device
        As of its segmenter.
    lesson
        What it was taught, as :class:`~napari_sam.model.taught.Lesson` has it; None for a model
        that nobody taught.
    digest, weights
        Of the file that a taught model is, and what is in it.
    """

    key: str
    name: str
    encoder_key: str = ""
    precision: str = ""
    device: str = ""
    lesson: Mapping[str, Json] | None = None
    digest: str = ""
    weights: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, segmenter: Segmenter, taught: TaughtModel | None = None) -> UsedModel:
        """Describe the model of a segmenter."""
        return cls(
            segmenter.model_key,
            segmenter.config.name,
            segmenter.encoder_key,
            segmenter.precision,
            str(segmenter.device),
            *(() if taught is None else (asdict(taught.lesson), taught.digest, taught.to_bytes())),
        )

    def words(self) -> dict[str, Json]:
        """Spell it for a session's file, without the weights."""
        told: dict[str, Json] = {
            "name": self.name,
            "encoder_key": self.encoder_key,
            "precision": self.precision,
            "device": self.device,
        }
        if self.lesson is not None:
            told |= {"lesson": dict(self.lesson), "digest": self.digest}
        return told


class ModelsInUse:
    """The models that a session used, by their keys, and the latest segmenters."""

    def __init__(self) -> None:
        self._known: dict[str, UsedModel] = {}
        self._held: OrderedDict[str, Segmenter] = OrderedDict()

    @property
    def known(self) -> Mapping[str, UsedModel]:
        """What is known of each."""
        return self._known

    def note(self, segmenter: Segmenter, taught: TaughtModel | None = None) -> UsedModel:
        """Take note that a segmenter answers from here on."""
        key = segmenter.model_key
        before = self._known.get(key)
        if before is None or (taught is not None and before.weights is None):
            self._known[key] = UsedModel.of(segmenter, taught)
        self._held[key] = segmenter
        self._held.move_to_end(key)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return self._known[key]

    def segmenter(self, key: str) -> Segmenter | None:
        """Return the segmenter of a model; None if it isn't at hand any more."""
        return self._held.get(key)
