"""Runs that find all objects on some planes, in the background, as one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from psygnal import Signal

from napari_sam.engine import SOON, Executor, Outcome
from napari_sam.planes import Plane, PlaneSource, plane_axes
from napari_sam.segmentation.protocol import Segmenter, concept_segmenter
from napari_sam.segmentation.traits import WAYS
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.found import Decided, Found, Part, decide, find_plane, name_objects
from napari_sam.session.found_parts import (
    PlaneParts,
    folded_parts,
    goes_by_parts,
    write_objects,
)
from napari_sam.session.journal import Change, ObjectFacts
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.ownership import Marks
from napari_sam.session.post_processing import OFF, PostProcessing
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.similar import Example, SimilarSearch, refused
from napari_sam.session.state import State, Touched

_NOTHING = "Nothing was found; a higher contrast or another model may help"
_NOTHING_NEW = "Nothing new was found: what is there already stays as it is"
_NOTHING_BY_TEXT = "Nothing of ‘{}’ was found; other words or a higher contrast may help"
_NONE_LIKE_THESE = "Nothing more like these was found; accept some that look different, or click it"


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The progress of a run.

    Parameters
    ----------
    plane
        The plane that is being searched; None when all are, and their objects are combined.
    done, count
        Number of planes that are searched, and of all.
    fraction
        Fraction (0-1) that is done.
    objects
        Number of objects found so far.
    squares
        In one large plane, the number of its squares that are searched, and of all; otherwise
        None, and also while the scale of the search is being estimated.
    seconds_left
        Estimated time for the rest; None while it isn't known.
    """

    plane: Plane | None
    done: int
    count: int
    fraction: float
    objects: int = 0
    squares: tuple[int, int] | None = None
    seconds_left: float | None = None


@dataclass(slots=True, eq=False)
class _Run:
    """A run, and its progress."""

    segmenter: Segmenter
    source: PlaneSource
    planes: Sequence[Plane]
    linked: bool
    settings: dict[str, Any]
    post_processing: PostProcessing = OFF
    similar: SimilarSearch | None = None
    found: list[Found] = field(default_factory=list)
    within: float = 0.0
    decided: Decided = field(default_factory=lambda: Decided({}, {}, 0))
    started: float = field(default_factory=time.monotonic)
    # Only if objects are written part by part, while others are searched:
    parts: PlaneParts | None = None
    canvas: LabelCanvas | None = None
    made: int = 0  # parts that are written
    recorded: int = 0  # parts that an entry records
    entries: list[int] = field(default_factory=list)
    is_searched: bool = False  # whether all parts are known
    is_ended: bool = False  # whether no more parts will come
    waits: bool = False  # whether the highest label is being searched

    @property
    def progress(self) -> RunProgress:
        done, count = len(self.found), len(self.planes)
        plane = self.planes[done] if done < count else None
        fraction = min(1.0, (done + self.within) / count)
        spent = time.monotonic() - self.started
        left = spent * (1 - fraction) / fraction if fraction > 0 else None
        objects, squares = sum(len(found.numbers) - 1 for found in self.found), None
        if self.parts is not None and (made := self.parts.parts[: self.made]):
            objects += sum(len(part.objects) for part in made)
            squares = made[-1].done, made[-1].count
        return RunProgress(plane, done, count, fraction, objects, squares, left)


class Runs:
    """Finds all objects on some planes; there is one run at a time.

    Planes are searched one after the other in the encoder's lane, where more urgent work goes
    first. Then the pixels to write are determined in the background, and written in the owner's
    thread if the labels have not changed meanwhile.

    Parameters
    ----------
    state
        The state of the session.
    executor
        Runs the search.
    highest
        Returns the highest number of an object, as far as it is known.
    written
        Called with what has changed, and the highest number, when objects were written.

    Attributes
    ----------
    changed
        Signal: a run started, progressed or ended.
    finished
        Signal: a run ended; with a message for the user.
    failed
        Signal: a run failed; with the exception.
    """

    changed = Signal()
    finished = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        state: State,
        executor: Executor,
        highest: Callable[[], int],
        written: Callable[[Touched | None, int], None],
    ) -> None:
        self._state = state
        self._executor = executor
        self._highest = highest
        self._written = written
        self._run: _Run | None = None
        self._searched: LabelCanvas | None = None  # the labels whose highest number is known
        self._seen = 0  # that number

    @property
    def progress(self) -> RunProgress | None:
        """The progress of the run; None if there is none."""
        return None if self._run is None else self._run.progress

    def find_all(
        self,
        segmenter: Segmenter | None,
        source: PlaneSource,
        planes: Sequence[Plane],
        linked: bool,
        settings: dict[str, Any],
    ) -> None:
        """Start a run; see :meth:`napari_sam.session.Session.find_all`."""
        run = self._new_run(segmenter, source, planes, linked, settings)
        if settings:
            from napari_sam.automask import AutomaskSettings

            chosen = AutomaskSettings(**settings)  # raises an error if one is not valid
            if chosen.concept is not None:
                concept_segmenter(run.segmenter)
        if goes_by_parts(run.segmenter, source, run.planes, settings, run.post_processing):
            run.parts = PlaneParts(run.segmenter, source, run.planes[0], settings)
            run.canvas = self._state.canvas
        self._begin(run)

    def find_similar(
        self,
        segmenter: Segmenter | None,
        source: PlaneSource,
        planes: Sequence[Plane],
        examples: Sequence[Example],
        linked: bool,
        settings: dict[str, Any],
    ) -> None:
        """Start a run; see :meth:`napari_sam.session.Session.find_similar`."""
        if not any(example.accepted for example in examples):
            raise ValueError(
                "expected an object to look for more of, got none that is accepted; click one, or "
                "accept some"
            )
        run = self._new_run(segmenter, source, planes, linked, settings)
        if settings:
            from napari_sam.automask.similar import SimilarSettings

            SimilarSettings(**settings)
        shown = dict.fromkeys((*run.planes, *(example.plane for example in examples)))
        canvas, away = self._state.canvas, refused(self._state, shown)
        assert canvas is not None, "a run has labels"
        run.similar = SimilarSearch(run.segmenter, source, canvas, examples, away, settings)
        self._begin(run)

    def _new_run(
        self,
        segmenter: Segmenter | None,
        source: PlaneSource,
        planes: Sequence[Plane],
        linked: bool,
        settings: dict[str, Any],
    ) -> _Run:
        if self._run is not None:
            raise ValueError("expected one run at a time, got another; wait for it, or cancel it")
        if segmenter is None:
            raise ValueError("expected a model, got none yet; wait until it is loaded")
        if self._state.canvas is None:
            raise ValueError("expected labels to write into, got none; give the session a canvas")
        planes = list(dict.fromkeys(planes))
        if not planes:
            raise ValueError("expected at least one plane, got none; name some")
        if len({plane_axes(plane) for plane in planes}) > 1:
            raise ValueError(
                "expected planes that span the same two axes, got others, too; find all in "
                "each kind by itself"
            )
        how = self._state.rules.post_processing
        return _Run(segmenter, source, planes, linked and len(planes) > 1, settings, how)

    def _begin(self, run: _Run) -> None:
        self._run = run
        self._search(run)

    def cancel(self, keep: bool = False) -> Sequence[int]:
        """Stop the run; with `keep`, objects on planes that are done are written.

        Returns
        -------
        entries
            The entries of one large plane that were written already, to be undone unless `keep`.
        """
        run = self._run
        if run is not None and run.parts is not None:
            run.is_ended = True
            self._executor.cancel(_searching(run))
            if keep and run.parts.parts:
                self._write_parts(run)
            else:
                self._end_parts(run)
                self.changed.emit()
            return run.entries
        if keep and run is not None and run.found:
            if len(run.found) < len(run.planes):  # otherwise it is being written
                done = replace(run, planes=run.planes[: len(run.found)], within=0.0)
                self._run = done
                self._executor.cancel(_searching(run))
                self._put_together(done)
            return ()
        if self._run is not None:
            run, self._run = self._run, None
            self._executor.cancel(_searching(run))
            self._executor.cancel(_deciding(run))
            self.changed.emit()
        return ()

    def cancel_written(self) -> None:
        """Stop a run that has written the last step, which is to be undone."""
        last = self._state.journal.last_step
        if self._run is not None and last is not None and last.number in self._run.entries[:1]:
            self.cancel()

    def stop(self, reason: Exception) -> None:
        """Stop the run, if there is one, and emit the reason."""
        if self._run is not None:
            self.cancel()
            self.failed.emit(reason)

    def forget_highest(self) -> None:
        """Search the highest number again when it is needed: the labels may have changed."""
        self._searched = None

    # Searching, in one task for each plane, so that more urgent work can run between them

    def _search(self, run: _Run) -> None:
        run.within = 0.0
        plane = run.planes[len(run.found)]
        how = run.post_processing
        find = partial(find_plane, run.segmenter, run.source, plane, run.settings, how)
        if run.similar is not None:
            find = partial(run.similar.find, plane, how)
        self._executor.embed(
            _searching(run),
            find if run.parts is None else run.parts.find,
            partial(self._plane_found, run),
            SOON,
            partial(self._plane_progressed, run),
        )
        self.changed.emit()

    def _plane_progressed(self, run: _Run, fraction: float) -> None:
        if run is self._run:
            run.within = fraction
            if run.parts is not None:
                self._write_parts(run)
            if run is self._run:
                self.changed.emit()

    def _plane_found(self, run: _Run, outcome: Outcome) -> None:
        if not self._goes_on(run, outcome):
            return
        if run.parts is not None:
            run.is_searched = run.is_ended = True
            self._write_parts(run)
            return
        run.found.append(outcome.value)
        if len(run.found) < len(run.planes):
            self._search(run)
            return
        self._put_together(run)

    def _put_together(self, run: _Run) -> None:
        run.within = 0.0
        self.changed.emit()
        self._executor.chore(
            _deciding(run),
            partial(name_objects, run.found, run.linked),
            partial(self._named, run),
            awaited=False,
        )

    def _named(self, run: _Run, outcome: Outcome) -> None:
        if not self._goes_on(run, outcome):
            return
        run.found = outcome.value
        if any(len(found.numbers) > 1 for found in run.found):
            self._decide(run, range(len(run.planes)))
        else:
            self._end(_nothing(run))

    # Writing the parts of one large plane as they are found

    def _write_parts(self, run: _Run) -> None:
        """Write the new parts, once the highest label is known; end after the last."""
        assert run.parts is not None, "a run that writes parts"
        canvas = self._state.canvas
        if canvas is not run.canvas or canvas is None:
            self._fail_parts(
                run,
                ValueError(
                    "expected the labels to stay while objects are looked for, got others; what "
                    "was written is in those of before, start again"
                ),
            )
            return
        if run.waits or (run.made == len(run.parts.parts) and not run.is_ended):
            return
        if canvas is not self._searched:
            run.waits = True
            self._executor.chore(
                ("highest label", self, canvas),
                canvas.highest,
                partial(self._highest_found, run, canvas),
                awaited=False,
            )
            return
        while run is self._run and run.made < len(run.parts.parts):
            run.made += 1
            self._write_part(run)
        if run is self._run and run.is_ended:
            self._end_parts(run)
            any_found = any(part.objects for part in run.parts.parts)
            if run.entries:
                self.finished.emit(f"{_what(run, self._written_by(run))} found")
            else:
                self.finished.emit(_NOTHING_NEW if any_found else _NOTHING)
            self.changed.emit()

    def _highest_found(self, run: _Run, canvas: LabelCanvas, outcome: Outcome) -> None:
        run.waits = False
        if outcome.error is None:
            self._searched, self._seen = canvas, outcome.value
            if run is self._run:
                self._write_parts(run)
        elif run is self._run and not outcome.cancelled:
            self._fail_parts(run, outcome.error)

    def _write_part(self, run: _Run) -> None:
        assert run.parts is not None, "a run that writes parts"
        objects = run.parts.parts[run.made - 1].objects
        if not objects:
            return
        highest, plane = self._highest_known(), run.planes[0]
        try:
            details = _part_details(run)
            touched, highest = write_objects(self._state, plane, objects, highest, details)
        except (OSError, ValueError, MemoryError) as error:
            self._fail_parts(run, error)
            return
        if touched is None:
            return
        run.recorded = run.made
        run.entries.append(self._state.journal.position[1])
        self._written(touched, highest)

    def _written_by(self, run: _Run) -> int:
        entries = map(self._state.journal.entry, run.entries)
        return sum(len(entry.facts) for entry in entries if entry is not None)

    def _end_parts(self, run: _Run) -> None:
        """End a run, and make one entry of its parts, unless other entries are between them."""
        self._run = None
        journal = self._state.journal
        entries = [entry for entry in map(journal.entry, run.entries) if entry is not None]
        if entries and len(entries) == len(run.entries) and journal.ends_with(run.entries):
            number = journal.new("found", "").number
            details = {**_details(run), "parts": [0, run.made], "whole": run.is_searched}
            journal.fold(run.entries, folded_parts(entries, number, details))
            run.entries = [number]

    def _fail_parts(self, run: _Run, error: Exception) -> None:
        self._end_parts(run)
        self._executor.cancel(_searching(run))
        self.failed.emit(error)
        self.changed.emit()

    # Deciding which pixels are written

    def _decide(self, run: _Run, places: Sequence[int]) -> None:
        """Decide which pixels change on some planes of a run, or on all if numbers are taken."""
        canvas, highest = self._state.canvas, self._highest_known()
        searches = canvas is not self._searched
        if searches or highest > run.decided.highest:  # earlier numbers may be taken by now
            places, run.decided = range(len(run.planes)), Decided({}, {}, highest)
        try:
            if canvas is None:
                raise ValueError("expected labels to write into, got none by now; pick some")
            for place in places:
                canvas.prepare(run.planes[place], 0)
        except (ValueError, MemoryError) as error:
            self._fail(error)
            return
        work = {
            place: (run.found[place], tuple(self._state.ownership.erased_on(run.planes[place])))
            for place in places
        }
        self._executor.chore(
            _deciding(run),
            partial(decide, canvas, searches, run.planes, work, run.decided),
            partial(self._was_decided, run, canvas),
            awaited=False,
        )

    def _was_decided(self, run: _Run, canvas: LabelCanvas, outcome: Outcome) -> None:
        if not self._goes_on(run, outcome):
            return
        if canvas is not self._state.canvas:
            self._decide(run, ())
            return
        run.decided = outcome.value
        self._searched, self._seen = canvas, run.decided.highest
        labels = run.decided.labels
        if not labels:
            self._end(_NOTHING_NEW)
            return
        highest = max(labels.values())
        try:
            for plane, part in zip(run.planes, _parts(run), strict=True):
                if part.pixels is not None:
                    canvas.prepare(plane, highest)
            others = [place for place in range(len(run.planes)) if self._is_other(run, place)]
        except (ValueError, MemoryError, OSError) as error:
            self._fail(error)
            return
        if others or self._highest_known() > run.decided.highest:
            self._decide(run, others)
        else:
            self._commit(run, highest)

    def _is_other(self, run: _Run, place: int) -> bool:
        """Whether a plane has changed since its pixels were decided."""
        plane, part = run.planes[place], run.decided.parts[place]
        erased = self._state.ownership.erased_on(plane)
        if len(erased) != len(part.erased) or any(
            now is not before for now, before in zip(erased, part.erased, strict=True)
        ):
            return True
        if part.pixels is None:
            return False
        here = self._state.read(plane)(part.pixels.slices)
        return bool(here[part.pixels.where].any())

    def _highest_known(self) -> int:
        seen = self._seen if self._searched is self._state.canvas else 0
        return max(seen, self._highest(), max(self._state.all_facts, default=0))

    def _commit(self, run: _Run, highest: int) -> None:
        marks: dict[ObjectPlane, Marks] = {}
        for part in _parts(run):
            marks |= part.marks
        quality = run.decided.quality
        labels = dict.fromkeys(sorted({label for label, _ in marks}))
        current = self._state.object_id
        taken = current in labels and current not in self._state.book.object_ids
        touched = self._state.commit(
            "found",
            f"found {_what(run, len(labels))}{_on_planes(len(run.planes))}{_by(run)}",
            pixels=tuple(part.pixels for part in _parts(run) if part.pixels is not None),
            marks=self._state.marks_changes(marks),
            facts=tuple(
                Change(i, self._state.facts(i), ObjectFacts(False, "found", "", None, *quality[i]))
                for i in labels
            ),
            objects=(current, highest + 1 if taken else current),
            details=_details(run),
        )
        self._run = None
        self._written(touched, highest)
        if touched is not None:
            self.finished.emit(f"{_what(run, len(labels))} found{_by(run)}")
        self.changed.emit()

    # Ending

    def _goes_on(self, run: _Run, outcome: Outcome) -> bool:
        """Whether a run continues after some work; errors of the work are emitted."""
        if run is not self._run or run.is_ended:
            return False
        if outcome.cancelled:
            self.cancel()
        elif outcome.error is not None and run.parts is not None:
            self._fail_parts(run, outcome.error)
        elif outcome.error is not None:
            self._fail(outcome.error)
        return outcome.error is None

    def _fail(self, error: Exception) -> None:
        self._run = None
        self.failed.emit(error)
        self.changed.emit()

    def _end(self, message: str) -> None:
        self._run = None
        self.finished.emit(message)
        self.changed.emit()


def _searching(run: _Run) -> tuple[object, ...]:
    return "find all", run, len(run.found)


def _deciding(run: _Run) -> tuple[object, ...]:
    return "write all", run


def _parts(run: _Run) -> Iterator[Part]:
    return (run.decided.parts[place] for place in range(len(run.planes)))


def _what(run: _Run, count: int) -> str:
    what = f"{count} {'' if run.similar is None else 'more '}object{'s' if count > 1 else ''}"
    return f"{what} of ‘{text}’" if (text := run.settings.get("text")) else what


def _nothing(run: _Run) -> str:
    if run.similar is not None:
        return _NONE_LIKE_THESE
    return _NOTHING_BY_TEXT.format(text) if (text := run.settings.get("text")) else _NOTHING


def _by(run: _Run) -> str:
    """Return how a run finds objects, if not in the usual way; otherwise an empty text."""
    way = run.segmenter.traits.way(run.settings.get("proposals"))
    return f" by {WAYS[way]}" if way == "decoder" and run.similar is None else ""


def _on_planes(count: int) -> str:
    return f" on {count} planes" if count > 1 else ""


def _part_details(run: _Run) -> dict[str, Any]:
    """Return the details of a part: of the first all, of others the run they belong to."""
    parts = {"parts": [run.recorded, run.made]}
    return {"of": run.entries[0], **parts} if run.entries else {**_details(run), **parts}


def _details(run: _Run) -> dict[str, Any]:
    """Return the details needed to repeat a run."""
    at = zip(*run.planes, strict=True)
    axes = [axis for axis, indices in enumerate(at) if len(set(indices)) > 1]
    details: dict[str, Any] = {
        "run": "find all",
        "planes": [list(plane) for plane in run.planes],
        "axis": axes[0] if len(axes) == 1 else None,
        "linked": run.linked,
        "settings": run.settings,
        "model": run.segmenter.model_key,
        "given": [found.given for found in run.found] if run.parts is None else [run.parts.given],
        **MaskRules(post_processing=run.post_processing).words(),
    }
    if run.similar is not None:
        inputs = [[list(plane), words] for plane, words in run.similar.given.items()]
        examples = [example.words() for example in run.similar.examples]
        details |= {"run": "find similar", "examples": examples, "looked_at": inputs}
    return details
