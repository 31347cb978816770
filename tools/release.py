"""Say what is missing for a release, or write the recipe for conda-forge.

Usage: ``release.py`` exits with what is missing in packaging/release.toml, or doesn't agree.
``release.py FOLDER``, with the wheel and the sdist in it, also writes FOLDER/recipe.yaml.
"""

import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> None:
    """Check, and write the recipe where a folder is given."""
    known = tomllib.loads((ROOT / "packaging/release.toml").read_text(encoding="utf-8"))
    problems = [f"packaging/release.toml: {name} is empty" for name in known if not known[name]]
    problems += disagreements(version())
    if problems:
        sys.exit("\n".join(problems))
    for folder in arguments:
        (sdist,) = Path(folder).glob("*.tar.gz")
        text = (ROOT / "packaging/recipe.yaml").read_text(encoding="utf-8")
        target = Path(folder, "recipe.yaml")
        target.write_text(recipe(text, known, sdist.read_bytes()), encoding="utf-8")
        print(f"wrote {target}")


def version() -> str:
    """Return the version, which stands in the package alone."""
    text = (ROOT / "src/napari_sam/__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def disagreements(version: str) -> list[str]:
    """Return a message for each file with another version, or none."""
    patterns = {
        "CITATION.cff": r"^version: (.+)$",
        "CHANGELOG.md": r"^## (\S+)",
        "packaging/recipe.yaml": r'^  version: "(.+)"$',
    }
    found = {
        name: re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name, pattern in patterns.items()
    }
    return [
        f"{name}: expected version {version}, got {versions[0] if versions else 'none'}"
        for name, versions in found.items()
        if versions[:1] != [version]
    ]


def recipe(text: str, known: dict[str, object], sdist: bytes) -> str:
    """Return the recipe with its open fields filled in."""
    fields = {
        "  sdist": str(known["sdist"]).replace("{version}", version()),
        "  sha256": hashlib.sha256(sdist).hexdigest(),
        "  homepage": known["repository"],
        "  documentation": known["documentation"],
        "  recipe-maintainers": known["conda_maintainers"],
    }
    for name, value in fields.items():
        text, count = re.subn(
            rf'^{name}: (?:""|\[\])$', f"{name}: {json.dumps(value)}", text, flags=re.MULTILINE
        )
        if count != 1:
            sys.exit(f"packaging/recipe.yaml: expected one open field {name.strip()}, got {count}")
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
