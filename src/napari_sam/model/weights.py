"""Models by name: where their weights come from, where they are kept, and how they are loaded.

Torch comes with the first model that is loaded: a list of models doesn't wait for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import platformdirs

from napari_sam.model.architecture import CheckpointError
from napari_sam.model.download import DownloadError, Progress, fetch, file_digest
from napari_sam.special_files import SpecialFileError, refuse_special

if TYPE_CHECKING:
    from napari_sam.model.sam import Sam

__all__ = [
    "REGISTRY",
    "CheckpointError",
    "DownloadError",
    "Entry",
    "download",
    "file_digest",
    "home",
    "is_downloaded",
    "load",
    "megabytes",
    "path_of",
    "size_of",
    "verify",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model known by name.

    Parameters
    ----------
    name
        What :func:`load` takes.
    url
        Where it is downloaded from; ``None`` for a model inside the package.
    digest
        ``"sha256:..."`` or ``"xxh128:..."`` of the file.
    size
        Bytes to download, to within a percent.
    licence
        SPDX identifier of the weights' licence.
    description
        What the model is for, in one line.
    config
        Name of its architecture in :data:`~napari_sam.model.config.PRESETS`.
    """

    name: str
    url: str | None
    digest: str | None
    size: int | None
    licence: str
    description: str
    config: str


_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_ZOO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"
_LM = "micro-sam's generalist for light microscopy"
_EM = "micro-sam's generalist for organelles in electron microscopy"

REGISTRY: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "nano",
            None,
            "sha256:b42169411db160c9fcba95873cde2bcaaaf8a4eaea9d4f44233099d4dc5e3d60",
            None,
            "BSD-3-Clause",
            "small and fast, for microscopy; comes with the plugin",
            "nano",
        ),
        Entry(
            "vit_b",
            f"{_SAM}sam_vit_b_01ec64.pth",
            "sha256:ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            375_042_383,
            "Apache-2.0",
            "Segment Anything, base size, natural images",
            "vit_b",
        ),
        Entry(
            "vit_l",
            f"{_SAM}sam_vit_l_0b3195.pth",
            "sha256:3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            1_249_000_000,
            "Apache-2.0",
            "Segment Anything, large, natural images",
            "vit_l",
        ),
        Entry(
            "vit_h",
            f"{_SAM}sam_vit_h_4b8939.pth",
            "sha256:a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            2_564_000_000,
            "Apache-2.0",
            "Segment Anything, huge, natural images",
            "vit_h",
        ),
        Entry(
            "vit_b_lm",
            f"{_ZOO}diplomatic-bug/1.2/files/vit_b.pt",
            "xxh128:fe9252a29f3f4ea53c15a06de471e186",
            375_000_000,
            "CC-BY-4.0",
            f"{_LM}, base size",
            "vit_b",
        ),
        Entry(
            "vit_l_lm",
            f"{_ZOO}idealistic-rat/1.2/files/vit_l.pt",
            "xxh128:017f20677997d628426dec80a8018f9d",
            1_249_000_000,
            "CC-BY-4.0",
            f"{_LM}, large",
            "vit_l",
        ),
        Entry(
            "vit_b_em_organelles",
            f"{_ZOO}noisy-ox/1.2/files/vit_b.pt",
            "xxh128:f3bf2ed83d691456bae2c3f9a05fb438",
            375_000_000,
            "CC-BY-4.0",
            f"{_EM}, base size",
            "vit_b",
        ),
        Entry(
            "vit_l_em_organelles",
            f"{_ZOO}humorous-crab/1.2/files/vit_l.pt",
            "xxh128:810b084b6e51acdbf760a993d8619f2d",
            1_249_000_000,
            "CC-BY-4.0",
            f"{_EM}, large",
            "vit_l",
        ),
    )
}


# Of the files that were checked in this process.
_DIGESTS: dict[tuple[Path, str, int, int], str] = {}


def home() -> Path:
    """Return the directory for downloads and caches.

    The environment variable ``NAPARI_SAM_HOME`` if set, otherwise the platform's cache directory
    of the user. It need not exist yet.
    """
    override = os.environ.get("NAPARI_SAM_HOME")
    if override:
        return Path(override).expanduser()
    return platformdirs.user_cache_path("napari-sam-live", appauthor=False)


def path_of(name: str) -> Path:
    """Return where a registered model's file belongs, whether or not it is there.

    Raises
    ------
    ValueError
        If no model has that name.
    """
    entry = _entry(name)
    if entry.url is None:
        return Path(__file__).parents[1] / "data" / f"{name}.safetensors"
    return home() / "models" / f"{name}{PurePosixPath(entry.url).suffix}"


def is_downloaded(name: str) -> bool:
    """Tell whether a registered model's file is there; its content is checked on loading."""
    return path_of(name).is_file()


def size_of(name: str) -> int | None:
    """Return the bytes of a registered model's file, here or to be downloaded, if known."""
    path = path_of(name)
    return path.stat().st_size if path.is_file() else _entry(name).size


def megabytes(size: int | None) -> str:
    """Spell a size in bytes, as it is told everywhere: in millions of them."""
    return "?" if size is None else f"{size / 1e6:,.0f} MB"


def download(name: str, progress: Progress | None = None, force: bool = False) -> Path:
    """Fetch a registered model, unless an intact copy is there, and return its path.

    Parameters
    ----------
    name
        A key of :data:`REGISTRY`.
    progress
        Called with the fraction received, 0 to 1; may raise to cancel. What came by then is kept
        and continued the next time.
    force
        Fetch even if an intact copy is there.

    Raises
    ------
    ValueError
        If no model has that name.
    DownloadError
        If it could not be fetched; the message says how to bring the file by hand.
    """
    entry, path = _entry(name), path_of(name)
    if entry.url is None or entry.digest is None:
        return _existing(name)
    if path.is_file() and not force:
        if _digest(path, entry.digest, _heard(progress, 0.0)) == entry.digest:
            return path
        _log.warning("%s is not the file that %s should be; fetching it anew", path, name)
    _log.info("downloading %s to %s", entry.url, path)
    fetch(entry.url, path, entry.digest, entry.size, progress)
    return path


def verify(model: str | Path) -> str:
    """Check that a model's file is what it should be, and return its digest.

    Parameters
    ----------
    model
        A key of :data:`REGISTRY`: the file must be there and have the known digest. Or a path,
        or a model without a known digest: the file must load.

    Raises
    ------
    CheckpointError
        If the file is missing, altered, damaged, unsafe or of another architecture.
    """
    path = _existing(model)
    known = _known_digest(model)
    if known is not None:
        _check_digest(str(model), path, known, _heard(None, 0.0))
        return known
    load(model)
    return file_digest(path)


def load(model: str | Path, progress: Progress | None = None) -> Sam:
    """Load a model; one that is known by name but not on this disk is downloaded first.

    Parameters
    ----------
    model
        A key of :data:`REGISTRY`, or the path of a checkpoint: a ``.pth`` or ``.pt`` state dict
        with SAM's names, plain or wrapped by a trainer, or ``.safetensors``.
    progress
        As in :func:`download`.

    Returns
    -------
    sam
        In eval mode, float32, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, altered, damaged, unsafe or of another architecture.
    DownloadError
        If it had to be downloaded and could not.
    """
    from napari_sam.model.checkpoint import load_into_new, read

    known, received = _known_digest(model), 0.0
    if known is not None and not is_downloaded(str(model)):
        download(str(model), progress)
        received = 1.0
    path = _existing(model)
    if known is not None:
        _check_digest(str(model), path, known, _heard(progress, received))
    state, config = read(path)
    return load_into_new(state, config, str(path))


def _heard(progress: Progress | None, fraction: float) -> Callable[[], None]:
    """Return what lets a user cancel while a file is checked."""
    return (lambda: None) if progress is None else (lambda: progress(fraction))


def _entry(name: str) -> Entry:
    if name not in REGISTRY:
        raise CheckpointError(f"expected one of the models {', '.join(REGISTRY)}, got {name!r}")
    return REGISTRY[name]


def _known_digest(model: str | Path) -> str | None:
    return REGISTRY[model].digest if isinstance(model, str) and model in REGISTRY else None


def _existing(model: str | Path) -> Path:
    """Return the path of a model's file, which has to be there."""
    if isinstance(model, str) and model in REGISTRY:
        path = path_of(model)
        advice = (
            "the installation is incomplete: install napari-sam-live again"
            if REGISTRY[model].url is None
            else f"fetch it with: napari-sam models download {model}"
        )
    else:
        path = Path(model).expanduser()
        advice = f"give one of the models {', '.join(REGISTRY)} or the path of a checkpoint"
    try:
        refuse_special(path)
    except SpecialFileError as error:
        raise CheckpointError(str(error)) from error
    if not path.is_file():
        raise CheckpointError(f"expected a model, but there is no file {path}; {advice}")
    return path


def _check_digest(name: str, path: Path, expected: str, heard: Callable[[], None]) -> None:
    came = _digest(path, expected, heard)
    if came != expected:
        raise CheckpointError(
            f"{path}: expected the file of {name} with digest {expected}, got one with {came}, "
            f"which is not opened; fetch it anew with download({name!r}, force=True), or load "
            "another model's file by its path"
        )


def _digest(path: Path, like: str, heard: Callable[[], None]) -> str:
    """Digest of a file, which for the largest models takes seconds: taken again if it changed."""
    stat = path.stat()
    algorithm = like.partition(":")[0]
    key = path, algorithm, stat.st_size, stat.st_mtime_ns
    if key not in _DIGESTS:
        _DIGESTS[key] = file_digest(path, algorithm, heard)
    return _DIGESTS[key]
