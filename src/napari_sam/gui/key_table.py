"""The table of all actions, with their keys, and of all mouse gestures.

Keys, command palette, help, ``docs/keys.md`` and tests read it. To add an action, add a row here,
a function with the row's id in ``gui/actions.py``, and a command in ``napari.yaml``; tests fail
for whatever is missing. ``python -m napari_sam.gui.key_table`` prints ``docs/keys.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Condition = Literal["always", "classes", "queue", "table"]
"""When a key is bound: ``always``, while a part of the dock is open, or on the objects table."""

CONDITIONS: dict[Condition, str] = {
    "always": "",
    "classes": "while the classes are open",
    "queue": "while the queue is open",
    "table": "in the table of objects",
}
"""Each condition in words. If a key is bound under two conditions, the later one wins."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something a user can do by key or from the command palette.

    Parameters
    ----------
    id
        Name of its function in ``gui/actions.py`` and, behind the plugin's name, of its command.
    text
        What it does, as the help shows it, and the command palette after the plugin's title.
    section
        The heading that it is listed under.
    keys
        Its keys in napari's notation: ``N``, ``Shift-D``, ``Control-Z``. Tooltips show the first.
    condition
        When the keys are bound.
    anywhere
        Whether the keys also work while a layer that isn't the dock's is selected; only for
        actions that change no object.
    palette
        Whether it is in the command palette.
    """

    id: str
    text: str
    section: str
    keys: tuple[str, ...] = ()
    condition: Condition = "always"
    anywhere: bool = False
    palette: bool = True


@dataclass(frozen=True, slots=True)
class Gesture:
    """A mouse gesture.

    Parameters
    ----------
    mouse
        What the user does with the mouse.
    text
        What the gesture does.
    section
        The heading that it is listed under.
    """

    mouse: str
    text: str
    section: str


PROMPTS, OBJECTS, MASKS, STACKS, EVERYTHING, QUEUE, SESSION, IMAGES, HELP = (
    "Prompts", "Objects", "Masks", "Stacks", "Everything", "Proofreading", "Session", "Images",
    "Help",
)  # fmt: skip

ACTIONS = (
    Action("click", "click in the image", PROMPTS, ("G",), anywhere=True),
    Action("draw_box", "draw a box", PROMPTS, ("U",), anywhere=True),
    Action("draw_stroke", "draw a stroke", PROMPTS, ("Shift-G",), anywhere=True),
    Action("draw_lasso", "draw a lasso", PROMPTS, ("Shift-U",), anywhere=True),
    Action("swap_buttons", "swap left and right click", PROMPTS, ("Q",)),
    Action("start_over", "start the object over on this plane", PROMPTS),
    Action("adopt_object", "adopt the object's mask on this plane", PROMPTS),
    Action("new_object", "new object", OBJECTS, ("N",)),
    Action("each_click", "each click a new object (on/off)", OBJECTS, ("Shift-N",)),
    Action(
        "go_to_object", "go to the object under the cursor", OBJECTS, ("Shift-J",), anywhere=True
    ),
    Action("previous_object", "previous object", OBJECTS, ("J",), anywhere=True),
    Action("next_object", "next object", OBJECTS, ("K",), anywhere=True),
    Action("delete_object", "delete the object", OBJECTS, ("Shift-D",)),
    Action("cut_object", "cut the object in two by a stroke", OBJECTS, ("Shift-S",)),
    Action("lock_object", "lock or unlock the object", OBJECTS, ("Shift-K",)),
    Action("widen_object", "widen the object by a pixel", OBJECTS, ("Shift-E",)),
    Action("narrow_object", "narrow the object by a pixel", OBJECTS, ("Shift-T",)),
    Action("next_candidate", "next candidate: whole, part, sub-part", MASKS, ("W",)),
    Action("toggle_outlines", "show masks as outlines or filled", MASKS, ("Shift-O",)),
    Action("toggle_preview", "preview of the next click (on/off)", MASKS, ("Shift-H",)),
    Action("follow", "follow the object through the stack", STACKS, ("Control-F",)),
    Action("follow_all", "follow all objects of this plane", STACKS, ("Control-Shift-F",)),
    Action(
        "next_doubtful",
        "next doubtful plane of the object",
        STACKS,
        ("Shift-Right",),
        anywhere=True,
    ),
    Action(
        "previous_doubtful",
        "previous doubtful plane of the object",
        STACKS,
        ("Shift-Left",),
        anywhere=True,
    ),
    Action(
        "worst_plane",
        "most doubtful plane of the object",
        STACKS,
        ("Control-Shift-Right",),
        anywhere=True,
    ),
    Action("accept_plane", "the followed mask is right on this plane", STACKS, ("8",)),
    Action("stop_here", "the followed object ends before this plane", STACKS, ("0",)),
    Action("go_on", "the followed object is also on this plane", STACKS, ("9",)),
    Action("stop_following", "stop following, and keep the planes that are done", STACKS),
    Action("look_in_3d", "show the masks in 3-D, or go back to the slice", STACKS),
    Action("link_objects", "link the objects of all frames over time", STACKS),
    Action("show_tracks", "show or hide the tracks of objects", STACKS, ("Control-L",)),
    Action("next_division", "next suggested division", STACKS, ("Control-D",)),
    Action("confirm_division", "confirm the division into these two", STACKS, ("Control-B",)),
    Action("reject_division", "reject the division", STACKS, ("Control-Shift-B",)),
    Action("read_all_planes", "read all planes ahead", STACKS),
    Action("find_all", "find all in this plane", EVERYTHING, ("Shift-F",)),
    Action("find_similar", "find more like the accepted objects", EVERYTHING, ("Shift-M",)),
    Action("widen_found", "widen all found masks by a pixel", EVERYTHING),
    Action("narrow_found", "narrow all found masks by a pixel", EVERYTHING),
    Action("keep_found", "stop finding, and keep the planes that are done", EVERYTHING),
    Action("teach", "teach the model the finished objects", EVERYTHING),
    Action("stop_teaching", "stop teaching", EVERYTHING),
    Action("mark_complete", "mark or unmark this plane as complete", EVERYTHING),
    Action("cancel", "cancel what is being computed", EVERYTHING),
    Action("proofread", "open or close the proofreading queue", QUEUE, ("Shift-Q",)),
    Action("queue_accept", "accept the object offered", QUEUE, ("8",), "queue"),
    Action("queue_fix", "correct it with clicks first", QUEUE, ("9",), "queue"),
    Action("queue_delete", "delete it", QUEUE, ("0",), "queue"),
    Action("queue_accept_rest", "accept it and all above it", QUEUE, ("Shift-R",), "queue"),
    Action("queue_accept_sure", "accept all that are surely right", QUEUE),
    Action("queue_delete_hopeless", "delete all that are surely wrong", QUEUE),
    Action("queue_next", "leave it for later", QUEUE, ("K",), "queue"),
    Action("queue_previous", "back to the previous one", QUEUE, ("J",), "queue"),
    Action("undo", "undo the last step", SESSION, ("Control-Z",)),
    Action("redo", "redo the step undone last", SESSION, ("Control-Shift-Z",)),
    Action("save_session", "save session…", SESSION),
    Action("export_objects", "export objects…", SESSION),
    Action("import_objects", "import objects…", SESSION),
    Action("open_session", "open session…", SESSION),
    Action("next_image", "next image of the list", IMAGES, ("Shift-I",), anywhere=True),
    Action("previous_image", "previous image of the list", IMAGES, ("Shift-Y",), anywhere=True),
    Action("mark_image_done", "mark or unmark the image as done", IMAGES, ("Shift-C",)),
    Action("open_image_folder", "open a folder of images…", IMAGES),
    Action("show_help", "show or hide keys and mouse", HELP, ("H",), anywhere=True),
)
"""Every action, under each heading in the order of the help."""

GESTURES = (
    Gesture("left click", "this belongs to the object", PROMPTS),
    Gesture("right click", "this doesn't belong to the object", PROMPTS),
    Gesture("Shift+click", "this belongs to the object, also on another mask", PROMPTS),
    Gesture("Q, with prompts selected", "swap inside and outside for them", PROMPTS),
    Gesture("left click on another mask", "go to its object", OBJECTS),
    Gesture("Ctrl+click", "only go to the object there", OBJECTS),
    Gesture("Ctrl+Shift+click", "this belongs to the nearest object: correct it", OBJECTS),
    Gesture("Ctrl+right click", "this doesn't belong to the object there: correct it", OBJECTS),
    Gesture("Shift+wheel", "next candidate: whole, part, sub-part", MASKS),
    Gesture("drag, with the box tool", "a box around the object", PROMPTS),
    Gesture("drag, with the stroke tool", "this belongs to the object", PROMPTS),
    Gesture("right drag, with the stroke tool", "this doesn't belong to it", PROMPTS),
    Gesture("drag, with the lasso tool", "the object lies inside", PROMPTS),
    Gesture("hold Space and drag", "move the view, with any tool", PROMPTS),
)
"""What is done with the mouse."""

SECTIONS = tuple(dict.fromkeys(row.section for row in (*ACTIONS, *GESTURES)))
"""The headings, in the order of the help."""

_BY_ID = {action.id: action for action in ACTIONS}

_FOR_CLASSES = (*(f"Shift-{x}" for x in "BWXZ"), *(f"Control-{x}" for x in "123456789"))


def action_of(action_id: str) -> Action:
    """Return the action with an id.

    Raises
    ------
    KeyError
        If there is none.
    """
    return _BY_ID[action_id]


def key_text(key: str) -> str:
    """Return a key as text: ``Shift+D``, ``Ctrl+Z``."""
    return key.replace("Control", "Ctrl").replace("-", "+")


def keys_text(action: Action) -> str:
    """Return an action's keys as text, such as ``N or M``; empty if it has none."""
    return " or ".join(key_text(key) for key in action.keys)


def with_key(tip: str, action_id: str) -> str:
    """Return a tooltip that ends with the key of its action, as in ``another object (N)``."""
    keys = action_of(action_id).keys
    return f"{tip} ({key_text(keys[0])})" if keys else tip


def class_keys() -> tuple[str, ...]:
    """Return the keys for classes of objects, in the order in which new classes get them."""
    taken = {key for action in ACTIONS for key in action.keys}
    return tuple(key for key in _FOR_CLASSES if key not in taken)


def found(words: str) -> Iterator[Action | Gesture]:
    """Yield the rows of the table that contain every word; all rows if there are no words.

    Parameters
    ----------
    words
        Parts of the text, the heading or the keys, separated by spaces.
    """
    asked = words.lower().split()
    for section in SECTIONS:
        for row in (*_of(section, ACTIONS), *_of(section, GESTURES)):
            whole = f"{row.text} {section} {trigger_text(row)}".lower()
            if all(word in whole for word in asked):
                yield row


def trigger_text(row: Action | Gesture) -> str:
    """Return what triggers a row as text: its keys and their condition, or the mouse gesture."""
    if isinstance(row, Gesture):
        return row.mouse
    when = CONDITIONS[row.condition]
    return ", ".join(part for part in (keys_text(row), when) if part)


def markdown() -> str:
    """Return the text of ``docs/keys.md``."""
    lines = [
        "# Keys and mouse",
        "",
        "A key works while the image, its prompts or its masks are selected, or no layer is "
        "selected; keys marked ● work with any layer selected. On a Mac, press ⌘ for Ctrl. "
        "`H`, or the `?` at the foot of the dock, shows this list in the viewer, where you can "
        "search it and start an action. Every action is also in napari's command palette "
        "(Ctrl+Shift+P): type *Segment Anything*. Actions without a key have *palette* in the "
        "first column.",
    ]
    for section in SECTIONS:
        lines += ["", f"## {section}", "", "| Key | What it does |", "|---|---|"]
        for action in _of(section, ACTIONS):
            mark = " ●" if action.anywhere and action.keys else ""
            how = trigger_text(action) or "palette"
            lines.append(f"| {how}{mark} | {action.text} |")
        for gesture in _of(section, GESTURES):
            lines.append(f"| {gesture.mouse} | {gesture.text} |")
    return "\n".join(lines) + "\n"


def _of(section: str, rows: Iterable[Action] | Iterable[Gesture]) -> Iterator:
    return (row for row in rows if row.section == section)


if __name__ == "__main__":
    sys.stdout.write(markdown())
