"""The key table, and how its keys are bound; without a viewer."""

from pathlib import Path

import npe2
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.key_bindings import KeymapHandler, KeymapProvider, coerce_keybinding
from napari.utils.shortcuts import default_shortcuts

from napari_sam.gui import actions
from napari_sam.gui.key_table import (
    ACTIONS,
    CONDITIONS,
    action_of,
    class_keys,
    found,
    keys_text,
    markdown,
    with_key,
)
from napari_sam.gui.keys import Keys

TAKEN_OVER = {"Control-Z", "Control-Shift-Z"}  # napari's undo of labels: there is one undo
PAGE = Path(__file__).parents[2] / "docs" / "keys.md"


def title_of(action):
    return f"Segment Anything: {action.text}"


def bound_in(*conditions):
    return [a for a in ACTIONS if a.keys and a.condition in conditions]


def press(provider, key):
    handler = KeymapHandler()
    handler.keymap_providers = [provider]
    return handler.press_key(key)


@pytest.fixture
def pressed():
    return []


@pytest.fixture
def keys(pressed):
    return Keys(pressed.append)


@pytest.mark.parametrize("kind", [Image, Points, Labels, Shapes, ViewerModel])
def test_no_key_is_one_of_naparis(kind):
    of_napari = {key for each in kind.__mro__ for key in getattr(each, "class_keymap", ())}
    of_napari |= {key for keys in default_shortcuts.values() for key in keys if len(str(key)) > 1}
    mine = {k for a in ACTIONS if a.condition != "table" for k in a.keys} | set(class_keys())
    clashing = {key for key in mine - TAKEN_OVER if coerce_keybinding(key) in of_napari}
    assert not clashing


def test_no_key_means_two_things():
    for condition in CONDITIONS:
        keys = [key for a in bound_in(condition) for key in a.keys]
        assert len(keys) == len(set(keys)), f"a key twice {condition}: {sorted(keys)}"
    assert not set(class_keys()) & {key for a in ACTIONS for key in a.keys}
    assert len({a.id for a in ACTIONS}) == len(ACTIONS)


def test_every_action_can_be_done():
    missing = [a.id for a in ACTIONS if not callable(getattr(actions, a.id, None))]
    assert not missing, f"gui/actions.py has no function for {missing}"
    made = {n for n, f in vars(actions).items() if getattr(f, "__module__", "") == actions.__name__}
    unlisted = {name for name in made if not name.startswith("_")} - {a.id for a in ACTIONS}
    assert not unlisted, f"gui/key_table.py has no row for {unlisted}"


def test_every_action_is_in_the_command_palette():
    manifest = npe2.PluginManifest.from_distribution("napari-sam-live")
    there = {
        c.id.partition(".")[2]: (c.title, c.python_name) for c in manifest.contributions.commands
    }
    wanted = {a.id: (title_of(a), f"napari_sam.gui.actions:{a.id}") for a in ACTIONS if a.palette}
    missing = "".join(
        f"    - id: napari-sam-live.{name}\n      title: '{title}'\n      python_name: {where}\n"
        for name, (title, where) in wanted.items()
        if there.get(name) != (title, where)
    )
    assert not missing, f"napari.yaml needs these commands:\n{missing}"


def test_page_of_the_docs_is_the_table():
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "docs/keys.md is another table: python -m napari_sam.gui.key_table > docs/keys.md"
    )


def test_key_runs_the_action_of_its_row(keys, pressed):
    provider = KeymapProvider()
    keys.bind(provider)
    for action in bound_in("always"):
        for key in action.keys:
            assert press(provider, key)
            assert pressed.pop() == action.id
    assert all(command.__name__ for command in provider.keymap.values())  # napari asks for it
    keys.unbind(provider)
    assert not provider.keymap


def test_key_that_a_layer_has_already_stays_its_own(keys, pressed):
    provider, theirs = KeymapProvider(), []
    provider.bind_key("N", theirs.append)
    keys.bind(provider)
    press(provider, "N")
    keys.close()
    press(provider, "N")
    assert (len(theirs), pressed) == (2, [])


def test_with_somebody_elses_layer_no_key_changes_an_object(keys):
    viewer = KeymapProvider()
    keys.bind(viewer, foreign=True)
    harmless = {coerce_keybinding(key) for a in ACTIONS if a.anywhere for key in a.keys}
    assert set(viewer.keymap) == harmless
    for name in ("delete_object", "undo", "redo", "new_object"):
        assert not action_of(name).anywhere


def test_classes_have_their_keys_while_they_are_open(keys, pressed):
    provider, given = KeymapProvider(), []
    keys.bind(provider)
    before = dict(provider.keymap)
    first, second = class_keys()[:2]
    keys.open("classes", {first: lambda: given.append("tumour"), "J": lambda: given.append("x")})
    press(provider, first)
    press(provider, "J")
    assert (given, pressed) == (["tumour", "x"], [])
    keys.open("classes", {second: lambda: given.append("stroma")})
    assert not press(provider, first)
    press(provider, second)
    keys.shut("classes")
    assert given == ["tumour", "x", "stroma"]
    assert set(provider.keymap) == set(before)
    press(provider, "J")
    assert pressed == ["previous_object"]


def test_help_is_searched_by_words_and_keys():
    assert [row.id for row in found("shift+d")] == ["delete_object"]
    assert "new_object" in [getattr(row, "id", "") for row in found("NEW obj")]
    assert not list(found("no such thing"))
    assert len(list(found(""))) > len(ACTIONS)


def test_tooltip_shows_the_key():
    assert with_key("start another", "new_object") == "start another (N)"
    assert with_key("stop", "cancel") == "stop"
    assert keys_text(action_of("redo")) == "Ctrl+Shift+Z"
