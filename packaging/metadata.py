"""The metadata that depends on where the project is published: links, and the README's targets.

Hatchling asks for it when a wheel or an sdist is built. PyPI and napari's hub show the README away
from its repository, so that relative links and pictures would lead nowhere there.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A Markdown link or picture whose target is neither an address nor a heading of the same page.
RELATIVE = re.compile(
    r"(!?)(\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\()(?![a-z][a-z0-9+.-]*:|#)([^)\s]+)"
)


class PublishedMetadata(MetadataHookInterface):
    """Fill in `urls` and `readme` from packaging/release.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to the metadata of `[project]`."""
        root = Path(self.root)
        known = read(root / "packaging" / "release.toml")
        metadata["urls"] = urls(known, metadata["version"])
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": published(text, known, metadata["version"]),
        }


def read(path: Path) -> dict[str, Any]:
    """Return what is known of the place of publication."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def urls(known: dict[str, Any], version: str) -> dict[str, str]:
    """Return the links that are known, by the names that PyPI and napari's hub know them by."""
    every = {
        "Homepage": known["repository"],
        "Documentation": known["documentation"],
        "Source Code": known["repository"],
        "Bug Tracker": known["issues"],
        "Changelog": known["pages"] and known["pages"].format(version=version) + "CHANGELOG.md",
    }
    return {name: url for name, url in every.items() if url}


def published(text: str, known: dict[str, Any], version: str) -> str:
    """Return a page whose relative links and pictures are those of the published version."""

    def absolute(found: re.Match[str]) -> str:
        base = known["files"] if found[1] else known["pages"]
        return found[1] + found[2] + base.format(version=version) + found[3]

    return RELATIVE.sub(absolute, text)
