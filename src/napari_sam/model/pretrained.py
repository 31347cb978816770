"""Models in the format of the library transformers: in a folder, or on Hugging Face's hub.

Neither that library nor torch is imported here: whether a model is on this disk is asked before a
window opens.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.model.architecture import CheckpointError
from napari_sam.model.download import DownloadError, Progress, file_digest
from napari_sam.model.registry import REGISTRY, models_folder
from napari_sam.special_files import refuse_special

if TYPE_CHECKING:
    from tqdm import tqdm

FAMILIES = {"sam2": "SAM 2", "sam2_video": "SAM 2", "sam3_video": "SAM 3"}
"""Kinds of models that can be used, by what their configuration calls them."""

_CONFIG = "config.json"
_WEIGHTS = "model*.safetensors"
_TOKENIZER = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json")
_FILES = (_CONFIG, _WEIGHTS, f"{_WEIGHTS}.index.json", "*processor_config.json", *_TOKENIZER)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DIGEST = re.compile("[0-9a-f]{64}")
_CONFIG_BYTES = 10**6
# Of a download: what comes before is settings, whose end isn't that of the whole.
_LEAST_BYTES = 10**6


def repository_of(model: str | Path) -> str | None:
    """Return the repository on the hub that a model's name means; None where it means none.

    Parameters
    ----------
    model
        A registered name, or ``"owner/name"`` where nothing on this disk is called so.
    """
    if not isinstance(model, str):
        return None
    if model in REGISTRY:
        return REGISTRY[model].repository
    is_name = _REPOSITORY.fullmatch(model) and not model.endswith((".pth", ".pt", ".safetensors"))
    return model if is_name and not Path(model).exists() else None


def name_of(model: str | Path) -> str:
    """Return what a model is called: its registered name where it has one."""
    repository = repository_of(model)
    for entry in REGISTRY.values():
        if repository is not None and entry.repository == repository:
            return entry.name
    folder = local_folder(model)
    return repository or (Path(model) if folder is None else folder.resolve()).name


def is_pretrained(model: str | Path) -> bool:
    """Whether a model is in transformers' format, or on the hub."""
    return repository_of(model) is not None or local_folder(model) is not None


def local_folder(model: str | Path) -> Path | None:
    """Return the folder of the model at a path, which is the folder or one of its files.

    None for anything else, such as a checkpoint of this program.
    """
    path = Path(model).expanduser()
    if isinstance(model, str) and model in REGISTRY:
        return None
    folder = path if path.is_dir() else path.parent
    if path.is_file() and not (path.name == _CONFIG or path.match(_WEIGHTS)):
        return None
    return folder if path.exists() and family_of(folder) is not None else None


def family_of(folder: Path) -> str | None:
    """Return the key of :data:`FAMILIES` that a folder's model is of; None if it is of none."""
    kind = read_json(folder / _CONFIG).get("model_type")
    return kind if isinstance(kind, str) and kind in FAMILIES else None


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON file of settings; empty if there is none, or it has other content."""
    try:
        refuse_special(path)
        if path.stat().st_size > _CONFIG_BYTES:
            return {}
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def snapshot_of(repository: str) -> Path | None:
    """Return the folder of a repository's files on this disk; None if it isn't there or whole.

    Looked for where this program downloads to, then where the hub's own tools do.
    """
    for cache in (_cache(), _hub_cache()):
        folder = cache / f"models--{repository.replace('/', '--')}"
        try:
            commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        snapshot = folder / "snapshots" / commit
        if commit and (snapshot / _CONFIG).is_file() and any(snapshot.glob(_WEIGHTS)):
            return snapshot
    return None


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a model's weights, at least one.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = sorted(folder.glob(_WEIGHTS))
    if not found:
        raise CheckpointError(
            f"expected weights as model.safetensors in {folder}, found none; other formats could "
            "run code when they are opened: convert them with save_pretrained of transformers"
        )
    for path in found:
        refuse_special(path)
    return found


def folder_of(model: str | Path, progress: Progress | None = None) -> Path:
    """Return the folder of a model's files, which are downloaded where they aren't here.

    Parameters
    ----------
    model
        Of which :func:`is_pretrained` is true.
    progress
        Called with the fraction downloaded; it may raise to cancel.

    Raises
    ------
    CheckpointError
        If it is a model of another kind.
    DownloadError
        If it had to be downloaded and could not.
    """
    repository = repository_of(model)
    if repository is None:
        folder = local_folder(model)
    else:
        folder = snapshot_of(repository) or download(repository, progress)
    if folder is None or family_of(folder) is None:
        raise foreign_folder(model, folder)
    return folder


def foreign_folder(model: str | Path, folder: Path | None) -> CheckpointError:
    """Return the error for a folder with a model of a kind that isn't supported."""
    kind = read_json(folder / _CONFIG).get("model_type") if folder is not None else None
    return CheckpointError(
        f"expected a model of {' or '.join(dict.fromkeys(FAMILIES.values()))}, whole, got {model}, "
        f"of the kind {kind!r}; choose one of the list"
    )


def download(repository: str, progress: Progress | None = None, force: bool = False) -> Path:
    """Fetch a repository of the hub, and return the folder of its files.

    Its name is the commit that was found, which is loaded from then on.

    Parameters
    ----------
    repository
        ``"owner/name"``.
    progress
        Called with the fraction received, 0 to 1; it may raise to cancel.
    force
        Fetch even what is here.

    Raises
    ------
    DownloadError
        If it could not be fetched; the message has the reason, and how to add the files by hand.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError as error:
        raise missing_library(repository) from error
    # whatever goes wrong on the way there, of the client that this version of the library has
    http_error: type[Exception] = HfHubHTTPError.__mro__[1]
    site = f"https://huggingface.co/{repository}"
    by_hand = (
        f"To bring it by hand, run 'hf download {repository} --local-dir FOLDER' on a machine that "
        "can, and give the folder as the model"
    )
    try:
        found = huggingface_hub.snapshot_download(
            repository,
            cache_dir=_cache(),
            allow_patterns=list(_FILES),
            force_download=force,
            tqdm_class=_reporting(progress),
        )
    except GatedRepoError as error:
        raise DownloadError(
            f"{repository} is given to those who ask for it: sign in at {site}, accept its "
            "conditions, make a token at https://huggingface.co/settings/tokens, and tell it with "
            f"'hf auth login' or in the environment variable HF_TOKEN; then try again. {by_hand}"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"there is no model {repository} on huggingface.co, or it is private; check its name, "
            "and for a private one sign in with 'hf auth login'"
        ) from error
    except (http_error, OSError, ValueError) as error:
        raise DownloadError(
            f"could not download {repository} from huggingface.co "
            f"({str(error).strip().splitlines()[0] if str(error).strip() else error!r}); check the "
            f"network and, behind a proxy, HTTPS_PROXY, then try again. {by_hand}"
        ) from error
    return Path(found)


def refuse_to_teach(model: str | Path) -> None:
    """Raise an error if a model is one whose network isn't this program's own.

    Raises
    ------
    CheckpointError
        If it is; the message lists the models that can be taught.
    """
    if is_pretrained(model):
        raise CheckpointError(
            f"expected a model whose network is this program's own, got {name_of(model)}, which "
            "runs by the library transformers: it answers prompts, but can't be taught or trained "
            "further; teach nano or a Segment Anything model"
        )


def verify(model: str | Path) -> str:
    """Check the weights of a model on this disk, and return their digests.

    The hub's tools name each large file by its digest, which is compared; files in a user's
    folder can only be opened.

    Returns
    -------
    digests
        The commit, if the files came from the hub, and the digest of each file of weights.

    Raises
    ------
    CheckpointError
        If a file is missing, altered or damaged.
    """
    from napari_sam.model.tensor_file import outline  # and torch

    repository = repository_of(model)
    folder = local_folder(model) if repository is None else snapshot_of(repository)
    if folder is None:
        raise CheckpointError(
            f"expected the files of {model} on this disk, found none; fetch them with: "
            f"napari-sam models download {name_of(model)}"
        )
    digests = [] if repository is None else [f"commit {folder.name}"]
    for path in weight_files(folder):
        outline(path)
        digest, name = file_digest(path), path.resolve().name
        if _DIGEST.fullmatch(name) and digest != f"sha256:{name}":
            raise CheckpointError(
                f"{path}: expected the digest sha256:{name}, got {digest}; fetch it anew with: "
                f"napari-sam models download --force {name_of(model)}"
            )
        digests.append(digest)
    return ", ".join(digests)


def require_library(model: str | Path) -> None:
    """Raise an error if the library isn't installed.

    Parameters
    ----------
    model
        Of which :func:`is_pretrained` is true.

    Raises
    ------
    CheckpointError
        If it isn't; the message states what to install for this model.
    """
    if find_spec("transformers") is None:
        folder, name = local_folder(model), name_of(model)
        kind = REGISTRY[name].config if name in REGISTRY else ""
        if folder is not None:
            kind = family_of(folder) or ""
        raise missing_library(name, "sam3" if kind.startswith("sam3") else "sam2")


def missing_library(model: str, extra: str = "sam2") -> CheckpointError:
    """Return the error for a missing library, with how to install it."""
    return CheckpointError(
        f"{model} needs the library transformers, which is not installed; install it with: "
        f'pip install "napari-sam-live[{extra}]"'
    )


def _cache() -> Path:
    return models_folder() / "hub"


def _hub_cache() -> Path:
    """Where the hub's own tools keep what they download."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return Path(home).expanduser() / "hub"


def _reporting(progress: Progress | None) -> type[tqdm[Any]]:
    """Return a progress bar that draws nothing, and reports the share of bytes."""
    from tqdm import tqdm

    report: Callable[[float], None] = progress or (lambda fraction: None)

    class Reporting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the library's own bars have one
            super().__init__(*args, **{**kwargs, "disable": True})
            self._counts_bytes, self._received = kwargs.get("unit") == "B", 0.0

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts_bytes:
                self._received += n or 0
                total = self.total or 0
                report(min(self._received / total, 1.0) if total > _LEAST_BYTES else 0.0)
            return super().update(n)

    return Reporting
