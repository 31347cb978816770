"""Finds the name by which a model that a session used can be loaded."""

from __future__ import annotations

from napari_sam.model import taught_library
from napari_sam.session.model_use import UsedModel


def listed_name(used: UsedModel) -> str | None:
    """Return the name by which a model that a session used can be loaded.

    A taught model that came with the session is put into the user's list, unless it is there.

    Parameters
    ----------
    used
        The model.

    Returns
    -------
    name
        The name; None if the model is neither registered nor stored in the session.

    Raises
    ------
    CheckpointError
        If the taught model in the session is damaged.
    OSError
        If the taught model can't be written to the user's list.
    """
    if used.card is not None and (kept := taught_library.find_by_key(used.key)) is not None:
        return kept.name
    model = used.loadable
    if model is None or isinstance(model, str):
        return model
    return taught_library.keep(model, taught_library.free_name(used.name)).name
