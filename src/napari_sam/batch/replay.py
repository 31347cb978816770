"""Replay of a session without a viewer: the same prompts, predicted again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.automask import AutomaskSettings
from napari_sam.batch.model_input import PixelsOfFile, image_of_prompts
from napari_sam.batch.replay_player import (
    PlanesOfFile,
    PlanesOfSource,
    Player,
    ReplayedPlanes,
    given_by,
)
from napari_sam.batch.session_models import as_models, load_models
from napari_sam.io import ImageFile, PlaneIndex, PlaneObject, SavedPrompts, read_image
from napari_sam.io import write_labels as write_file
from napari_sam.io.session_file import Json, SessionFileError
from napari_sam.plane_input import PlaneInput, input_of_words
from napari_sam.planes import ArraySource, Plane, PlaneSource, plane_axes
from napari_sam.prompts import Prompts
from napari_sam.segmentation.protocol import Progress, Segmenter
from napari_sam.session.answers import Answer
from napari_sam.session.canvas import ArrayCanvas
from napari_sam.session.following_again import check_details
from napari_sam.session.image_identity import ImageContent, read_identity
from napari_sam.session.journal import Entry
from napari_sam.session.known_planes import Line
from napari_sam.session.linked import LinkRequest
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.prompt_book import Group, ObjectPlane, PromptBook
from napari_sam.session.replaying import replay_entries
from napari_sam.session.saved import (
    SavedSession,
    canvas_for,
    check_image,
    read_without_image,
    write_labels,
)
from napari_sam.session.similar import Example
from napari_sam.session.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """The result of replaying a session.

    Parameters
    ----------
    labels
        The labels, of the image's shape without colours.
    different
        Number of pixels that differ from the session's labels.
    image
        The image of the labels; None if it was not a file.
    notes
        Messages about what was done differently from the session, and why.
    """

    labels: NDArray[Any]
    different: int
    image: ImageFile | None = None
    notes: tuple[str, ...] = ()


def replay_session(
    session: str | Path | SavedSession,
    image: str | Path | ImageFile | PlaneSource | None,
    segmenter: Segmenter | Iterable[Segmenter] | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Replay a session: predict its masks from its prompts again, and paint its strokes again.

    Each mask is predicted by the model that predicted it in the session, from all of its prompts.
    Labels that existed before the session began are taken from the file.

    Parameters
    ----------
    session
        The session's file, which is not changed, or the session as read by
        :func:`~napari_sam.session.saved.read_without_image`.
    image
        The session's image; None takes the image file beside the session, see
        :func:`find_image`. Each plane is read as the model was given it; the planes of a
        :class:`~napari_sam.session.PlaneSource` are read as it returns them.
    segmenter
        The model; a model other than the session's gives other labels. Of several models, each
        predicts what it predicted in the session, and the first one everything else. By default
        those of the session, see :func:`~napari_sam.batch.session_models.load_models`.
    progress
        Called with the finished fraction; it may raise :class:`~napari_sam.Cancelled`.

    Returns
    -------
    replayed
        The labels, and how many pixels differ from those of the session.

    Raises
    ------
    SessionFileError
        If the file is not a session, is damaged, was written by a newer version, or belongs to
        another image.
    FileNotFoundError
        If the image doesn't exist.
    ValueError, OSError
        If the image can't be read.
    """
    saved = session if isinstance(session, SavedSession) else read_without_image(session)
    _check_details(saved)
    planes = _planes_of(saved, find_image(saved) if image is None else image)
    check_image(saved.about, planes.source)
    steps = _Steps(progress or _ignore)
    models = load_models(saved) if segmenter is None else as_models(segmenter)
    player = Player(models, planes, steps.again)
    state, canvas = _start(saved, planes.source)

    def play(entries: Sequence[Entry]) -> None:
        steps.begin(len(entries), len(saved.entries))
        doing = player.decode, player.find, player.follow
        replay_entries(entries, state, planes.source, *doing, steps.report)

    if before := saved.entries[: len(saved.entries) - len(saved.holding)]:
        state.use_canvas(canvas_for(saved, planes.source), "")  # of these, only prompts go on
        play(before)
        state.use_canvas(canvas, "the labels are others")
    play(saved.holding)
    touched = {change.plane for entry in state.journal.entries for change in entry.pixels}
    different = _count_different(saved, canvas, touched, planes.source)
    notes = [*planes.notes, *player.notes()]
    if touched and not saved.labels:
        notes.append("the session had no labels to write into: there is nothing to compare with")
    return Replayed(canvas.array, different, planes.image, tuple(notes))


def find_image(saved: SavedSession) -> Path:
    """Return the image file that a session was made with, if it lies beside the session.

    Only the session's folder and those below it are searched.

    Raises
    ------
    FileNotFoundError
        If it isn't found; the message names the image.
    """
    about = _table(saved.about, "image")
    folder = saved.path.resolve().parent
    for value in (about.get("relative_path"), about.get("file")):
        if not isinstance(value, str) or not value or "\\" in value or "\0" in value:
            continue
        path = (folder / value).resolve()
        if path != folder and path.is_relative_to(folder) and path.exists():
            return path
    raise FileNotFoundError(
        f"expected the image of the session, {describe_image(saved)}, beside {saved.path.name}, "
        "found none; name the file"
    )


def open_image(
    saved: SavedSession,
    path: Path,
    axes: str | None = None,
    channel: int | None = None,
    must_match: bool = False,
) -> ImageFile:
    """Open the image of a session.

    Parameters
    ----------
    saved
        The session.
    path, axes, channel
        As in :func:`~napari_sam.io.read_image`.
    must_match
        Whether an image with other pixels is refused, if the session records a checksum.

    Raises
    ------
    ValueError
        If it is another image, or can't be read.
    """
    image = read_image(path, axes, channel)
    if must_match and is_image_of(saved, image) is False:
        raise ValueError(
            f"expected the image of the session, {describe_image(saved)}, got {path}, whose pixels "
            "are others; name the right file, or this one to use it all the same"
        )
    return image


def is_image_of(saved: SavedSession, image: ImageFile) -> bool | None:
    """Whether an image has the pixels of a session's image; None if no checksum is recorded.

    It reads a few planes.
    """
    if "identity" not in saved.about:
        return None
    try:
        before = read_identity(saved.about["identity"])
        part: Any = image_of_prompts(image, given_of(saved))
    except ValueError:
        return False
    return ImageContent(part.data, part.is_rgb).is_image_of(before)


def source_of_file(saved: SavedSession, image: ImageFile) -> tuple[ImageFile, ArraySource]:
    """Return the part of an image that a session belongs to, such as one channel, and its source.

    Raises
    ------
    ValueError
        If the file has other axes.
    """
    about = _table(saved.about, "image")
    part = image_of_prompts(image, given_of(saved))
    displayed = tuple(about.get("spanned") or ())
    pixels: Any = PixelsOfFile(part)
    return part, ArraySource(
        pixels, part.is_rgb, displayed or None, channel_axis=about.get("channel_axis")
    )


def write_replayed(replayed: Replayed, path: str | Path) -> None:
    """Write the labels of a replayed session, with the axes and pixel sizes of its image.

    Parameters
    ----------
    replayed
        A session that was replayed on an image file.
    path
        Ends in one of :data:`~napari_sam.io.LABEL_FORMATS`; an existing file is replaced.

    Raises
    ------
    OSError
        If it can't be written; an existing file is unchanged.
    """
    image = replayed.image
    if image is None:
        raise ValueError("expected labels of an image file, got those of an array; write the array")
    axes = image.axes.removesuffix("S")
    write_file(path, replayed.labels, axes, image.pixel_size, image.unit)


def describe_image(saved: SavedSession) -> str:
    """Return a description of a session's image."""
    about = _table(saved.about, "image")
    name, file = str(about.get("name") or ""), str(about.get("file") or "")
    shape = " x ".join(str(n) for n in about.get("shape") or ())
    words = f"'{file or name}'" if file or name else "which has no name"
    if file and name not in ("", file):
        words += f" (layer '{name}')"
    return f"{words} of shape {shape}"


def prompts_of_session(path: str | Path) -> SavedPrompts:
    """Return the prompts of a session with boxes and chosen candidates, as from a prompts file.

    Objects are in the order in which they were last predicted.

    Raises
    ------
    SessionFileError
        If the file is not a session, is damaged, or was written by a newer version.
    OSError
        If it can't be opened.
    """
    return _prompts_of(read_without_image(path))


def _prompts_of(saved: SavedSession) -> SavedPrompts:
    groups: dict[ObjectPlane, Group] = {}
    answers: dict[ObjectPlane, Answer] = {}
    for entry in saved.entries:
        groups |= {change.key: change.after for change in entry.prompts}
        for one in entry.answers:
            answers.pop(one.key, None)
            if one.after is not None:
                answers[one.key] = one.after
    groups = {key: group for key, group in groups.items() if not group.is_empty}
    book = PromptBook().with_groups(groups)
    order = dict.fromkeys((*(key for key in answers if key in groups), *groups))
    prompts: dict[PlaneObject, Any] = {}
    inputs: dict[PlaneObject, PlaneInput] = {}
    for number, plane in order:
        key = _index_of(plane), number
        prompts[key] = book.prompts_of((number, plane))
        known = answers.get((number, plane))
        if known is not None and known.given is not None:
            inputs[key] = known.given
    candidates = {
        (_index_of(plane), number): group.choice
        for (number, plane), group in groups.items()
        if group.choice is not None
    }
    boxed = tuple(number for (number, _), group in groups.items() if group.box is not None)
    steps = {
        (_index_of(plane), number): group.steps
        for (number, plane), group in groups.items()
        if group.strokes or group.lasso or group.mask
    }
    return SavedPrompts(prompts, inputs, candidates, boxed, has_boxes=True, steps=steps)


def _index_of(plane: Plane) -> PlaneIndex:
    """Return a plane as prompts files name it."""
    return plane[:-2] if plane[-2:] == (None, None) else plane


def given_of(saved: SavedSession) -> SavedPrompts:
    """Return the planes that a model was given, with its input, with or without prompts."""
    given = _prompts_of(saved)
    prompts, inputs = dict(given.prompts), dict(given.inputs)
    for entry in saved.entries:
        if entry.kind == "found" and "of" not in entry.details:
            for at, words in given_by(entry.details):
                key = _index_of(tuple(at)), min((change.key for change in entry.facts), default=1)
                prompts.setdefault(key, Prompts())
                inputs.setdefault(key, input_of_words(words, len(at)))
        elif entry.kind == "carried" and "begin" not in entry.details:
            line = Line(tuple(entry.details["plane"]), entry.details["axis"])
            for z, words in entry.details["given"]:
                key = _index_of(line.at(z)), entry.details["objects"][0]
                prompts.setdefault(key, Prompts())
                inputs.setdefault(key, input_of_words(words, len(line.plane)))
    return SavedPrompts(prompts, inputs)


def _start(saved: SavedSession, source: PlaneSource) -> tuple[State, ArrayCanvas]:
    """Return the labels as they were before the session's entries."""
    canvas = canvas_for(saved, source)
    write_labels(saved, canvas, fill=True)
    for entry in reversed(saved.holding):
        if entry.pixels:
            canvas.write([change.backwards() for change in reversed(entry.pixels)])
    return State(canvas), canvas


def _count_different(
    saved: SavedSession, canvas: ArrayCanvas, touched: set[Plane], source: PlaneSource
) -> int:
    """Count pixels that differ from a session's labels; those that it doesn't record are 0."""
    known = {one.plane: one for one in saved.labels}
    planes = touched | known.keys()
    if any(plane_axes(plane) != source.spanned for plane in planes):
        expected = canvas_for(saved, source)
        write_labels(saved, expected, fill=True)
        return int(np.count_nonzero(expected.array != canvas.array))
    different = 0
    for plane in planes:
        height, width = source.plane_shape(plane)
        now = canvas.read(plane, (slice(0, height), slice(0, width)))
        expected_here = np.zeros_like(now)
        if (one := known.get(plane)) is not None:
            part = expected_here[one.region]
            part[one.known] = one.values[one.known]
        different += int(np.count_nonzero(now != expected_here))
    return different


def _planes_of(saved: SavedSession, image: str | Path | ImageFile | PlaneSource) -> ReplayedPlanes:
    if isinstance(image, str | Path):
        image = read_image(image)
    if isinstance(image, ImageFile):
        return PlanesOfFile(*source_of_file(saved, image))
    return PlanesOfSource(image)


class _Steps:
    """Progress over all entries, also within one; its callback may raise to stop."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._first, self._share, self._now = 0.0, 0.0, 0.0

    def begin(self, count: int, total: int) -> None:
        self._first += self._share
        self._share = count / max(1, total)

    def report(self, fraction: float) -> None:
        self._now = self._first + fraction * self._share
        self._progress(self._now)

    def again(self, fraction: float) -> None:
        self._progress(self._now)


def _check_details(saved: SavedSession) -> None:
    """Raise an error for entries that lack what is needed to repeat them."""
    for entry in saved.entries:
        try:
            _check_entry(entry, len(_table(saved.about, "image").get("shape") or ()))
        except (KeyError, TypeError, ValueError) as error:
            raise SessionFileError(
                f"{saved.path}: expected what entry {entry.number} ({entry.kind}) did, got "
                f"{type(error).__name__}: {error}; it is damaged; use another copy"
            ) from error


def _check_entry(entry: Entry, ndim: int) -> None:
    details = entry.details
    if entry.kind == "mask" and any(change.after is None for change in entry.answers):
        raise ValueError("a mask without an answer")
    if entry.kind == "model" and entry.model is None:
        raise ValueError("another model that isn't recorded")
    if entry.kind in ("mask", "found"):
        MaskRules.of_words(details)
    expected: dict[str, type] = {}
    if entry.kind == "carried":
        check_details(entry, ndim)
        MaskRules.of_words(details)
    if not all(type(i) is int for i in details.get("objects", ())):
        raise TypeError(f"{str(details['objects'])[:100]} as objects")
    if entry.kind == "deleted" and "objects" in details:
        expected = {"objects": list, "everywhere": bool}
    elif entry.kind == "deleted":
        expected = {"object": int, "everywhere": bool}
    elif entry.kind in ("merged", "renumbered"):
        expected = {"object": int, "into": int}
    elif entry.kind == "grown":
        expected = {"objects": list, "plane": list, "pixels": int}
    elif entry.kind == "split":
        expected = {"object": int, "into": int, "plane": list, "path": list}
    elif entry.kind == "linked":
        LinkRequest.of_words(details)
        expected = {"axis": int, "max_gap": int, "above": int}
    elif entry.kind == "divided":
        expected = {"object": int, "daughters": list, "confirmed": bool}
        expected |= {"axis": int, "frame": int} if details["confirmed"] else {}
    elif entry.kind == "found" and "of" in details:
        expected = {"of": int, "parts": list}
    elif entry.kind == "found":
        expected = {"planes": list, "linked": bool, "settings": dict, "model": str, "given": list}
    for name, kind in expected.items():
        if type(details[name]) is not kind:
            raise TypeError(f"{type(details[name]).__name__} as {name}")
    if entry.kind == "found" and "parts" in details:
        first, last = details["parts"]
        if not (type(first) is type(last) is int and 0 <= first <= last):
            raise ValueError(f"the parts {details['parts']}")
    if entry.kind == "found" and "of" not in details:
        if not details["planes"] or len(details["planes"]) != len(details["given"]):
            raise ValueError(f"{len(details['planes'])} planes, {len(details['given'])} inputs")
        examples = [Example.of_words(words) for words in details.get("examples", ())]
        settings = details["settings"]
        if "text" in settings:
            AutomaskSettings(**settings)  # refuses boxes without a positive one
        shown = given_by(details)
        for plane in [*(plane for plane, _ in shown), *(list(one.plane) for one in examples)]:
            if len(plane) != ndim or list(plane).count(None) != 2:
                raise ValueError(f"the plane {plane}")
        for _, words in shown:
            input_of_words(words, ndim)


def _table(about: Mapping[str, Json], key: str) -> Mapping[str, Any]:
    value = about.get(key)
    return value if isinstance(value, dict) else {}


def _ignore(fraction: float) -> None:
    pass
