"""The models that a session used, for replaying it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from napari_sam.model import pretrained
from napari_sam.model.registry import REGISTRY, models_folder
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.model_use import UsedModel
from napari_sam.session.saved import SavedSession

if TYPE_CHECKING:
    from napari_sam.batch.replay import Replayed
    from napari_sam.model.taught import TaughtModel


class Load(Protocol):
    """Loads a model, as :func:`~napari_sam.load_segmenter` does."""

    def __call__(self, model: str | TaughtModel, *, precision: str) -> Segmenter:
        """Return its segmenter."""
        ...


def load_models(saved: SavedSession, load: Load | None = None) -> tuple[Segmenter, ...]:
    """Load the models that were used in a session, each in the precision that it had there.

    The changes of a taught model are in the session's file; its parent must be known by name, or
    lie in the folder of models. A model of the hub must have been downloaded before, under the
    name that the session records.

    Parameters
    ----------
    saved
        The session.
    load
        Loads one model; :func:`~napari_sam.load_segmenter` by default.

    Returns
    -------
    segmenters
        First the one that was used last. It also stands for models that can't be loaded.

    Raises
    ------
    ValueError
        If the one that was used last is a checkpoint that can't be found by a name, or if a
        model's key differs from the recorded one.
    """
    if load is None:
        from napari_sam.segmentation.loading import load_segmenter

        load = load_segmenter
    return tuple(_load(saved, one, load) for one in _needed(saved))


def _needed(saved: SavedSession) -> list[UsedModel]:
    """Return the models of the predictions in force in a session, the last one first."""
    last = last_model(saved)
    asked = dict.fromkeys(answering_keys(saved))
    known = [one for key in asked if (one := saved.models.get(key)) is not None]
    others = [one for one in known if one.key != last.key and _loadable(saved, one) is not None]
    if asked and not (asked.keys() - {one.key for one in others}):
        return others  # the last one has answered nothing
    if not (last.name or last.key):
        raise ValueError(
            "expected a session with a model, got one in which none answered; give a model or its "
            "checkpoint with --with"
        )
    if _loadable(saved, last) is None:
        if (on_hub := pretrained.repository_of(last.name)) is not None:
            raise ValueError(
                f"expected the session's model {on_hub} on this machine, found none; if you trust "
                f"whoever offers it on huggingface.co, fetch it with 'napari-sam models download "
                f"{on_hub}' and start again, or give another model with --with"
            )
        raise ValueError(
            f"expected a session of one of the models {', '.join(REGISTRY)}, or of one that was "
            f"taught, got one of {_in_words(last)}; give a model or its checkpoint with --with"
        )
    return [last, *others]


def _loadable(saved: SavedSession, used: UsedModel) -> str | TaughtModel | None:
    """Return the name to load a model by; a taught model records that of its parent."""
    if (model := used.loadable) is not None:
        return model
    cards = (one.card for one in saved.models.values() if one.card is not None)
    for parent in (one.lesson.parent for one in cards if one.lesson.parent_key == used.key):
        if parent in REGISTRY:
            return parent
        if (path := models_folder() / parent).is_file():
            return str(path)
    on_hub = pretrained.repository_of(used.name)
    is_here = on_hub is not None and pretrained.snapshot_of(on_hub) is not None
    return on_hub if is_here else None  # nothing that a file names is downloaded unasked


def last_model(saved: SavedSession) -> UsedModel:
    """Return the model that a session used last, as far as its file records it."""
    recorded = saved.about.get("model")
    recorded = recorded if isinstance(recorded, dict) else {}
    names = "key", "name", "encoder_key", "precision", "device"
    key, name, encoder, precision, device = (str(recorded.get(name) or "") for name in names)
    return saved.models.get(key) or UsedModel(key, name, encoder, precision, device)


def answering_keys(saved: SavedSession) -> Iterator[str]:
    """Yield the keys of the models of the predictions in force in a session."""
    for entry in saved.entries:
        if entry.kind == "mask":
            yield from (c.after.model for c in entry.answers if c.after and c.after.model)
        elif entry.kind in ("found", "carried") and isinstance(entry.details.get("model"), str):
            yield entry.details["model"]


def _load(saved: SavedSession, used: UsedModel, load: Load) -> Segmenter:
    model = _loadable(saved, used)
    assert model is not None, "of those that can be loaded"
    precision = used.precision if used.precision in ("float32", "bfloat16", "float16") else "auto"
    segmenter = load(model, precision=precision)
    if used.key != segmenter.model_key:
        raise ValueError(
            f"expected the model of the session, {_in_words(used)}, got "
            f"{segmenter.traits.name} with the key {segmenter.model_key}; give the session's "
            f"checkpoint with --with, or answer by this model: --with {segmenter.traits.name}"
        )
    return segmenter


def describe_difference(
    saved: SavedSession, replayed: Replayed, segmenters: Segmenter | Iterable[Segmenter]
) -> str:
    """Return as text how replayed labels compare with a session's."""
    if not replayed.different:
        return "bit for bit the saved labels"
    last = last_model(saved)
    before = f"{_in_words(last)} in {last.precision or '?'} on {last.device or '?'}"
    now = " and ".join(
        f"{one.traits.name} with the key {one.model_key} in {one.precision} on {one.device}"
        for one in as_models(segmenters)
    )
    pixels = f"{replayed.different:,} pixel{'s differ' if replayed.different > 1 else ' differs'}"
    return f"{pixels} from the saved labels (session: {before}; now: {now})"


def as_models(segmenters: Segmenter | Iterable[Segmenter]) -> Sequence[Segmenter]:
    """Return one segmenter, or several, as several."""
    return (segmenters,) if isinstance(segmenters, Segmenter) else tuple(segmenters)


def _in_words(used: UsedModel) -> str:
    if not (used.key or used.name):
        return "none"
    return f"{used.name or 'a model'} with the key {used.key or '?'}"
