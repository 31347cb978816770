"""The models' work when a session is replayed: decode, find and follow, on the same input."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from numpy.typing import NDArray

from napari_sam.batch.model_input import InputReader
from napari_sam.engine import SynchronousExecutor
from napari_sam.image import Limits
from napari_sam.io import ImageFile
from napari_sam.plane_input import PlaneInput, input_of_words
from napari_sam.planes import Plane, PlaneSource
from napari_sam.segmentation.protocol import Cancelled, Embedding, Progress, Segmenter
from napari_sam.session.answers import Answer, DecodeHistory, answer, given_answer
from napari_sam.session.following_again import Follower
from napari_sam.session.found_parts import PlaneParts, write_objects
from napari_sam.session.journal import Entry
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.prompt_book import Group, ObjectPlane
from napari_sam.session.runs import Runs
from napari_sam.session.similar import Example
from napari_sam.session.state import State

_KEPT = 4  # embeddings: entries go back and forth between few planes


class ReplayedPlanes:
    """Planes of an image, as the model was given them in the session.

    Attributes
    ----------
    source
        The image.
    image
        Its file; None where it is none.
    """

    source: PlaneSource
    image: ImageFile | None = None

    def read(self, plane: Plane, given: PlaneInput | None) -> tuple[NDArray[Any], Limits | None]:
        """Read a plane."""
        raise NotImplementedError

    @property
    def notes(self) -> list[str]:
        """What could not be had."""
        return []


class PlanesOfSource(ReplayedPlanes):
    """Planes of a source, as it gives them."""

    def __init__(self, source: PlaneSource) -> None:
        self.source = source

    def read(self, plane: Plane, given: PlaneInput | None) -> tuple[NDArray[Any], Limits | None]:
        """Read a plane as the source has it now."""
        return self.source.read(plane)


class PlanesOfFile(ReplayedPlanes):
    """Planes of a file, read as a model was given them.

    Parameters
    ----------
    image
        The part of the file that a session is of.
    source
        The same as a source.
    """

    def __init__(self, image: ImageFile, source: PlaneSource) -> None:
        self.image, self.source = image, source
        self._reader = InputReader(self.image, None)

    def read(self, plane: Plane, given: PlaneInput | None) -> tuple[NDArray[Any], Limits | None]:
        """Read a plane as it was given."""
        shown = self._reader.read(plane, given)
        return shown.pixels, shown.limits

    @property
    def notes(self) -> list[str]:
        """What could not be had."""
        return self._reader.notes


def given_by(details: Mapping[str, Any]) -> list[tuple[list[int | None], Any]]:
    """Return the planes of a run, with the model's recorded input for each."""
    searched = zip(details["planes"], details["given"], strict=True)
    return [*((plane, words) for plane, words in details.get("looked_at", ())), *searched]


class Player:
    """Predict a session's entries again, each with the model that predicted it in the session.

    Parameters
    ----------
    models
        One or more; the first one stands for those that are missing.
    planes
        The image.
    beat
        Called while it works; it may raise to cancel.
    """

    def __init__(self, models: Sequence[Segmenter], planes: ReplayedPlanes, beat: Progress) -> None:
        self._models = {one.model_key: one for one in reversed(models)}
        self._first = models[0]
        self._planes = planes
        self._beat = beat
        self._embeddings: OrderedDict[Any, Embedding] = OrderedDict()
        self._answered_by: dict[ObjectPlane, Segmenter] = {}
        self._masks: Counter[str] = Counter()  # by the model that made them in the session
        self._runs: Counter[str] = Counter()
        self._followers: dict[str, Follower] = {}
        self._following: dict[int, Follower] = {}  # by the runs' first entries
        self._parts: dict[int, PlaneParts] = {}  # of large planes, by the entry that begins

    def _model(self, key: str) -> Segmenter:
        """Return what answers in the place of a model of the session."""
        return self._models.get(key, self._first)

    def decode(
        self, key: ObjectPlane, group: Group, entry: Entry, history: DecodeHistory | None
    ) -> tuple[Answer, DecodeHistory | None]:
        """Answer prompts; see :data:`~napari_sam.session.replaying.Decode`."""
        if (given_mask := given_answer(group)) is not None:
            return given_mask, None
        before = next(change.after for change in entry.answers if change.key == key)
        given = before.given if before is not None else None
        made_by = before.model if before is not None else ""
        self._masks[made_by] += 1
        segmenter = self._model(made_by)
        if self._answered_by.get(key) is not segmenter:  # as a session forgets another's steps
            history = None
        self._answered_by[key] = segmenter
        embedding = self._embedding(segmenter, key[1], given)
        found, steps = answer(segmenter, embedding, group.steps, group.choice, history, self._beat)
        return replace(found, model=segmenter.model_key, given=given, prompts=group), steps

    def find(self, state: State, entry: Entry) -> None:
        """Make a run again; see :data:`~napari_sam.session.replaying.Find`."""
        details = entry.details
        if "parts" in details:
            self._find_parts(state, entry)
            return
        planes = [tuple(plane) for plane in details["planes"]]
        ndim = len(planes[0])
        given = {tuple(plane): input_of_words(words, ndim) for plane, words in given_by(details)}
        self._runs[details["model"]] += 1
        segmenter = self._model(details["model"])
        below = min((change.key for change in entry.facts), default=1) - 1
        errors: list[Exception] = []
        ended: list[str] = []
        runs = Runs(state, SynchronousExecutor(), lambda: below, lambda touched, highest: None)
        runs.failed.connect(errors.append)
        runs.finished.connect(ended.append)
        source = self._as_given(given)
        state.rules = MaskRules.of_words(details)
        linked, settings = details["linked"], details["settings"]
        if "examples" in details:
            examples = [Example.of_words(words) for words in details["examples"]]
            runs.find_similar(segmenter, source, planes, examples, linked, settings)
        else:
            runs.find_all(segmenter, source, planes, linked, settings)
        if errors:
            raise errors[0]
        if not ended:
            raise Cancelled

    def _find_parts(self, state: State, entry: Entry) -> None:
        """Write what a run over one large plane found by and by."""
        details = entry.details
        begin = details.get("of", entry.first_number)
        if begin not in self._parts:
            plane, given = tuple(details["planes"][0]), details["given"][0]
            source = self._as_given({plane: input_of_words(given, len(plane))})
            found = PlaneParts(self._model(details["model"]), source, plane, details["settings"])
            found.find(self._beat)
            self._parts[begin] = found
            self._runs[details["model"]] += 1
        found = self._parts[begin]
        first, last = details["parts"]
        parts = found.parts[first : None if details.get("whole") else last]
        objects = [one for part in parts for one in part.objects]
        below = min((change.key for change in entry.facts), default=1) - 1
        write_objects(state, found.plane, objects, below, details)

    def follow(self, state: State, entry: Entry) -> None:
        """Follow objects again; see :data:`~napari_sam.session.replaying.Follow`."""
        self._beat(0.0)
        details = entry.details
        begin = details.get("begin", entry.first_number)
        if "begin" not in details:
            self._runs[details["model"]] += 1
        if begin not in self._following:
            segmenter = self._model(details["model"])
            if segmenter.model_key not in self._followers:
                self._followers[segmenter.model_key] = Follower(segmenter, self._as_given)
            self._following[begin] = self._followers[segmenter.model_key]
        self._following[begin].follow(state, entry)

    def _as_given(self, given: Mapping[Plane, PlaneInput]) -> PlaneSource:
        return cast(PlaneSource, _AsGiven(self._planes, given, self._beat))

    def notes(self) -> list[str]:
        """Say what other models had made."""
        notes = []
        for made, what in ((self._masks, "mask"), (self._runs, "run")):
            others = {other: n for other, n in made.items() if other not in ("", *self._models)}
            if count := sum(others.values()):
                keys = ", ".join(other[:12] for other in others)
                notes.append(
                    f"{count} {what}{'s' if count > 1 else ''} of the session "
                    f"{'were' if count > 1 else 'was'} made by another model (key {keys}): "
                    f"{self._first.traits.name} made {'them' if count > 1 else 'it'} anew"
                )
        return notes

    def _embedding(self, segmenter: Segmenter, plane: Plane, given: PlaneInput | None) -> Embedding:
        at = plane, given, segmenter.encoder_key, segmenter.precision
        if at not in self._embeddings:
            pixels, limits = self._planes.read(plane, given)
            self._embeddings[at] = segmenter.embed(pixels, limits, self._beat)
            while len(self._embeddings) > _KEPT:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(at)
        return self._embeddings[at]


class _AsGiven:
    """Planes as a run was given them before."""

    def __init__(
        self, planes: ReplayedPlanes, given: Mapping[Plane, PlaneInput], beat: Progress
    ) -> None:
        self._planes, self._given, self._beat = planes, given, beat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._planes.source, name)

    def read_described(self, plane: Plane) -> tuple[NDArray[Any], Limits | None, PlaneInput]:
        self._beat(0.0)
        given = self._given.get(plane)
        if given is None:  # a plane that the session never used
            return self._planes.source.read_described(plane)
        return *self._planes.read(plane, given), given
