"""What docs/models.md says of models is what the program knows of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.model.registry import REGISTRY, models_folder
from napari_sam.model.weights import megabytes, path_of, size_of

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def rows() -> dict[str, tuple[str, str]]:
    """Return what the page's table says, by name: size and licence."""
    found = {}
    for line in PAGE.splitlines():
        if not line.startswith("| `"):
            continue
        names, _, sizes, licence = (cell.strip() for cell in line.strip("|").split(" | "))
        names = re.findall(r"`([\w.]+)`", names)
        of_each = re.findall(r"[\d,]*\d(?=,? |, |$)", sizes.replace(" MB", "").split(", inside")[0])
        for n, name in enumerate(names):
            found[name] = of_each[min(n, len(of_each) - 1)] if of_each else "?", licence
    return found


def test_it_names_every_model_with_its_licence():
    told = {name: licence for name, (_, licence) in rows().items()}
    assert told == {entry.name: entry.licence for entry in REGISTRY.values()}


@pytest.mark.parametrize("name", list(REGISTRY))
def test_it_says_how_large_a_model_is(name):
    told, _ = rows()[name]
    known = megabytes(size_of(name))
    assert (told if told == "?" else f"{told} MB") == known


def test_the_model_in_the_package_is_as_large_as_it_says():
    assert round(path_of("nano").stat().st_size / 1e6) == int(rows()["nano"][0])


def test_the_list_ends_with_the_folder_that_the_page_speaks_of(private_home):
    result = CliRunner().invoke(cli.app, ["models", "list"])
    assert result.exit_code == 0
    assert f"folder of downloads: {models_folder()}" in result.output.replace("\n", "")
    assert "then the folder of downloads" in PAGE
