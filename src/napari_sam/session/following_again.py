"""Replaying runs that followed objects, from their journal entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari_sam.engine import SynchronousExecutor
from napari_sam.geometry import Region, region_of
from napari_sam.plane_input import PlaneInput, input_of_words
from napari_sam.planes import Plane, PlaneSource
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.embeddings import Embeddings
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.follow_runs import FollowRuns, Run
from napari_sam.session.journal import Entry
from napari_sam.session.known_planes import Line
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.state import State

_MOST_BYTES = 1 << 30  # of embeddings

Given = dict[Plane, PlaneInput]


class Follower:
    """Follows objects again, entry by entry.

    Parameters
    ----------
    segmenter
        The model; another one than the journal's may find objects on other planes.
    source
        Returns the image with recorded model inputs, by plane.
    """

    def __init__(self, segmenter: Segmenter, source: Callable[[Given], PlaneSource]) -> None:
        self._segmenter = segmenter
        self._given: Given = {}
        self._source = source(self._given)
        self._embeddings = Embeddings(segmenter, self._source, SynchronousExecutor(), _MOST_BYTES)
        self._begun: dict[int, tuple[FollowRuns, Run]] = {}
        self.models: list[str] = []

    def follow(self, state: State, entry: Entry) -> None:
        """Replay an entry of the kind ``carried``, from the present labels.

        Raises
        ------
        OSError, ValueError
            If it can't be replayed.
        """
        details = entry.details
        errors: list[Exception] = []
        begin = details.get("begin", entry.first_number)
        if begin not in self._begun:
            self._begun[begin] = self._begin(state, entry)
        runs, run = self._begun[begin]
        ndim = len(run.walk.line.plane)
        for z, words in details["given"]:
            self._given[run.walk.line.at(z)] = input_of_words(words, ndim)
        is_other = run.model != self._segmenter.model_key
        run.most = None if is_other and details.get("whole") else details["made"]
        run.dropped = set(details.get("dropped", ()))
        runs.failed.connect(errors.append)
        if run in runs.runs:
            runs.go_on()
        elif not run.is_started:
            runs.begin(run)
        runs.failed.disconnect(errors.append)
        if errors and isinstance(errors[0], OSError):
            raise errors[0]

    def _begin(self, state: State, entry: Entry) -> tuple[FollowRuns, Run]:
        details = entry.details
        self.models.append(details["model"])
        state.rules = MaskRules.of_words(details)
        anchoring = Anchoring(state, LabelPlaces(state, self._source))
        runs = FollowRuns(
            state, SynchronousExecutor(), self._embeddings, anchoring, lambda touched: None
        )
        line = Line(tuple(details["plane"]), details["axis"])
        bounds = details["first"], details["last"]
        run = runs.new_run(details["objects"], line, *bounds, details.get("of"))
        run.model = details["model"]
        return runs, run


class LabelPlaces:
    """Finds the places of objects by reading the labels.

    Parameters
    ----------
    state
        The state of the session, with the labels.
    source
        The image.
    """

    def __init__(self, state: State, source: PlaneSource) -> None:
        self._state, self._source = state, source

    def region(self, object_id: int, plane: Plane) -> Region | None:
        """Return the rectangle around an object's pixels on a plane, empty if it has none."""
        found = region_of(self._labels(plane) == object_id)
        return found or (slice(0, 0), slice(0, 0))

    def planes(self, object_id: int) -> Sequence[Plane] | None:
        """Return the planes on which an object has pixels."""
        canvas = self._state.canvas
        every = () if canvas is None else canvas.planes()
        return [plane for plane in every if (self._labels(plane) == object_id).any()]

    def _labels(self, plane: Plane) -> Any:
        canvas = self._state.canvas
        assert canvas is not None, "objects are followed in labels"
        height, width = self._source.plane_shape(plane)
        return canvas.read(plane, (slice(0, height), slice(0, width)))


def check_details(entry: Entry, ndim: int) -> None:
    """Check that the entry of a run has all details needed to replay it.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a detail is missing or not valid.
    """
    details = entry.details
    expected: dict[str, type] = {"given": list, "made": int}
    if "begin" not in details:
        expected |= {"objects": list, "axis": int, "plane": list, "first": int, "last": int}
        expected |= {"model": str}
    for name, kind in expected.items():
        if type(details[name]) is not kind:
            raise TypeError(f"{type(details[name]).__name__} as {name}")
    for name in ("of", "begin"):
        if type(details.get(name, 0)) is not int:
            raise TypeError(f"{type(details[name]).__name__} as {name}")
    if not all(type(i) is int for i in details.get("dropped", ())):
        raise TypeError(f"{str(details['dropped'])[:100]} as objects")
    for z, words in details["given"]:
        if type(z) is not int:
            raise TypeError(f"{type(z).__name__} as a plane")
        input_of_words(words, ndim)
    if "begin" in details:
        return
    plane, axis = details["plane"], details["axis"]
    if len(plane) != ndim or plane.count(None) != 2 or not 0 <= axis < ndim or plane[axis] != 0:
        raise ValueError(f"the plane {plane} along axis {axis}")
    if not details["objects"] or not 0 <= details["first"] <= details["last"]:
        raise ValueError("no objects or planes")
