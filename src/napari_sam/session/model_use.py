"""The models that were used in a session: a description of each, and the loaded ones."""

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

# Number of the latest models that stay loaded for undo. Each may hold a process and GPU memory.
_HELD = 3


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model that was used in a session.

    Parameters
    ----------
    key
        The model key: a hash of everything that predictions depend on.
    name
        Name of the model.
    encoder_key
        A hash of everything that embeddings depend on.
    precision, device
        Floating-point type and device it ran with.
    card
        The description of a taught model; None for other models.
    weights
        The file contents of a taught model; None for other models.
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
            The segmenter.
        taught
            The taught model that it runs, if the segmenter itself doesn't provide it.

        Raises
        ------
        ValueError
            If the segmenter runs another model than `taught`.
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
        """The argument of :func:`~napari_sam.load_segmenter` for this model; None if not known.

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
        """Return the description as JSON values for a session file, without the weights."""
        words: dict[str, Json] = {
            "name": self.name,
            "encoder_key": self.encoder_key,
            "precision": self.precision,
            "device": self.device,
        }
        if self.card is not None:
            words["taught"] = json.loads(self.card.to_json())
        return words

    @classmethod
    def of_words(cls, key: str, words: Json, weights: Mapping[str, bytes]) -> UsedModel:
        """Return the model that :meth:`words` described.

        Parameters
        ----------
        key
            The model key.
        words
            The description.
        weights
            File contents of taught models, by their digests.

        Raises
        ------
        ValueError, LookupError, TypeError
            If the description is not valid.
        """
        names = "name", "encoder_key", "precision", "device"
        texts = {name: words[name] for name in names}
        if not all(isinstance(text, str) for text in (key, *texts.values())):
            raise TypeError(f"{str(texts)[:200]} as a model")
        if (taught := words.get("taught")) is None:
            return cls(key, **texts)
        card = Card.from_json(json.dumps(taught))
        return cls(key, **texts, card=card, weights=weights.get(card.digest))


def used_models(about: Mapping[str, Json], weights: Mapping[str, bytes]) -> dict[str, UsedModel]:
    """Return the models that a session file describes, by model key.

    Parameters
    ----------
    about
        The stored properties of the session.
    weights
        File contents of the taught models in it, by their digests.

    Raises
    ------
    SessionFileError
        If the file is damaged.
    """
    stored = about.get("models", {})
    try:
        return {key: UsedModel.of_words(key, words, weights) for key, words in stored.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SessionFileError(
            f"expected what models the session used, got {type(error).__name__}: {error}; it is "
            "damaged: use another copy"
        ) from error


class ModelsInUse:
    """The models that a session used, by model key, and the latest segmenters."""

    def __init__(self) -> None:
        self._known: dict[str, UsedModel] = {}
        self._held: OrderedDict[str, Segmenter] = OrderedDict()

    @property
    def known(self) -> Mapping[str, UsedModel]:
        """The description of each model, by model key."""
        return self._known

    def note(self, segmenter: Segmenter, taught: TaughtModel | None = None) -> UsedModel:
        """Add the model of a segmenter, and keep the segmenter loaded.

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
        """Add the models of a saved session."""
        self._known = {**models, **self._known}

    def segmenter(self, key: str) -> Segmenter | None:
        """Return the segmenter of a model; None if it isn't loaded any more."""
        return self._held.get(key)
