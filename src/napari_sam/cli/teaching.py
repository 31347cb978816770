"""The command that teaches a model the objects of sessions or label images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from napari_sam.cli.application import app
from napari_sam.cli.console import FAILURE, bar, clear_errors, err, load_model, out
from napari_sam.cli.options import Axes, ChannelNumber, Device

if TYPE_CHECKING:
    from napari_sam.batch.teaching import ImageOptions
    from napari_sam.examples import Example
    from napari_sam.model.taught import TaughtModel
    from napari_sam.training.tuning import TuneStep

_PHASES = {"score": "scoring", "learn": "learning", "again": "learning all objects"}
_NOT_BETTER = (
    "not better enough on what was held back (mean change of the IoU {:+.3f}): nothing was written;"
    " label more objects, give it more time (--seconds), or write it with --anyway"
)


@app.command(epilog="Example: napari-sam tune cells.napari-sam -o my.safetensors")
def tune(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="SESSION...", help="Session files; with --labels, images."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .safetensors file; by default it is kept among your models."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the taught model; by default that of the file."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", help="Labels of the images, one file for each, in their order."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            help="Images of the sessions, one for each, in their order; by default those beside "
            "them.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model to teach; by default that of the sessions, or nano."
        ),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete", help="State that every object is labelled on planes with labels."
        ),
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Teach the image encoder, too: better, but slower.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", help="Seconds of computing for one pass of learning; by default 30."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", help="Number of steps instead of a time: a repeated run gives equal weights."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random numbers.")] = 0,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads; by default one for each core."),
    ] = None,
    keep_names: Annotated[
        bool,
        typer.Option("--keep-names", help="Store the names of the given files in the model."),
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Write the model even if it is no better.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    device: Device = "auto",
    axes: Axes = None,
    channel: ChannelNumber = None,
) -> None:
    """Teach a model your finished objects; some are held back to score it."""
    with clear_errors():
        kept = _Kept.of(output, name, overwrite)
        if steps is not None and seconds is not None:
            raise ValueError("expected a time or a number of steps, got both; leave one out")
        from napari_sam.batch.teaching import ImageOptions
        from napari_sam.model.pretrained import refuse_to_teach

        if model is not None:
            refuse_to_teach(model)
        options = ImageOptions(axes, channel)
        examples = _examples(files, labels, image, options, complete)
        taught = model or ("nano" if labels else _model_of(files))
        segmenter = load_model(taught, device, "auto", cache=False)
        import torch

        from napari_sam.model.weights import called
        from napari_sam.training.tuning import TuneSettings
        from napari_sam.training.tuning import tune as teach
        from napari_sam.training.verdict import mean_change

        settings = TuneSettings(
            seconds=30.0 if seconds is None else seconds,
            steps=steps,
            seed=seed,
            threads=threads or torch.get_num_threads(),
            thorough=thorough,
            parent=called(taught),
            sources=tuple(str(path) for path in files) if keep_names else (),
            anyway=anyway,
        )
        with bar("teaching:") as report:
            for step in teach(segmenter, examples, settings):
                report(Path(_PHASES[step.phase]), step.fraction)
        _print_scores(step)
        if step.model is None:
            err.print(_NOT_BETTER.format(mean_change(step.scores)), style="red", soft_wrap=True)
            raise typer.Exit(FAILURE)
        kept.keep(step.model)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where a taught model is going to be kept.

    Parameters
    ----------
    name
        Of the model.
    path
        Of its file; None in the library.
    """

    name: str
    path: Path | None

    @classmethod
    def of(cls, output: Path | None, name: str | None, overwrite: bool) -> _Kept:
        """Check the place before anything takes time."""
        from napari_sam.batch.inputs import check_writable
        from napari_sam.model.registry import taught_folder
        from napari_sam.model.taught_library import SUFFIX, check_free, check_name

        if output is None:
            if name is None:
                raise ValueError(
                    "expected a file or a name for the taught model, got neither; give --output, "
                    "or a --name under which it is kept among your models"
                )
            check_free(name)
            check_writable(taught_folder())
            return cls(name, None)
        if output.suffix != SUFFIX:
            raise ValueError(f"expected an output that ends in {SUFFIX}, got {output}")
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} is there already; replace it with --overwrite")
        check_writable(output.absolute().parent)
        check_name(chosen := output.stem if name is None else name)
        return cls(chosen, output)

    def keep(self, model: TaughtModel) -> None:
        """Write the model, and report how to use it."""
        from napari_sam.model.lesson_facts import taught_on
        from napari_sam.model.taught import save
        from napari_sam.model.taught_library import keep

        if self.path is None:
            path, used = keep(model, self.name).path, self.name
        else:
            save(model.named(self.name), path := self.path)
            used = str(path)
        lesson = model.lesson
        out.print(
            f"{lesson.parent} taught on {taught_on(lesson)} in {lesson.steps} steps (seed "
            f"{lesson.seed}, threads {lesson.threads}); {path} ({path.stat().st_size / 1e6:.2f} "
            f'MB): use it with --model "{used}"',
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _examples(
    files: Sequence[Path],
    labels: Sequence[Path] | None,
    images: Sequence[Path] | None,
    options: ImageOptions,
    complete: bool,
) -> list[Example]:
    """Read the objects of all files."""
    from napari_sam.batch.teaching import examples_of_labels, examples_of_session

    for what, given in (("labels", labels), ("image", images)):
        if given and len(given) != len(files):
            raise ValueError(
                f"expected --{what} once for each of {len(files)} files, got it {len(given)} times"
            )
    if labels and images:
        raise ValueError("expected --labels of images or --image of sessions, got both")
    examples: list[Example] = []
    with bar("reading") as report:
        for i, path in enumerate(files):
            progress = partial(report, path)
            if labels:
                examples += examples_of_labels(path, labels[i], options, complete, progress)
            else:
                image = images[i] if images else None
                examples += examples_of_session(path, image, options, complete, progress)
    return examples


def _model_of(sessions: Sequence[Path]) -> str:
    """Return the model that is taught the objects of sessions, which must have the same."""
    from napari_sam.batch.teaching import model_to_teach
    from napari_sam.session.saved import read_without_image

    models = {model_to_teach(read_without_image(path)) for path in sessions}
    if len(models) > 1:
        raise ValueError(
            f"expected sessions of one model, got {', '.join(sorted(models))}; say which one is "
            "taught with --model"
        )
    return models.pop()


def _print_scores(step: TuneStep) -> None:
    from napari_sam.model.lesson_facts import only_finds, rests_on, score_lines

    table = Table(show_header=False, box=None)
    for what, change in score_lines(step.scores).items():
        table.add_row(what, change)
    out.print(table, highlight=False)
    alone = "; only finding all is taught" if step.offered and only_finds(step.scores) else ""
    out.print(f"on {rests_on(step.scores)}{alone}", highlight=False, soft_wrap=True)
