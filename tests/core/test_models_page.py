"""What docs/models.md says of models is what the program knows of them."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from small_sam2 import remembering, small_video
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.model.registry import REGISTRY, models_folder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def maker() -> Any:
    """The script that writes the table."""
    path = ROOT / "tools" / "models_table.py"
    spec = importlib.util.spec_from_file_location("models_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_the_one_that_the_script_makes(maker):
    assert maker.replaced(PAGE) == PAGE, "run tools/models_table.py"
    assert all(f"| `{name}` |" in PAGE for name in REGISTRY)


def test_it_lists_what_the_network_of_sam2_can_do(maker):
    traits = remembering(small_video()).traits
    assert traits.remembers == ("sam2" in maker.REMEMBERS)
    assert traits.reads_text == ("sam2" in maker.READS_TEXT)


def test_what_it_names_to_install_is_an_extra_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for entry in REGISTRY.values():
        if entry.repository is not None:
            assert entry.config in extras["optional-dependencies"]


def test_the_list_ends_with_the_folder_that_the_page_speaks_of(private_home):
    result = CliRunner().invoke(cli.app, ["models", "list"])
    assert result.exit_code == 0
    assert f"folder of downloads: {models_folder()}" in result.output.replace("\n", "")
    assert "then the folder of downloads" in PAGE
