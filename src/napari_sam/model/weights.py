"""Models by name: the sources and the files of their weights, and loading them.

Torch is only imported when a model is loaded, so that a list of models doesn't wait for it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_sam.model import pretrained, taught_library
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.download import DownloadError, Progress, fetch, file_digest
from napari_sam.model.lesson import card_of
from napari_sam.model.registry import REGISTRY, Entry, home, models_folder
from napari_sam.special_files import SpecialFileError, refuse_special

if TYPE_CHECKING:
    from napari_sam.model.sam import Sam
    from napari_sam.model.taught import TaughtModel

__all__ = [
    "REGISTRY",
    "CheckpointError",
    "DownloadError",
    "Entry",
    "beside",
    "called",
    "decoder_path_of",
    "download",
    "file_digest",
    "home",
    "is_downloaded",
    "load",
    "load_parent",
    "megabytes",
    "path_of",
    "size_of",
    "to_download",
    "verify",
]

_log = logging.getLogger(__name__)


_SUFFIXES = (".pt", ".pth", ".safetensors")

# Of the progress of a download, what a model's file is; the rest is its decoder for instances.
_MODEL_SHARE = 0.9

# Of the files that were checked in this process.
_DIGESTS: dict[tuple[Path, str, int, int], str] = {}


def path_of(name: str) -> Path:
    """Return the path of a registered model's file, whether or not it exists.

    For a model on the hub it is the folder of its files, if they have been downloaded.

    Raises
    ------
    ValueError
        If no model has that name.
    """
    entry = _entry(name)
    if entry.url is None:
        return Path(__file__).parents[1] / "data" / f"{name}.safetensors"
    if entry.repository is not None:
        return pretrained.snapshot_of(entry.repository) or models_folder() / name
    return models_folder() / f"{name}{PurePosixPath(entry.url).suffix}"


def decoder_path_of(name: str) -> Path | None:
    """Return the path of a registered model's decoder for instances; None if it has none.

    Raises
    ------
    ValueError
        If no model has that name.
    """
    return None if _entry(name).decoder_url is None else beside(path_of(name))


def beside(path: Path) -> Path:
    """Return the file beside a checkpoint that has its decoder for instances, if it is there.

    That of ``NAME.pt`` is ``NAME_decoder.pt``, or has another ending that checkpoints have.
    """
    suffixes = dict.fromkeys((path.suffix, *_SUFFIXES))
    paths = [path.with_name(f"{path.stem}_decoder{suffix}") for suffix in suffixes]
    return next((one for one in paths if one.exists()), paths[0])


def is_downloaded(name: str) -> bool:
    """Whether a registered model's file exists; its content is checked on loading."""
    if (repository := _entry(name).repository) is not None:
        return pretrained.snapshot_of(repository) is not None
    return path_of(name).is_file()


def size_of(name: str) -> int | None:
    """Return the size of a registered model's file in bytes, downloaded or not; None if unknown."""
    path = path_of(name)
    if path.is_dir():
        return sum(one.stat().st_size for one in pretrained.weight_files(path))
    return path.stat().st_size if path.is_file() else _entry(name).size


def to_download(model: str | Path | TaughtModel) -> str | None:
    """Return the name of the model that :func:`load` would download first; None for no download.

    For a taught model it is its parent.

    Raises
    ------
    CheckpointError
        If it is a taught model that can't be read.
    """
    name: str | Path
    if not isinstance(model, str | Path):
        name = model.lesson.parent
    elif (repository := pretrained.repository_of(model)) is not None:
        here = pretrained.snapshot_of(repository) is not None
        return None if here else pretrained.name_of(model)
    else:
        taught = taught_library.find(model)
        card = None if taught is None else taught.card
        name = model if card is None else card.lesson.parent
    if not isinstance(name, str) or name not in REGISTRY:
        return None
    return None if REGISTRY[name].url is None or is_downloaded(name) else name


def called(model: str | Path) -> str:
    """Return the name by which a taught model records its parent: a model's or a file's name."""
    if (taught := taught_library.find(model)) is not None:
        return taught.name
    return str(model) if isinstance(model, str) and model in REGISTRY else Path(model).name


def megabytes(size: int | None) -> str:
    """Return a size in bytes as text, in MB (10⁶ bytes)."""
    return "?" if size is None else f"{size / 1e6:,.0f} MB"


def download(name: str, progress: Progress | None = None, force: bool = False) -> Path:
    """Fetch a registered model, unless an intact copy is there, and return its path.

    Its decoder for instances, where it has one, is fetched along with it.

    Parameters
    ----------
    name
        A key of :data:`REGISTRY`, or a name on Hugging Face's hub.
    progress
        Called with the fraction received, 0-1; it may raise an exception to cancel. A download
        that was cancelled is continued the next time.
    force
        Fetch even if an intact copy is there.

    Raises
    ------
    ValueError
        If no model has that name.
    DownloadError
        If it could not be fetched; the message explains how to add the file by hand.
    """
    if (repository := pretrained.repository_of(name)) is not None:
        here = None if force else pretrained.snapshot_of(repository)
        return here or pretrained.download(repository, progress, force)
    entry, path = _entry(name), path_of(name)
    if entry.url is None or entry.digest is None:
        return _existing(name)
    decoder, url, digest = decoder_path_of(name), entry.decoder_url, entry.decoder_digest
    if decoder is None or url is None or digest is None:
        _fetch(name, path, entry.url, entry.digest, entry.size, progress, force)
        return path
    first = _part(progress, 0.0, _MODEL_SHARE)
    _fetch(name, path, entry.url, entry.digest, entry.size, first, force)
    last = _part(progress, _MODEL_SHARE, 1.0)
    _fetch(f"the decoder of {name}", decoder, url, digest, None, last, force)
    return path


def _fetch(
    name: str,
    path: Path,
    url: str,
    digest: str,
    size: int | None,
    progress: Progress | None,
    force: bool,
) -> None:
    """Fetch a file, unless an intact copy is there."""
    if path.is_file() and not force:
        if _digest(path, digest, _heard(progress, 0.0)) == digest:
            return
        _log.warning("%s is not the file that %s should be; fetching it anew", path, name)
    _log.info("downloading %s to %s", url, path)
    fetch(url, path, digest, size, progress)


def _part(progress: Progress | None, low: float, high: float) -> Progress | None:
    """Return a callback that reports its fraction as a part of the whole."""
    if progress is None:
        return None
    return lambda fraction: progress(low + fraction * (high - low))


def verify(model: str | Path) -> str:
    """Check the integrity of a model's file, and return its digest.

    Parameters
    ----------
    model
        A key of :data:`REGISTRY`: the file must be there and have the known digest, and so must
        its decoder for instances if that is there. Or a path,
        or a model without a known digest: the file must load. A taught model's file must be
        whole, and fit its parent if that is here.

    Raises
    ------
    CheckpointError
        If the file is missing, altered, damaged, unsafe or of another architecture.
    """
    if pretrained.is_pretrained(model):
        return pretrained.verify(model)
    path = _existing(model)
    known = _known_digest(model)
    if known is not None:
        _check_digest(str(model), path, known, _heard(None, 0.0))
        _checked_decoder(str(model), path, _heard(None, 0.0))
        return known
    if to_download(model) is None:
        load(model)
    elif (taught := taught_library.find(model)) is not None:
        taught.read()
    return file_digest(path)


def load(model: str | Path | TaughtModel, progress: Progress | None = None) -> Sam:
    """Load a model; one that is known by name but not on this disk is downloaded first.

    Parameters
    ----------
    model
        A key of :data:`REGISTRY`, the name of a model that was taught on this machine (see
        :mod:`~napari_sam.model.taught_library`), or a path: of a taught model, or of a checkpoint,
        which is a ``.pth`` or ``.pt`` state dict with SAM's names, plain or wrapped by a trainer,
        or ``.safetensors``. A file ``NAME_decoder.pt`` beside a checkpoint ``NAME.pt`` that has
        no decoder for instances itself is that decoder. The parent of a taught model is loaded by
        its name, or from the file of that name beside the taught one or in ``models`` of
        :func:`home`. Or a taught model itself, as a session's file has it.
    progress
        As in :func:`download`.

    Returns
    -------
    sam
        In eval mode, float32, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, altered, damaged, unsafe or of another architecture; if the parent
        of a taught model is missing, or another.
    DownloadError
        If it had to be downloaded and could not.
    """
    if not isinstance(model, str | Path):
        return model.applied_to(_parent_of(model, model.name or "the taught model", (), progress))
    taught = taught_library.find(model)
    if taught is None:
        return _load_plain(model, progress)
    read = taught.read()
    return read.applied_to(_parent_of(read, taught.name, (taught.path.parent,), progress))


def load_parent(model: str | Path, progress: Progress | None = None) -> Sam:
    """Load the parent of a taught model; any other model is loaded itself.

    Parameters, results and errors are those of :func:`load`.
    """
    taught = taught_library.find(model)
    if taught is None:
        return _load_plain(model, progress)
    return _parent_of(taught.read(), taught.name, (taught.path.parent,), progress)


def _parent_of(
    model: TaughtModel, origin: str, beside: tuple[Path, ...], progress: Progress | None
) -> Sam:
    """Load the model that was taught, by its name or from a file of that name."""
    parent, key = model.lesson.parent, model.lesson.parent_key
    if parent in REGISTRY:
        return _load_plain(parent, progress)
    places = tuple(dict.fromkeys((*beside, models_folder())))
    here = [path for path in (place / parent for place in places) if path.is_file()]
    for path in here:
        if card_of(path) is None and model.fits(sam := _load_plain(path, progress)):
            return sam
    found = f"found another model in {', '.join(map(str, here))}" if here else "found none"
    raise CheckpointError(
        f"{origin}: expected the model that it was taught from, {parent} ({key[:8]}), in "
        f"{' or '.join(map(str, places))}, {found}; put a copy of {parent} there"
    )


def _load_plain(model: str | Path, progress: Progress | None) -> Sam:
    """Load a model that isn't a taught one."""
    from napari_sam.model.checkpoint import load_into_new, read, with_decoder

    pretrained.refuse_to_teach(model)  # the network itself is only needed for that
    known, received = _known_digest(model), 0.0
    if known is not None and not is_downloaded(str(model)):
        download(str(model), progress)
        received = 1.0
    path = _existing(model)
    if known is not None:
        _check_digest(str(model), path, known, _heard(progress, received))
    state, config = read(path)
    decoder = _checked_decoder(str(model), path, _heard(progress, received))
    if decoder is not None and not config.instance_channels:
        state, config = with_decoder(state, config, decoder)
    sam = load_into_new(state, config, str(path))
    if isinstance(model, str) and model in REGISTRY:  # several have one architecture
        sam.config = sam.config.renamed(model)
    return sam


def _checked_decoder(model: str, path: Path, heard: Callable[[], None]) -> Path | None:
    """Return the file of a decoder for instances beside a model's; None if there is none.

    Raises
    ------
    CheckpointError
        If it is that of a registered model, and another file than it should be.
    """
    decoder = beside(path)
    digest = REGISTRY[model].decoder_digest if model in REGISTRY else None
    if not decoder.exists():
        if digest is not None:
            warnings.warn(
                f"the decoder for instances of {model} isn't here, so everything is found by a "
                "grid of points, which takes longer; fetch it with: napari-sam models download "
                f"{model}",
                UserWarning,
                stacklevel=2,
            )
        return None
    if digest is not None:
        _check_digest(model, decoder, digest, heard)
    return decoder


def _heard(progress: Progress | None, fraction: float) -> Callable[[], None]:
    """Return a callback by which a user can cancel the check of a file."""
    return (lambda: None) if progress is None else (lambda: progress(fraction))


def _entry(name: str) -> Entry:
    if name in REGISTRY:
        return REGISTRY[name]
    if name in taught_library.names():
        raise CheckpointError(
            f"expected one of the models {', '.join(REGISTRY)}, got {name!r}, which was taught on "
            "this machine: there is nothing to download but its parent"
        )
    raise CheckpointError(f"expected one of the models {', '.join(REGISTRY)}, got {name!r}")


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
    elif (taught := taught_library.find(model)) is not None:
        path, advice = taught.path, ""
    else:
        path = Path(model).expanduser()
        own = (
            f", one that you taught ({names})"
            if (names := ", ".join(taught_library.names()))
            else ""
        )
        advice = f"give one of the models {', '.join(REGISTRY)}{own} or the path of a checkpoint"
    try:
        refuse_special(path)
    except SpecialFileError as error:
        raise CheckpointError(str(error)) from error
    if path.is_dir():
        raise pretrained.foreign_folder(model, path)
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
