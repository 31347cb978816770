"""The models that a user can choose, with size and speed, and the loader of a viewer.

Torch is imported on the loading thread, so that the window opens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_sam.model import pretrained, taught_library, weights
from napari_sam.model.lesson_facts import day_of, rests_on, score_lines, taught_on
from napari_sam.model.taught_library import TaughtFile
from napari_sam.segmentation.protocol import Segmenter


class Loader(Protocol):
    """Loads a segmenter on a worker thread, and reports the fraction of a download."""

    def __call__(self, model: str, device: str, progress: Callable[[float], None]) -> Segmenter:
        """Load a model by its name or path on a device."""
        ...


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A line of the model menu.

    Parameters
    ----------
    model
        Name or path, for :func:`~napari_sam.load_segmenter`.
    text
        Name, size and speed, for the menu.
    tip
        Description, for the tooltip.
    here
        Whether it can be used without a download.
    """

    model: str
    text: str
    tip: str
    here: bool


def choices(seconds: dict[str, float], extra: str | None = None) -> list[ModelChoice]:
    """Return the models with size, speed, and whether they must be downloaded.

    Taught models come after the registered ones, the latest first.

    Parameters
    ----------
    seconds
        Measured seconds per plane on the chosen device, by model.
    extra
        Path of a user's checkpoint to list as well.
    """
    listed = [_choice(entry, seconds.get(entry.name)) for entry in weights.REGISTRY.values()]
    listed += [_taught(one, seconds) for one in taught_library.listed() if one.card is not None]
    if extra is not None and extra not in {one.model for one in listed}:
        text = _join(pretrained.name_of(extra), _size_of(extra), _speed(seconds.get(extra)))
        listed.append(ModelChoice(extra, text, extra, True))
    return listed


def elsewhere(names: Sequence[str], seconds: dict[str, float]) -> list[ModelChoice]:
    """Return the models that another machine offers, with their measured speed there."""
    return [
        ModelChoice(name, _join(name, _speed(seconds.get(name))), "on the other machine", True)
        for name in names
    ]


def device_choices() -> list[str]:
    """Return the devices of this machine, with ``"auto"`` first if there are several."""
    import torch

    devices = ["cpu"]
    if torch.backends.mps.is_available():
        devices.insert(0, "mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices[:0] = [f"cuda:{i}" for i in range(count)] if count > 1 else ["cuda"] * count
    return devices if len(devices) == 1 else ["auto", *devices]


def load_for_viewer(disk_bytes: int) -> Loader:
    """Return a loader for a viewer, with models that run in a separate process.

    Parameters
    ----------
    disk_bytes
        Largest size of the embeddings on disk; 0 keeps none.
    """

    def load(model: str, device: str, progress: Callable[[float], None]) -> Segmenter:
        from napari_sam.segmentation.loading import load_segmenter

        return load_segmenter(
            model,
            device,
            progress=progress,
            disk_bytes=disk_bytes,
            own_process=True,
            patience=None,  # a click waits for a lost connection until the user gives up
        )

    return load


def _choice(entry: weights.Entry, seconds: float | None) -> ModelChoice:
    here = weights.is_downloaded(entry.name)
    if entry.url is None:
        cost = "built in"
    else:
        size = entry.size or weights.size_of(entry.name)
        amount = weights.megabytes(size) if size else ""
        cost = amount if here else " ".join(("download", *([amount] if amount else []), "⤓"))
    tip = f"{entry.description}. Licence {entry.licence}."
    return ModelChoice(entry.name, _join(entry.name, cost, _speed(seconds)), tip, here)


def _taught(one: TaughtFile, seconds: dict[str, float]) -> ModelChoice:
    assert one.card is not None
    lesson = one.card.lesson
    here = weights.to_download(one.name) is None
    cost = f"taught on {lesson.objects} objects"
    speed = _speed(seconds.get(one.name, seconds.get(lesson.parent)))
    scores = "; ".join(f"{what} {change}" for what, change in score_lines(lesson.scores).items())
    tip = f"{lesson.parent}, taught on {taught_on(lesson)} ({day_of(one)})."
    if scores:
        tip += f" IoU before → after, {rests_on(lesson.scores)}: {scores}."
    if not here:
        cost += f" · download {lesson.parent} ⤓"
    return ModelChoice(one.name, _join(one.name, cost, speed), tip, here)


def _size_of(checkpoint: str) -> str:
    if (folder := pretrained.local_folder(checkpoint)) is not None:
        return weights.megabytes(sum(one.stat().st_size for one in folder.glob("*.safetensors")))
    path = Path(checkpoint)
    return weights.megabytes(path.stat().st_size) if path.is_file() else "missing"


def _join(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _speed(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2g} s a plane" if seconds < 10 else f"{seconds:.0f} s a plane"
