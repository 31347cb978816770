"""Which models answered in a session: what is known of each, and those that are at hand."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_sam.io.session_file import Json, SessionFileError
from napari_sam.model.lesson import Card
from napari_sam.model.registry import REGISTRY
from napari_sam.segmentation.protocol import Segmenter, taught_of

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
    card
        What a taught model says of itself; None for one that nobody taught.
    weights
        The file of a taught model.
    """

    key: str
    name: str
    encoder_key: str = ""
    precision: str = ""
    device: str = ""
    card: Card | None = None
    weights: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, segmenter: Segmenter, taught: TaughtModel | None = None) -> UsedModel:
        """Describe the model of a segmenter.

        Parameters
        ----------
        segmenter
            It.
        taught
            What it was taught, where the segmenter doesn't tell that.

        Raises
        ------
        ValueError
            If it is another model than what was taught makes.
        """
        taught = taught or taught_of(segmenter)
        if taught is not None and taught.key != segmenter.model_key:
            raise ValueError(
                f"expected the taught model {taught.name} with the key {taught.key}, got "
                f"{segmenter.traits.name} with the key {segmenter.model_key}; load the taught model"
            )
        return cls(
            segmenter.model_key,
            segmenter.traits.name,
            segmenter.encoder_key,
            segmenter.precision,
            str(segmenter.device),
            *(() if taught is None else (taught.card, taught.to_bytes())),
        )

    @property
    def loadable(self) -> str | TaughtModel | None:
        """What :func:`~napari_sam.load_segmenter` takes for it; None where that isn't known.

        Raises
        ------
        CheckpointError
            If the weights of a taught model are damaged.
        """
        if self.weights is None:
            return self.name if self.name in REGISTRY and self.card is None else None
        from napari_sam.model.taught import TaughtModel

        return TaughtModel.from_bytes(self.weights, f"the model {self.name} of the session")

    def words(self) -> dict[str, Json]:
        """Spell it for a session's file, without the weights."""
        told: dict[str, Json] = {
            "name": self.name,
            "encoder_key": self.encoder_key,
            "precision": self.precision,
            "device": self.device,
        }
        if self.card is not None:
            told["taught"] = json.loads(self.card.to_json())
        return told

    @classmethod
    def of_words(cls, key: str, words: Json, weights: Mapping[str, bytes]) -> UsedModel:
        """Read what :meth:`words` spelled.

        Parameters
        ----------
        key
            Of the model.
        words
            What was spelled.
        weights
            Files of taught models, by their digests.

        Raises
        ------
        ValueError, LookupError, TypeError
            If it is something else.
        """
        names = "name", "encoder_key", "precision", "device"
        told = {name: words[name] for name in names}
        if not all(isinstance(text, str) for text in (key, *told.values())):
            raise TypeError(f"{str(told)[:200]} as a model")
        if (taught := words.get("taught")) is None:
            return cls(key, **told)
        card = Card.from_json(json.dumps(taught))
        return cls(key, **told, card=card, weights=weights.get(card.digest))


def used_models(about: Mapping[str, Json], weights: Mapping[str, bytes]) -> dict[str, UsedModel]:
    """Return the models that a session's file tells, by their keys.

    Parameters
    ----------
    about
        What the file tells of the session.
    weights
        Files of taught models in it, by their digests.

    Raises
    ------
    SessionFileError
        If it is damaged.
    """
    told = about.get("models", {})
    try:
        return {key: UsedModel.of_words(key, words, weights) for key, words in told.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SessionFileError(
            f"expected what models the session used, got {type(error).__name__}: {error}; it is "
            "damaged: use another copy"
        ) from error


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
        """Take note that a segmenter answers from here on.

        Raises
        ------
        ValueError
            As :meth:`UsedModel.of` does.
        """
        used = UsedModel.of(segmenter, taught)
        before = self._known.get(used.key)
        if before is not None and used.weights is None:
            used = replace(used, card=before.card, weights=before.weights)
        self._known[used.key] = used
        self._held[used.key] = segmenter
        self._held.move_to_end(used.key)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return used

    def restore(self, models: Mapping[str, UsedModel]) -> None:
        """Know what an earlier session knew."""
        self._known = {**models, **self._known}

    def segmenter(self, key: str) -> Segmenter | None:
        """Return the segmenter of a model; None if it isn't at hand any more."""
        return self._held.get(key)
