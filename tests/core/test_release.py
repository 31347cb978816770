"""What is published tells one version, one list of dependencies, and no invented address."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from rattler_build import Stage0Recipe

import napari_sam

ROOT = Path(__file__).parents[2]
# Where conda-forge names a package otherwise; parts of dask are no packages there.
CONDA_NAMES = {
    "dask[array]": "dask-core",
    "napari": "napari-base",
    "torch": "pytorch",
    "xxhash": "python-xxhash",
}
KNOWN = {
    "repository": "https://host.example/us/it",
    "issues": "https://host.example/us/it/issues",
    "documentation": "https://docs.example",
    "pages": "https://host.example/us/it/blob/v{version}/",
    "files": "https://host.example/us/it/raw/v{version}/",
    "sdist": "https://packages.example/napari_sam_live-{version}.tar.gz",
    "conda_maintainers": ["somebody"],
}


def tool(path: str) -> ModuleType:
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def recipe() -> dict:
    return yaml.safe_load((ROOT / "packaging/recipe.yaml").read_text(encoding="utf-8"))


def split(requirement: str) -> tuple[str, frozenset[str]]:
    """Return a requirement's package, as conda-forge calls it, and its limits."""
    name, limits = re.match(r"([\w\-.\[\]]+)\s*(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), frozenset(limits.replace(" ", "").split(",")) - {""}


def test_every_file_tells_the_version_of_the_package():
    assert tool("tools/release.py").version() == napari_sam.__version__
    assert tool("tools/release.py").disagreements(napari_sam.__version__) == []


def test_another_version_is_noticed():
    told = tool("tools/release.py").disagreements("0.0.7")
    assert len(told) == 3
    assert all("expected version 0.0.7" in line for line in told)


def test_the_recipe_depends_on_what_the_package_depends_on(project, recipe):
    ours = dict(map(split, project["dependencies"]))
    theirs = dict(map(split, recipe["requirements"]["run"]))
    assert theirs.pop("python") == {">=${{python_min}}"}
    assert theirs.pop("cytoolz") == frozenset()  # of dask[array]
    assert theirs == ours
    assert f">={recipe['context']['python_min']}" == project["requires-python"]


def test_the_recipe_limits_what_extras_need(project, recipe):
    extras = project["optional-dependencies"]
    names = ("cluster", "codecs", "export", "sam2", "server", "zarr")
    ours = {split(text) for name in names for text in extras[name]}
    theirs = {split(text) for text in recipe["requirements"]["run_constraints"]}
    assert theirs == ours | {("torchvision", frozenset({">=0.21"}))}


def test_the_recipe_says_what_the_package_says(project, recipe):
    assert recipe["about"]["summary"] == project["description"]
    assert recipe["about"]["license"].startswith(project["license"])
    name, target = next(iter(project["scripts"].items()))
    assert recipe["build"]["python"]["entry_points"] == [f"{name} = {target}"]
    missing = [path for path in recipe["about"]["license_file"] if not (ROOT / path).exists()]
    assert missing == []


def test_open_fields_of_the_recipe_are_filled_in(recipe):
    text = (ROOT / "packaging/recipe.yaml").read_text(encoding="utf-8")
    assert recipe["context"]["sha256"] == recipe["context"]["homepage"] == ""
    filled = yaml.safe_load(tool("tools/release.py").recipe(text, KNOWN, b"an sdist"))
    assert filled["context"]["sdist"].endswith(f"live-{napari_sam.__version__}.tar.gz")
    assert re.fullmatch(r"[0-9a-f]{64}", filled["context"]["sha256"])
    assert filled["context"]["homepage"] == KNOWN["repository"]
    assert filled["extra"]["recipe-maintainers"] == ["somebody"]


def test_the_recipe_is_one_that_rattler_build_takes():
    text = (ROOT / "packaging/recipe.yaml").read_text(encoding="utf-8")
    filled = tool("tools/release.py").recipe(text, KNOWN, b"an sdist")
    (variant,) = Stage0Recipe.from_yaml(filled).render()
    made = variant.recipe.to_dict()
    assert made["package"] == {"name": "napari-sam-live", "version": napari_sam.__version__}
    assert made["source"][0]["url"] == KNOWN["sdist"].format(version=napari_sam.__version__)
    assert made["build"]["noarch"] == "python"


def test_every_dependency_has_its_licence(project):
    licences = tool("tools/licences.py")
    needed = {name for names in licences.wanted().values() for name in names}
    rows = licences.rows()
    assert set(rows) == needed
    assert not [name for name, licence in rows.items() if licence == "?"]


def test_data_in_the_package_is_in_the_list_of_licences():
    page = (ROOT / "LICENCES.md").read_text(encoding="utf-8")
    data = Path(napari_sam.__file__).parent / "data"
    names = {f"data/{p.name}{'/' * p.is_dir()}" for p in data.iterdir() if p.suffix != ".md"}
    assert not [name for name in names if f"`{name}`" not in page]


@pytest.fixture
def metadata_hook() -> ModuleType:
    return tool("packaging/metadata.py")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md#b)", "[a](https://host.example/us/it/blob/v1.2.3/docs/a.md#b)"),
        ("![a](docs/a.png)", "![a](https://host.example/us/it/raw/v1.2.3/docs/a.png)"),
        ("[a](https://else.example)", "[a](https://else.example)"),
        ("[a](#part)", "[a](#part)"),
    ],
)
def test_links_of_the_published_readme_resolve(metadata_hook, text, expected):
    assert metadata_hook.published(text, KNOWN, "1.2.3") == expected


def test_no_link_is_published_that_is_not_known(metadata_hook):
    nothing = dict.fromkeys(KNOWN, "")
    assert metadata_hook.urls(nothing, "1") == {}
    assert metadata_hook.published("[a](docs/a.md)", nothing, "1") == "[a](docs/a.md)"
    assert all(url.startswith("https://") for url in metadata_hook.urls(KNOWN, "1").values())


def test_the_manifest_is_of_this_package(project):
    text = (ROOT / "src/napari_sam/napari.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["name"] == project["name"]
    assert "Framework :: napari" in project["classifiers"]  # napari's hub lists no others
    assert sys.version_info >= tuple(map(int, project["requires-python"][2:].split(".")))
