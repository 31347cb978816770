"""Short descriptions of changes of prompts, for undo and redo."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from napari_sam.session.groups import (
    BoxPrompt,
    Click,
    Lasso,
    MaskPrompt,
    ObjectPlane,
    Prompt,
    Stroke,
)
from napari_sam.session.prompt_book import PromptBook, changed_keys


def describe(
    before: PromptBook, after: PromptBook, changed: Iterable[ObjectPlane] | None = None
) -> str:
    """Describe a change of prompts, such as ``added a point to object 7``; empty if none.

    Parameters
    ----------
    before, after
        The prompts before and after.
    changed
        The result of :func:`changed_keys`, if it is known already.
    """
    keys = changed_keys(before, after) if changed is None else list(changed)
    old = {prompt.id: prompt for key in keys for prompt in before.group(key).members}
    new = {prompt.id: prompt for key in keys for prompt in after.group(key).members}
    added = [p for i, p in new.items() if i not in old]
    removed = [p for i, p in old.items() if i not in new]
    touched = [(old[i], p) for i, p in new.items() if i in old and old[i] != p]
    if added:
        return f"added {_count(added)} to {_objects(added)}"
    if removed:
        return f"removed {_count(removed)} of {_objects(removed)}"
    if touched:
        now = [p for _, p in touched]
        return f"{_verb(touched)} {_count(now)} of {_objects(now)}"
    return _choice_text(before, after, keys)


def _choice_text(before: PromptBook, after: PromptBook, keys: Sequence[ObjectPlane]) -> str:
    chosen = [key for key in keys if before.group(key).choice != after.group(key).choice]
    if not chosen:
        return ""
    of = ids_text({object_id for object_id, _ in chosen})
    candidate = after.group(chosen[0]).choice
    if len(chosen) > 1:
        return f"chose masks of {of}"
    if candidate is None:
        return f"left the mask of {of} to the model"
    if isinstance(candidate, str):
        return f"chose the {candidate} of {of}"
    return f"chose mask {candidate + 1} of {of}"


def _verb(touched: Sequence[tuple[Prompt, Prompt]]) -> str:
    signed = Click | Stroke
    flipped = all(
        isinstance(a, signed) and isinstance(b, signed) and a.label != b.label for a, b in touched
    )
    return "flipped" if flipped else "moved"


_WORDS: dict[type, str] = {
    Click: "a point",
    BoxPrompt: "a box",
    Stroke: "a stroke",
    Lasso: "a lasso",
    MaskPrompt: "a mask",
}


def _count(prompts: Sequence[Prompt]) -> str:
    prompts = [one for one in prompts if not (isinstance(one, MaskPrompt) and one.is_first)] or [
        *prompts
    ]
    return _WORDS[type(prompts[0])] if len(prompts) == 1 else f"{len(prompts)} prompts"


def _objects(prompts: Sequence[Prompt]) -> str:
    return ids_text({prompt.object_id for prompt in prompts})


def ids_text(ids: Collection[int]) -> str:
    """Return which object it is, as in ``object 7``, or how many, as in ``3 objects``."""
    return f"object {min(ids)}" if len(ids) == 1 else f"{len(ids)} objects"
