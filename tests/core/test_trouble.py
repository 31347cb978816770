"""docs/trouble.md explains every message that a user can meet."""

from __future__ import annotations

import re
from pathlib import Path

from messages import Message, messages

PAGE = (Path(__file__).parents[2] / "docs" / "trouble.md").read_text(encoding="utf-8")
USERS, _, PYTHON = PAGE.partition("## In Python")
ENTRY = re.compile(r"^- ((?:`[^`]+`(?: · )?)+): \S", re.MULTILINE)

# Told inside another message only, which says that a file is damaged, or caught.
INSIDE = re.compile(
    r"session/(entry_records|fact_records|record_values|following_again|post_processing|similar"
    r"|pixels|model_use)|io/session_(database|file|records)|batch/(replay|run)|model/lesson"
    r"|segmentation/(pipe|traits|network|worker)\.|gui/contrast|(batch/)?__init__"
)
# What somebody who clicks, or types commands, may do wrong; the rest are arguments in Python.
WINDOW = re.compile(
    r"(gui|cli|batch|io|session)/|training/(config|data)\.|model/attention\.|serving/(gate|listening|offers|users)"
    r"|model/(download|reply|weights|pretrained|taught|taught_library|checkpoint|tensor_file)\."
    r"|segmentation/(remote|connection|devices|on_device|worker_process|tokens|address|cached|library"
    r"|sam2_memory|sam3)\.|(image|plane_input|special_files|samples)\.py"
)


def beginnings(text: str) -> list[str]:
    """Return the beginnings of messages that a part of the page explains."""
    found = [one for entry in ENTRY.findall(text) for one in re.findall(r"`([^`]+)`", entry)]
    assert len(found) == len({*found}), "a message is explained twice"
    return found


def explained(message: Message, known: list[str]) -> bool:
    return message.text.startswith(tuple(known))


def test_every_message_of_window_and_command_line_is_explained():
    known = beginnings(USERS)
    asked = [m for m in messages() if WINDOW.match(m.module) and not INSIDE.match(m.module)]
    assert len(asked) > 300
    missing = [str(m) for m in asked if not explained(m, known)]
    assert not missing, "explain in docs/trouble.md:\n" + "\n".join(missing)


def test_it_explains_no_message_that_is_gone():
    told = [m.text for m in messages()]
    known = beginnings(USERS)
    gone = [one for one in known if not any(text.startswith(one) for text in told)]
    assert not gone, f"take out of docs/trouble.md: {gone}"


def test_a_beginning_is_a_kind_of_message_and_not_any():
    told = {m.text for m in messages()}
    for one in beginnings(USERS):
        assert sum(text.startswith(one) for text in told) <= 12, one


def test_what_python_refuses_names_what_was_needed_and_what_came():
    assert "`expected …, got …`" in PYTHON
    asked = [m for m in messages() if not WINDOW.match(m.module) and not INSIDE.match(m.module)]
    assert len(asked) > 100
    odd = [str(m) for m in asked if not re.match(r"expected .*(, got|, found|, but|: |; )", m.text)]
    assert not odd, "say what was needed, what came and what to do:\n" + "\n".join(odd)
