"""Build the sdist and the wheel, check their contents, and try the wheel in a new environment.

Usage: ``check_wheel.py FOLDER [REQUIREMENT ...]``. The files go to FOLDER/dist, the environment to
FOLDER/env, made anew; the requirements, such as a CPU build of torch, are installed before the
wheel. First with what the wheel depends on and nothing else: import, ``napari-sam info`` and
``demo``, and npe2's check of the manifest. Then with a Qt binding, which is the user's choice:
every function that the manifest names, and a click in a real viewer that gets its mask.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QT = "PyQt6>6.5,!=6.6.1"
MOST_BYTES = 20_000_000  # of the wheel: most of it are nano's weights

FIRST_CLICK = """
import napari
from napari_sam.gui import current_session

viewer = napari.Viewer(show=False)
viewer.open_sample("napari-sam-live", "nuclei")
session = current_session(viewer)
session.add_point((), (222, 338))
assert session.wait(60), "no answer within a minute"
area = int((viewer.layers[session.canvas.layer.name].data > 0).sum())
assert area > 100, f"a mask of {area} pixels"
print(f"a click in the viewer: a mask of {area} pixels")
viewer.close()
"""


def main(arguments: list[str]) -> None:
    """Build, check, install and try the wheel; exit with a message if anything is wrong."""
    folder, *requirements = arguments
    work = Path(folder).resolve()
    shutil.rmtree(work, ignore_errors=True)
    begin = time.perf_counter()
    wheel, sdist = build(work)
    problems = [*contents(wheel, sdist), *metadata(wheel)]
    if problems:
        sys.exit("\n".join(problems))
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size:.1f} MB, the same from the tree and from the sdist")
    python = install(work / "env", [*requirements], wheel)
    print(f"built and installed in {time.perf_counter() - begin:.0f} s", flush=True)
    attempt(python, wheel.name.split("-")[1])
    print(f"the wheel works in a new environment ({time.perf_counter() - begin:.0f} s)")


def build(work: Path) -> tuple[Path, Path]:
    """Return a wheel and an sdist; the wheel from the tree, made again from the sdist."""
    dist, again = work / "dist", work / "again"
    command = [sys.executable, "-m", "build", "--outdir"]
    run([*command, str(dist), "--wheel", str(ROOT)])
    run([*command, str(again), str(ROOT)])  # the sdist, and from it the wheel
    (wheel,), (sdist,) = dist.glob("*.whl"), again.glob("*.tar.gz")
    if wheel.read_bytes() != (again / wheel.name).read_bytes():
        sys.exit(f"{wheel.name}: expected the same from the sdist as from the tree, got another")
    shutil.move(sdist, dist / sdist.name)
    shutil.rmtree(again)
    return wheel, dist / sdist.name


def contents(wheel: Path, sdist: Path) -> list[str]:
    """Return what is missing in the files and what doesn't belong there."""
    tracked = subprocess.run(
        ["git", "ls-files", "src/napari_sam"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    expected = {name.removeprefix("src/") for name in tracked if name}
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        sources = {name.split("/", 1)[1] for name in archive.getnames()}
    problems = [f"the wheel lacks {name}" for name in sorted(expected - inside)]
    problems += [f"the wheel has {name}, not of this repository" for name in inside - expected]
    needed = {"pyproject.toml", "LICENSE", "LICENCES.md", "packaging/metadata.py", "CHANGELOG.md"}
    problems += [f"the sdist lacks {name}" for name in sorted(needed - sources)]
    if wheel.stat().st_size > MOST_BYTES:
        problems.append(
            f"the wheel has {wheel.stat().st_size} bytes, expected {MOST_BYTES} at most"
        )
    return problems


def metadata(wheel: Path) -> list[str]:
    """Return the problems of the metadata for PyPI and napari's hub."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        fields: Message = Parser().parsestr(archive.read(name).decode("utf-8"))
    needed = ("Name", "Version", "Summary", "License-Expression", "Requires-Python", "Keywords")
    problems = [f"the metadata lacks {field}" for field in needed if not fields[field]]
    if fields["Description-Content-Type"] != "text/markdown" or "# " not in str(
        fields.get_payload()
    ):
        problems.append("the metadata lacks the README as its description")
    if "Framework :: napari" not in fields.get_all("Classifier", []):
        problems.append("napari's hub lists only what has the classifier Framework :: napari")
    return problems


def install(env: Path, requirements: list[str], wheel: Path) -> Path:
    """Make an environment, install the wheel with what it depends on, return its interpreter."""
    venv.create(env, with_pip=True, symlinks=os.name != "nt")
    python = env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for requirement in [*requirements, str(wheel)]:
        pip(python, requirement)
    run([str(python), "-m", "pip", "check"])
    return python


def pip(python: Path, requirement: str) -> None:
    """Install one thing; what is imported is compiled then."""
    options = ["--disable-pip-version-check", "--quiet", "--no-compile"]
    run([str(python), "-m", "pip", "install", *options, requirement])


def attempt(python: Path, version: str) -> None:
    """Use the installed package as somebody who has nothing else of it, in an empty folder."""
    scripts = python.parent
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = {"HOME": folder, "USERPROFILE": folder, "LOCALAPPDATA": folder, "NAPARI_CONFIG": ""}
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "XDG_", "NAPARI_"))
        }
        known = {"cwd": folder, "env": {**clean, **home}}
        version_found = run(
            [str(python), "-c", "import napari_sam; print(napari_sam.__version__)"], **known
        )
        if version_found.strip() != version:
            sys.exit(f"expected version {version}, got {version_found.strip()}")
        print(run([str(scripts / "napari-sam"), "info"], **known))
        print(run([str(scripts / "napari-sam"), "demo", "--output", "demo"], **known))
        if not list(Path(folder, "demo").rglob("*.tif")):
            sys.exit("napari-sam demo has left no labels")
        print(run([str(scripts / "npe2"), "validate", "napari-sam-live"], **known))
        pip(python, QT)
        print(run([str(scripts / "npe2"), "validate", "--imports", "napari-sam-live"], **known))
        print(run([str(python), "-c", FIRST_CLICK], **known))


def run(command: list[str], **known: object) -> str:
    """Return what a command prints; exit with all of it where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **known)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return str(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
