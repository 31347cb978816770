"""The reference of the documentation has what is public."""

import re
from pathlib import Path

import napari_sam
import napari_sam.gui

PAGES = Path(__file__).parents[1] / "docs" / "api"
MODULE = re.compile(
    r"^\.\. (?:currentmodule:: ([\w.]+)|auto(?:function|class|exception|data):: (\w+))"
)


def described() -> set[str]:
    """Return the full names that the reference's pages describe."""
    names: set[str] = set()
    for page in PAGES.glob("*.md"):
        module = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if found := MODULE.match(line):
                module = found[1] or module
                if found[2]:
                    names.add(f"{module}.{found[2]}")
    return names


def test_all_that_the_package_offers_is_described():
    offered = {f"napari_sam.{name}" for name in napari_sam.__all__ if name != "__version__"}
    offered |= {f"napari_sam.gui.{name}" for name in napari_sam.gui.__all__}
    assert offered <= described()
