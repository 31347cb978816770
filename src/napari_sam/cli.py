"""The command line: ``napari-sam segment | auto | replay | embed | models | train | info ...``."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Column, Table

if TYPE_CHECKING:
    from napari_sam.batch import BatchSummary, PromptCount
    from napari_sam.segmentation.protocol import Segmenter

BAD_INPUT = 2
FAILURE = 1
# Prompts to decode of which a run tells before it starts: from about a minute on.
_MANY_CLICKS = 1000

# Suffixes of paths given as a model; known without torch, which takes seconds to import.
_CHECKPOINTS = (".pth", ".pt", ".safetensors")

app = typer.Typer(
    name="napari-sam",
    help="Segment microscopy with Segment Anything, without a viewer.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="List, download and verify models.", invoke_without_command=True)
app.add_typer(models, name="models")

_log = logging.getLogger(__name__)
out, err = Console(), Console(stderr=True)

Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or patterns.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="A folder, or for one image a .tif or .zarr.")
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Name of a model, or path of a checkpoint.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Contrast = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Pixel values shown as black and white."),
]
Axes = Annotated[
    str | None,
    typer.Option(
        help="A letter for each dimension in the files' order, such as TZYX or YXC, instead of "
        "what they say: T, Z, C, rows Y, columns X, colours S."
    ),
]
ChannelNumber = Annotated[
    int | None, typer.Option("--channel", min=0, help="The only channel to read, from 0.")
]
Overlay = Annotated[bool, typer.Option(help="Draw the labels over the image, as PNG.")]
Measurements = Annotated[
    bool, typer.Option(help="Write a CSV with size, shape and intensity of each object.")
]
Cache = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Keep embeddings on disk, and use those kept.")
]
Format = Annotated[str, typer.Option(help="Labels in a folder: .tif or .zarr.")]


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")] = False,
) -> None:
    """Segment microscopy with Segment Anything, without a viewer."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(message)s")
    if not verbose:  # what it finds odd in a file and we read or refuse is told in our words
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@app.command(epilog="Example: napari-sam segment cells.tif --prompts clicks.csv -o labels.tif")
def segment(
    images: Images,
    output: Output,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "-p",
            help="CSV of a Points layer, or a session; a folder of NAME.csv; or beside.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="CSV of a Shapes layer, or a folder of NAME.csv."),
    ] = None,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    overwrite: Annotated[
        bool, typer.Option(help="Later objects take pixels of earlier ones.")
    ] = False,
    overlay: Overlay = False,
    measurements: Measurements = False,
    suffix: Format = ".tif",
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
) -> None:
    """Segment images from clicks and boxes, or sessions, saved in the viewer."""
    with _clear_errors():
        from napari_sam.batch import check_request, count_prompts

        found = check_request(images, output, prompts, suffix, needs_prompts=True, boxes=boxes)
        _announce(count_prompts(found, prompts, boxes))
        segmenter = _load(model, device, precision, on_disk=cache)
        from napari_sam.batch import segment_files

        with _bar("segmenting") as report:
            summary = segment_files(
                segmenter,
                found,
                output,
                prompts,
                contrast,
                overwrite=overwrite,
                overlay=overlay,
                measurements=measurements,
                suffix=suffix,
                progress=report,
                axes=axes,
                channel=channel,
                boxes=boxes,
            )
        _conclude(summary, f"labels in {output}")


@app.command(epilog="Example: napari-sam auto day1/ -o labels/ --overlay")
def auto(
    images: Images,
    output: Output,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    overlay: Overlay = False,
    measurements: Measurements = True,
    suffix: Format = ".tif",
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
    points_per_side: Annotated[
        int | None,
        typer.Option(help="Prompt with a grid of so many points a side, as SAM does."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Drop masks whose predicted IoU is smaller.")
    ] = None,
) -> None:
    """Segment everything in images; along z, overlapping objects are one."""
    settings: dict[str, Any] = {}
    if points_per_side is not None:
        settings |= {"proposals": False, "points_per_side": points_per_side}
    if min_score is not None:
        settings |= {"pred_iou_thresh": min_score, "proposal_iou_thresh": min_score}
    with _clear_errors():
        from napari_sam.batch import check_request

        found = check_request(images, output, suffix=suffix)
        segmenter = _load(model, device, precision, on_disk=cache)
        from napari_sam.batch import segment_all_files

        with _bar("segmenting") as report:
            summary = segment_all_files(
                segmenter,
                found,
                output,
                contrast,
                overlay=overlay,
                measurements=measurements,
                suffix=suffix,
                progress=report,
                axes=axes,
                channel=channel,
                **settings,
            )
        _conclude(summary, f"labels in {output}")


@app.command(epilog="Example: napari-sam replay cells.napari-sam -o labels.tif")
def replay(
    session: Annotated[Path, typer.Argument(metavar="FILE", help="A session.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .tif or .zarr, or a folder for it.")
    ],
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="By default the one beside FILE.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--with", "-m", help="Answer by this model instead of the session's own."),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str | None, typer.Option(help="As of other commands; by default the session's.")
    ] = None,
    axes: Axes = None,
    channel: ChannelNumber = None,
    cache: Cache = True,
) -> None:
    """Run a session again: its prompts are answered anew; says what differs from its labels."""
    with _clear_errors():
        from napari_sam.session.saved import read_without_image

        saved = read_without_image(session)
        from napari_sam.batch import replay as replaying
        from napari_sam.batch.inputs import check_request, plan

        found = check_request([image or str(replaying.find_image(saved))], output)
        (task,) = plan(found, output, ".tif")
        opened = replaying.open_image(saved, task.image, axes, channel, must_match=image is None)
        asked = replaying.model_of(saved) if model is None else model
        its_own = replaying.precision_of(saved) if model is None else None
        segmenter = _load(asked, device, precision or its_own or "auto", on_disk=cache)
        if model is None:
            replaying.check_model(saved, segmenter)
        with _bar("replaying") as report:
            result = replaying.replay_session(saved, opened, segmenter, partial(report, session))
        replaying.write_replayed(result, task.labels)
        for note in result.notes:
            _show_warning(note)
        told = replaying.describe_difference(saved, result, segmenter)
        out.print(f"{told}; labels in {task.labels}", highlight=False, soft_wrap=True)


@app.command(epilog="Example: napari-sam export cells.napari-sam --to geojson -o cells.geojson")
def export(
    sessions: Annotated[list[Path], typer.Argument(metavar="SESSION...", help="Sessions.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="labels, coco, geojson (QuPath), ome-zarr, imagej, csv, crops, classes or ctc "
            "(Cell Tracking Challenge).",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file of the format, or a folder.")
    ],
    image: Annotated[
        Path | None, typer.Option("--image", help="By default the one beside SESSION.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels that the session wrote on disk.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="accepted: leave proposed objects out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there.")] = False,
    masks: Annotated[str, typer.Option("--masks", help="Of COCO: rle or polygons.")] = "rle",
    ome_version: Annotated[
        str | None, typer.Option("--ome-version", help="Of OME-Zarr: 0.4 or 0.5.")
    ] = None,
    margin: Annotated[
        int, typer.Option("--margin", min=0, help="Pixels around an object that is cut out.")
    ] = 8,
) -> None:
    """Write the objects of sessions in a format that other programs read."""
    with _clear_errors():
        if only not in (None, "accepted"):
            raise ValueError(f"expected --only accepted, or no --only, got {only!r}")
        from napari_sam.batch import export_sessions
        from napari_sam.io.exports import ExportOptions

        options = ExportOptions(masks, ome_version, margin)  # type: ignore[arg-type]  # checked
        with _bar("writing") as report:
            written = export_sessions(
                sessions,
                to,
                output,
                image,
                labels,
                only == "accepted",
                overwrite,
                options,
                partial(report, output),
                _show_warning,
            )
        for path in written:
            out.print(str(path), markup=False, highlight=False, soft_wrap=True)


@app.command(
    "import", epilog="Example: napari-sam import cells.geojson cells.tif -o cells.napari-sam"
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="COCO, GeoJSON, ImageJ regions or a label image."),
    ],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image that they are of.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .napari-sam.")],
    axes: Axes = None,
    channel: ChannelNumber = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a session that is there.")] = False,
) -> None:
    """Make a session of the objects that another program has written."""
    with _clear_errors():
        from napari_sam.batch import import_session

        with _bar("reading") as report:
            count = import_session(
                file,
                image,
                output,
                axes,
                channel,
                overwrite,
                partial(report, file),
                _show_warning,
            )
        what = "1 object" if count == 1 else f"{count:,} objects"
        out.print(f"{what} in {output}", highlight=False, soft_wrap=True)


@app.command(epilog="Example: napari-sam embed stack.tif --model vit_b")
def embed(
    images: Images,
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
    contrast: Contrast = None,
    axes: Axes = None,
    channel: ChannelNumber = None,
) -> None:
    """Encode images ahead, so that every plane answers clicks at once."""
    with _clear_errors():
        from napari_sam.batch import check_request

        found = check_request(images)
        segmenter = _load(model, device, precision)
        from napari_sam.batch import embed_files
        from napari_sam.segmentation.cached import embeddings_home

        with _bar("embedding") as report:
            summary = embed_files(segmenter, found, contrast, report, axes=axes, channel=channel)
        _conclude(summary, f"embeddings in {embeddings_home()}")


@models.callback()
def list_by_default(context: typer.Context) -> None:
    """List, download and verify models."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """List models, their size and licence, and whether they are here."""
    from napari_sam.model.weights import REGISTRY, is_downloaded, megabytes, size_of

    table = Table(Column("name", no_wrap=True), "size", "here", "licence", "description")
    for entry in REGISTRY.values():
        size = megabytes(size_of(entry.name))
        here = "yes" if is_downloaded(entry.name) else "no"
        table.add_row(entry.name, size, here, entry.licence, entry.description)
    out.print(table)


@models.command(epilog="Example: napari-sam models download vit_b")
def download(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...")],
    force: Annotated[bool, typer.Option(help="Fetch even what is here.")] = False,
) -> None:
    """Download models; an interrupted download is continued."""
    with _clear_errors():
        from napari_sam.model import weights

        for name in names:
            with _bar("downloading") as report:
                path = weights.download(name, partial(report, Path(name)), force)
            out.print(f"{name}: {path}", soft_wrap=True)


@models.command(epilog="Example: napari-sam models verify vit_b my_model.pt")
def verify(names: Annotated[list[str], typer.Argument(metavar="MODEL...")]) -> None:
    """Check that models or checkpoint files are what they should be."""
    with _clear_errors():
        from napari_sam.model import weights

        for name in names:
            out.print(f"{name}: {weights.verify(name)}", soft_wrap=True)


@app.command(epilog="Example: napari-sam demo --output demo-output")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "demo-output"
    ),
    model: Model = "nano",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Segment the packaged sample images from clicks, and show how long it takes."""
    with _clear_errors():
        start = time.perf_counter()
        from napari_sam.batch.demo import run_demo
        from napari_sam.samples import NAMES

        segmenter = _load(model, device, precision, cache=False)
        loaded = time.perf_counter() - start
        table = Table("sample", "shape", "objects", "embed", "click")
        steps = track(run_demo(segmenter, output), "segmenting", len(NAMES), console=err)
        for result in steps:
            table.add_row(
                result.name,
                " × ".join(map(str, result.shape)),
                str(result.objects),
                f"{result.embed_seconds * 1e3:.0f} ms",
                f"{result.click_seconds * 1e3:.0f} ms",
            )
        out.print(table)
        out.print(
            f"model {model} on {segmenter.device} in {segmenter.precision}, "
            f"ready after {loaded:.1f} s; labels and overlay pictures in {output}",
            soft_wrap=True,
        )


@app.command(epilog="Example: napari-sam train configs/nano.toml")
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see configs/.")],
) -> None:
    """Train a model, or resume a training, as a configuration file says."""
    logging.getLogger("napari_sam").setLevel(logging.INFO)
    with _clear_errors():
        from napari_sam.training.config import read_config
        from napari_sam.training.loop import train as run

        out.print(f"weights in {run(read_config(config))}", soft_wrap=True)


@app.command(epilog="Example: napari-sam info cells.napari-sam --methods")
def info(
    session: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A session to tell about.")
    ] = None,
    methods: Annotated[
        bool, typer.Option("--methods", help="A paragraph for a paper about the session.")
    ] = False,
) -> None:
    """Show versions, devices and where files are kept; or what a session holds."""
    with _clear_errors():
        if session is not None:
            _tell_session(session, methods)
        elif methods:
            raise ValueError("expected a session to write about, got none; name its file")
        else:
            _tell_installation()


def _tell_session(path: Path, methods: bool) -> None:
    from napari_sam.session.methods import methods_text
    from napari_sam.session.saved import read_without_image
    from napari_sam.session.summary import facts_of

    saved = read_without_image(path)
    if methods:
        text = methods_text(saved.about, saved.entries)
        out.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts_of(saved).items():
        table.add_row(name, escape(value))
    out.print(table, highlight=False)


def _tell_installation() -> None:
    import platform

    import torch

    import napari_sam
    from napari_sam.model.weights import home, megabytes
    from napari_sam.segmentation.cached import embeddings_home

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = torch.backends.mps.is_available()
    cache = embeddings_home()
    used = sum(p.stat().st_size for p in cache.glob("??/*.safetensors"))
    table = Table(show_header=False, box=None)
    for row in (
        ("napari-sam-live", napari_sam.__version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("GPU", ", ".join(gpus) or ("Apple MPS" if mps else "none")),
        ("models", str(home() / "models")),
        ("embeddings", f"{cache} ({megabytes(used)})"),
    ):
        table.add_row(*row)
    out.print(table)


def _load(
    model: str, device: str, precision: str, cache: bool = True, on_disk: bool = True
) -> Segmenter:
    if Path(model).suffix.lower() in _CHECKPOINTS and not Path(model).expanduser().exists():
        raise FileNotFoundError(f"expected a checkpoint at {model}, found nothing there")
    from napari_sam.model.weights import REGISTRY, is_downloaded
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
    if model in REGISTRY and not is_downloaded(model) and REGISTRY[model].url:
        with _bar("downloading") as report:
            return load(progress=partial(report, Path(model)))
    return load()


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn expected errors into one line and an exit code, and warnings into notes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _show_warning
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


def _announce(count: PromptCount) -> None:
    """Say before it starts how much a long run has to decode."""
    if count.clicks < _MANY_CLICKS:
        return
    _show_warning(
        f"{count.clicks:,} clicks to decode (objects: {count.objects:,}, planes: {count.planes:,});"
        " time grows in proportion to the clicks, and the bar tells how much of it is left"
    )


def _conclude(summary: BatchSummary, where: str) -> None:
    """Say what was done; exit with 1 if anything failed."""
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
        _show_warning(f"{images[0]}{more}: {text}")
    for failure in summary.failed:
        line = f"failed: {failure.image}: {failure.reason}"
        err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if summary.failed:
        raise typer.Exit(FAILURE)


@contextmanager
def _bar(verb: str) -> Iterator[Callable[[Path, float], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(verb, total=1.0)

        def report(path: Path, fraction: float) -> None:
            bar.update(task, completed=fraction, description=f"{verb} {path.name}")

        yield report


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    err.print(f"note: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
