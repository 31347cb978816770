"""The status line's sentences."""

import pytest

from napari_sam.gui.status import decoding_status
from napari_sam.session import Backlog


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "Decoding 75 of 300 prompts"),
        (0.4, "Decoding 75 of 300 prompts"),
        (41.7, "Decoding 75 of 300 prompts · 42 s left"),
    ],
)
def test_many_prompts_show_how_many_are_done_and_how_long_it_takes(seconds, text):
    status = decoding_status(Backlog(75, 300, seconds))
    assert (status.light, status.text) == ("busy", text)
    assert (status.fraction, status.action) == (0.25, "Cancel")
