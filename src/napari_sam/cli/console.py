"""What all commands have in common: a model, a bar, one line for what went wrong."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from napari_sam.batch import BatchSummary, ClusterModel, PromptCount
    from napari_sam.model.taught import TaughtModel
    from napari_sam.segmentation.protocol import Segmenter

BAD_INPUT = 2
FAILURE = 1
# Prompts to decode from which a run reports them before it starts: about a minute.
_MANY_CLICKS = 1000

# Suffixes of paths given as a model; known without torch, which takes seconds to import.
_CHECKPOINTS = (".pth", ".pt", ".safetensors")

_log = logging.getLogger(__name__)
out, err = Console(), Console(stderr=True)


def load_model(
    model: str | TaughtModel,
    device: str,
    precision: str,
    cache: bool = True,
    on_disk: bool = True,
) -> Segmenter:
    """Return a model by its name or path, or as it was taught; download it if it isn't here."""
    from napari_sam.segmentation.address import is_address

    if is_address(device):
        from napari_sam.segmentation.loading import load_segmenter

        with bar("loading") as report:
            return load_segmenter(
                model, device, precision, partial(report, Path(device)), cache=cache
            )
    check_checkpoint(model)
    from napari_sam.model.weights import to_download
    from napari_sam.segmentation.cached import DISK_BYTES
    from napari_sam.segmentation.loading import load_segmenter

    load = partial(
        load_segmenter,
        model,
        device,
        precision,
        cache=cache,
        disk_bytes=DISK_BYTES if on_disk else 0,
    )
    if (fetched := to_download(model)) is not None:
        with bar("downloading") as report:
            return load(progress=partial(report, Path(fetched)))
    return load()


@contextmanager
def open_model(
    model: str,
    device: str,
    precision: str,
    scheduler: str | None,
    workers: int | None,
    on_disk: bool = True,
) -> Iterator[Segmenter | ClusterModel]:
    """Yield a model that is loaded here, or where a cluster is asked for on all of its workers."""
    if scheduler is None and workers is None:
        yield load_model(model, device, precision, on_disk=on_disk)
        return
    check_checkpoint(model)
    from napari_sam.batch import on_cluster
    from napari_sam.model import weights

    if not logging.getLogger().isEnabledFor(logging.INFO):
        _silence_dask()
    if (fetched := weights.to_download(model)) is not None:  # once, and not by all workers
        with bar("downloading") as report:
            weights.download(fetched, partial(report, Path(fetched)))
    cluster = on_cluster(
        model, device, precision, scheduler=scheduler, workers=workers, on_disk=on_disk
    )
    with ExitStack() as stack:
        with err.status("loading the model on all workers"):
            opened = stack.enter_context(cluster)
        yield opened


def _silence_dask() -> None:
    """Have dask keep its diary to itself; to be called before `distributed` is imported."""
    import dask

    dask.config.set(logging={"distributed": "critical", "distributed.client": "critical"})


def check_checkpoint(model: str | TaughtModel) -> None:
    """Refuse the path of a checkpoint where there is none, before torch is imported.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    """
    if not isinstance(model, str) or Path(model).suffix.lower() not in _CHECKPOINTS:
        return
    if not Path(model).expanduser().exists():
        raise FileNotFoundError(f"expected a checkpoint at {model}, found nothing there")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn expected errors into one line and an exit code, and warnings into notes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show_warning
            yield
    except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        _fail(error, BAD_INPUT)
    except (OSError, ImportError, MemoryError) as error:
        _fail(error, FAILURE)
    except (ValueError, TypeError, IndexError) as error:
        _fail(error, BAD_INPUT)
    except KeyboardInterrupt:
        err.print("stopped; what is finished stays")
        raise typer.Exit(130) from None


def _fail(error: BaseException, code: int) -> None:
    _log.info("where it happened:", exc_info=error)  # with --verbose
    message = str(error) or type(error).__name__
    err.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from error


def announce(count: PromptCount) -> None:
    """Report how many prompts a run has to decode, if it will take long."""
    if count.clicks < _MANY_CLICKS:
        return
    show_warning(
        f"{count.clicks:,} clicks to decode (objects: {count.objects:,}, planes: {count.planes:,});"
        " time grows in proportion to the clicks, and the bar shows how much of it is left"
    )


def conclude(summary: BatchSummary, where: str) -> None:
    """Report the result of a batch; exit with 1 if an image failed."""
    parts = [f"{len(summary.done)} done"]
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} unchanged since last time")
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    if not (summary.done or summary.skipped):
        where = "nothing was written"
    out.print(f"{', '.join(parts)}; {where}", highlight=False, soft_wrap=True)
    by_text: dict[str, list[str]] = {}
    for note in summary.notes:
        by_text.setdefault(note.text, []).append(str(note.image))
    for text, images in by_text.items():
        more = f" and {len(images) - 1} more" if len(images) > 1 else ""
        show_warning(f"{images[0]}{more}: {text}")
    for failure in summary.failed:
        line = f"failed: {failure.image}: {failure.reason}"
        err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if summary.failed:
        raise typer.Exit(FAILURE)


@contextmanager
def bar(verb: str) -> Iterator[Callable[[Path, float], None]]:
    """Show a bar; yield what takes the file that is worked on and the finished fraction."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as shown:
        task = shown.add_task(verb, total=1.0)

        def report(path: Path, fraction: float) -> None:
            shown.update(task, completed=fraction, description=f"{verb} {path.name}")

        yield report


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Write a note that nothing failed of."""
    err.print(f"note: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
