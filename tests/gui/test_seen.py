"""The fold that shows the model's input."""

import numpy as np


def test_fold_shows_the_input_and_follows_the_contrast(user, rng):
    me = user(rng.integers(0, 255, (40, 60), np.uint8), contrast_limits=(0, 200))
    section = me.dock.seen
    assert section.picture.pixmap().isNull()
    section.fold.expand()
    me.qtbot.waitUntil(lambda: "contrast: 0 to 200" in section.facts.text())
    assert not section.picture.pixmap().isNull()
    assert section.badge.isHidden()
    me.click((20, 30))
    me.annotation.image.contrast_limits = (50, 100)
    me.qtbot.waitUntil(lambda: "read again" in section.badge.text())
    me.qtbot.waitUntil(lambda: "contrast: 50 to 100" in section.facts.text())
    me.qtbot.waitUntil(lambda: section.badge.text().startswith("1 mask was made"))
    assert "⚠" in section.fold.head.text()
