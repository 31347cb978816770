"""Print the tables of dependencies for LICENCES.md, from the metadata of the installed packages.

Usage: ``licences.py``, in an environment that has the extras. What is not installed keeps the row
that LICENCES.md has.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "LICENCES.md"
OURS = "napari-sam-live"
SHORT = 60  # longer texts are whole licences, not names


def wanted() -> dict[str, list[str]]:
    """Return which packages are needed, by extra; "" for those that always are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    shipped = {name: extras[name] for name in extras if name not in ("all", "dev", "docs", "test")}
    groups = {"": project["dependencies"], **shipped}
    return {extra: [name_of(text) for text in texts] for extra, texts in groups.items()}


def name_of(requirement: str) -> str:
    """Return the package that a requirement is of."""
    return re.split(r"[\[<>=!; ]", requirement, maxsplit=1)[0]


def licence_of(name: str) -> str | None:
    """Return the licence that an installed package names, None where it isn't installed."""
    try:
        fields = metadata(name)
    except PackageNotFoundError:
        return None
    classifiers = [c for c in fields.get_all("Classifier") or [] if c.startswith("License")]
    text = fields["License-Expression"] or fields["License"] or ""
    if not text or (len(text) > SHORT and not fields["License-Expression"]):
        text = ", ".join(c.rsplit(" :: ", 1)[-1] for c in classifiers)
    return text or None


def rows() -> dict[str, str]:
    """Return the licences that LICENCES.md has, by package."""
    _, _, needed = PAGE.read_text("utf-8").partition("## What it needs")
    return dict(re.findall(r"^\| `([^`]+)` \|[^|]*\| (.+) \|$", needed, re.MULTILINE))


def table() -> str:
    """Return the table of dependencies in Markdown."""
    kept, lines = rows() if PAGE.exists() else {}, ["| package | for | licence |", "|---|---|---|"]
    extras: dict[str, list[str]] = {}
    for extra, names in wanted().items():
        for name in names:
            extras.setdefault(name, []).append(f"extra `{extra}`" if extra else "always")
    for name, purposes in extras.items():
        licence = licence_of(name) or kept.get(name, "?")
        lines.append(f"| `{name}` | {', '.join(purposes)} | {licence} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
