"""Files that the pages for contributors name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs" / "develop").glob("*.md")), ROOT / "CONTRIBUTING.md"]
FOLDERS = (ROOT, ROOT / "src" / "napari_sam", ROOT / "tests")
NAMED = re.compile(r"`((?:[\w-]+/)+(?:[\w.*-]+\.\w+)?|[\w-]+\.(?:py|toml|yaml))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_are_there(page):
    named = {
        name
        for name in NAMED.findall(page.read_text(encoding="utf-8"))
        if not name.startswith("build/")  # made by make
    }
    assert not [name for name in named if not any(any(at.glob(name)) for at in FOLDERS)]
