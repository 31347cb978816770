"""An interactive segmentation: prompts go in, masks come out, live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_sam.engine import Executor, SynchronousExecutor
from napari_sam.planes import Plane, PlaneSource
from napari_sam.prompts import Box
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.adopting import Adoption
from napari_sam.session.answering import Answering
from napari_sam.session.answers import Answer, Chain
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.choosing import Choosing
from napari_sam.session.corrections import Corrections
from napari_sam.session.descent import Descent
from napari_sam.session.embeddings import Embeddings
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.follow_runs import FollowRuns
from napari_sam.session.importing import Imports
from napari_sam.session.keeping import save_session
from napari_sam.session.lineage import Lineage
from napari_sam.session.mask_settings import MaskSettings
from napari_sam.session.model_use import ModelsInUse
from napari_sam.session.object_table import ObjectTable
from napari_sam.session.over_time import OverTime
from napari_sam.session.pixels import PixelChange, total_area, within
from napari_sam.session.preview import Previews
from napari_sam.session.prompt_book import ObjectPlane
from napari_sam.session.proofreading import Queue
from napari_sam.session.read_ahead import ReadAhead
from napari_sam.session.relinking import Relinking
from napari_sam.session.reviewing import Reviewing
from napari_sam.session.runs import Runs
from napari_sam.session.saved import SavedSession, canvas_for, read_session, write_labels
from napari_sam.session.state import State, Touched
from napari_sam.session.teaching import Teaching
from napari_sam.session.travel import Travel
from napari_sam.session.working_with import WorkingWith


class Session(Choosing, Lineage, MaskSettings, Teaching, WorkingWith):
    """Objects and their prompts on the planes of one image, and the masks that follow from them.

    Every method returns at once; with threads behind `executor`, masks arrive later, announced
    by :attr:`mask_changed`, or awaited with :meth:`wait`. Only one thread may use a session.

    Parameters
    ----------
    segmenter
        Predicts; None while a model is still loading (clicks are kept and answered later).
    source
        The image.
    executor
        Where embeds and decodes run; by default at once, in the caller's thread.
    max_bytes
        Memory for embeddings.
    prefetch
        How many neighbours of the plane shown are embedded ahead, in each direction.
    canvas
        The labels that masks are written into; None keeps them in memory alone.

    Attributes
    ----------
    prompts_changed
        :attr:`prompts` was replaced.
    prompts_edited
        The same: of which objects on which planes, as a tuple of (object, plane).
    object_changed
        Another object is current.
    mask_changed
        There is another mask, or none any more: (object, plane).
    draft_changed
        There is another draft of a mask, or none any more: (object, plane).
    facts_changed
        What :meth:`facts` says of objects has changed.
    classes_changed
        There are other :attr:`classes`.
    complete_changed
        :meth:`complete_regions` of a plane are others.
    model_changed
        Another :attr:`segmenter` answers.
    model_wanted
        Undo or redo came to a model that isn't at hand: a
        :class:`~napari_sam.session.model_use.UsedModel`, to be loaded and given to
        :meth:`use_model`.
    objects_changed
        Rows of :attr:`objects` are others, new or gone: the objects, as a tuple, or None where
        these are many.
    queue_changed
        Something that :attr:`queue` says is another.
    journal_changed
        Something happened, was taken back or made again.
    relabelled
        The labels are others than before, by no entry's doing.
    rules_changed
        :attr:`overlap` or :attr:`post_processing` is another one.
    run_changed
        A run over planes began, went on, or ended.
    follow_changed
        :attr:`follow_progress` is another.
    tracks_changed
        :attr:`tracks` or :meth:`suggested_divisions` are others.
    spans_changed
        What :meth:`spans` and :meth:`quality` say of objects has changed: the objects, as a
        tuple.
    activity_changed
        Embeddings were started, finished or dropped.
    failed
        Something asked for could not be done: the error.
    noticed
        Something a user should know once: a sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_sam import load_segmenter
    >>> from napari_sam.session import ArraySource, Session
    >>> session = Session(load_segmenter("nano"), ArraySource(np.zeros((4, 64, 64))))
    >>> click = session.add_point(2, (30, 40))
    >>> session.mask(1, 2).shape
    (64, 64)
    """

    prompts_changed = Signal()
    prompts_edited = Signal(object)
    object_changed = Signal(int)
    mask_changed = Signal(int, object)
    draft_changed = Signal(int, object)
    facts_changed = Signal()
    classes_changed = Signal()
    complete_changed = Signal()
    model_changed = Signal()
    model_wanted = Signal(object)
    objects_changed = Signal(object)
    queue_changed = Signal()
    journal_changed = Signal()
    relabelled = Signal()
    rules_changed = Signal()
    run_changed = Signal()
    follow_changed = Signal()
    tracks_changed = Signal()
    spans_changed = Signal(object)
    activity_changed = Signal()
    failed = Signal(object)
    noticed = Signal(str)

    def __init__(
        self,
        segmenter: Segmenter | None,
        source: PlaneSource,
        executor: Executor | None = None,
        max_bytes: int = 2 << 30,
        prefetch: int = 0,
        canvas: LabelCanvas | None = None,
    ) -> None:
        executor = executor or SynchronousExecutor()
        self._state = State(canvas)
        self._state.refused.connect(self.failed.emit)
        self._state.noticed.connect(self.noticed.emit)
        self._table = ObjectTable(
            self._state, executor, lambda: self.source, self.objects_changed.emit
        )
        self.object_changed.connect(self._table.note_current)
        self._travel = Travel(self._state)
        self._reserved = 0
        self._told_object = 1
        self._told_not_finite = False
        self._opened_at = self.journal.position
        self._closed: ValueError | None = None
        self._models = ModelsInUse()
        if segmenter is not None:
            self._state.model = self._models.note(segmenter).key
        self.embeddings = Embeddings(segmenter, source, executor, max_bytes)
        self.embeddings.not_finite.connect(self._notice_not_finite)
        self._ahead = ReadAhead(executor, self.embeddings, prefetch)
        self._answering = Answering(
            executor,
            self.embeddings,
            self._ahead,
            self._results,
            self._state.group,
            lambda: self.post_processing,
            self._take_answer,
        )
        self._previews = Previews(executor, self._answering.foreseen, self.preview_changed.emit)
        self.journal_changed.connect(self._previews.clear)
        self.object_changed.connect(self._previews.clear)
        self._objects = Descent(
            *(self._state, executor, lambda: self.source, self._follow, self.failed.emit),
            self._table,
        )
        self._over_time = OverTime(self._state, executor, lambda: self.source)
        self._relinking = Relinking(
            *(self._state, executor, lambda: self.source, lambda: self.highest_object),
            *(self._table.all_extents, self._take_found, self.noticed.emit, self.failed.emit),
        )
        self._over_time.changed.connect(self.tracks_changed.emit)
        self._over_time.failed.connect(self.failed.emit)
        self._adoption = Adoption(
            self._state, executor, lambda: self.source, self._follow, self.failed.emit
        )
        self._queue = Queue(
            *(self._state, self, self._ahead, executor, self._table.region, self.failed.emit)
        )
        self._queue.changed.connect(self.queue_changed.emit)
        self.objects_changed.connect(self._queue.follow)
        self.object_changed.connect(self._queue.follow_current)
        self._state.relabelled.connect(self._queue.follow_labels)
        self._state.relabelled.connect(self.relabelled.emit)
        self.model_changed.connect(self._queue.follow_model)
        self._imports = Imports(
            self._state,
            executor,
            lambda: self.source,
            lambda: self.highest_object,
            self._take_imported,
            self.failed.emit,
        )
        self._runs = Runs(self._state, executor, lambda: self.highest_object, self._take_found)
        self._runs.changed.connect(self.run_changed.emit)
        self._runs.finished.connect(self.noticed.emit)
        self._runs.failed.connect(self.failed.emit)
        self._anchoring = Anchoring(self._state, self._table)
        self._follow_runs = FollowRuns(
            self._state, executor, self.embeddings, self._anchoring, self._take_carried
        )
        self._corrections = Corrections(
            self._state, self._follow_runs, self._anchoring, lambda axis: self.source.shape[axis]
        )
        self._reviewing = Reviewing(self._state, self._anchoring)
        self._follow_runs.changed.connect(self.follow_changed.emit)
        self._follow_runs.spans_changed.connect(self.spans_changed.emit)
        self._follow_runs.finished.connect(self.noticed.emit)
        self._follow_runs.failed.connect(self.failed.emit)
        self.objects_changed.connect(self._go_on_following)
        self._answering.draft_changed.connect(self.draft_changed.emit)
        self._answering.changed.connect(self.activity_changed.emit)
        self._answering.failed.connect(self.failed.emit)

    # What follows from a change

    def _follow(self, touched: Touched | None) -> None:
        """Tell what has changed, and have answered what has no answer."""
        if touched is None:
            self.prompts_changed.emit()  # whoever shows prompts may show some that were refused
            self.journal_changed.emit()
            return
        if touched.model:
            self._bring_model()
        keys = tuple(touched.prompts)
        unanswered = [key for key in keys if not self._state.is_answered(key)]
        for key in keys:
            self._answering.forget(key)
        for key in unanswered:  # before anybody is told: what a listener raises loses no click
            self._answering.note_change(key)
        if keys:
            self.prompts_edited.emit(keys)
            self.prompts_changed.emit()
        for key in touched.masks:
            self.mask_changed.emit(*key)
        if touched.facts:
            self.facts_changed.emit()
            self.tracks_changed.emit()
            self.retry_masks()  # of objects that were unlocked
        if touched.classes:
            self.classes_changed.emit()
        if touched.complete:
            self.complete_changed.emit()
        self._tell_object()
        self.journal_changed.emit()
        for key in keys:
            self._answering.answer(key)
        self._tell_spans(touched)
        self._go_on_following()

    def _take_answer(self, key: ObjectPlane, answer: Answer, chain: Chain | None) -> None:
        if not self._state.take_answer(key, answer, chain):
            self._table.note([key[0]])
        self.mask_changed.emit(*key)
        self.journal_changed.emit()
        self._go_on_following()

    # What happened

    def undo(self) -> None:
        """Take back whatever happened last: prompts, a choice, painting, an object, a run.

        Labels are what they were before, pixel by pixel. Those that were changed elsewhere are
        not touched: that is recorded first, as a step of its own. Objects that are being followed
        since are followed no further, and a run whose objects are taken back ends.
        """
        if self._closed is None and self._follow_runs.cancel_unwritten():
            return  # nothing was done yet
        if self._closed is None:
            self._runs.cancel_written()
        self._go(self._travel.undo)

    def redo(self) -> None:
        """Make again what was taken back last."""
        self._go(self._travel.redo)

    def _go(self, travel: Callable[[], Touched | None]) -> None:
        if self._closed is not None:
            self.failed.emit(self._closed)
            return
        if self.canvas is not None:
            self.canvas.settle()
        with self._follow_runs.paused(), self._corrections.travelling():
            touched = travel()
        self._follow(touched)

    def paint(self, changes: Sequence[PixelChange], text: str = "a brush stroke") -> None:
        """Record what a person has painted into the labels.

        Pixels that were taken away from an object stay away, whatever is predicted later; pixels
        of locked objects are put back. What lies outside of the image is no part of the session.

        Parameters
        ----------
        changes
            What the labels show already, and what they showed before.
        text
            What it was, in a few words.
        """
        self._check_open()
        changes = self._inside(changes)
        self._follow(self._state.paint(changes, text))
        highest = max((int(c.after.max()) for c in changes), default=0)
        self._reserved = max(self._reserved, highest)  # the current object stays the one painted

    def note_elsewhere(self, changes: Sequence[PixelChange] | None) -> None:
        """Record that somebody else has changed the labels.

        Parameters
        ----------
        changes
            What they show, and what they showed before; None if that is not known: then nothing
            that was done before can be taken back.
        """
        if changes is None:
            self._state.begin_anew("the labels were changed elsewhere")
            self._runs.forget_highest()
            self.journal_changed.emit()
        else:
            self._follow(self._state.note_elsewhere(self._inside(changes)))

    def _inside(self, changes: Sequence[PixelChange]) -> list[PixelChange]:
        """Return what lies in the image: labels may have more planes, and larger ones."""
        inside = []
        for change in changes:
            try:
                shape = self.source.plane_shape(self.source.plane_of(change.plane))
            except ValueError:
                continue
            if (part := within(change, shape)) is not None:
                inside.append(part)
        if outside := total_area(changes) - total_area(inside):
            self.noticed.emit(
                f"{outside} pixels of the labels lie outside of the image: they stay as they are, "
                "and undo leaves them alone"
            )
        return inside

    # Keeping it

    def save(self, path: str | Path) -> None:
        """Save the session as one file; :meth:`open` goes on with it.

        Parameters
        ----------
        path
            The file, by convention with the suffix ``.napari-sam``; one that is there is
            replaced.

        Raises
        ------
        OSError
            If it can't be written.
        """
        save_session(self, path)

    @classmethod
    def open(
        cls,
        path: str | Path,
        source: PlaneSource,
        segmenter: Segmenter | None = None,
        canvas: LabelCanvas | None = None,
        **options: Any,
    ) -> Session:
        """Go on with a session that was saved.

        Parameters
        ----------
        path
            The file; it is only read.
        source
            The image it is of; it may have grown.
        segmenter, canvas
            As of the class. The canvas is filled where it is empty and in memory alone, and
            otherwise only compared; see :meth:`restore`. None makes labels in memory.
        options
            Further arguments of the class.

        Raises
        ------
        SessionFileError
            If the file is no session of this image, is damaged or of a newer version.
        OSError
            If it can't be opened.
        """
        saved = read_session(path, source)
        labels = canvas or canvas_for(saved, source)
        session = cls(segmenter, source, canvas=labels, **options)
        session.restore(saved)
        return session

    def restore(self, saved: SavedSession, fill: bool | None = None) -> int:
        """Go on with a session that was saved; this one must be new.

        Prompts, candidates, masks, objects and settings come back, and what can be undone and
        redone. Pixels of the labels that show something else than the session says are left as
        they are: that is recorded as a change from elsewhere, which undo takes back.

        Parameters
        ----------
        saved
            What :func:`~napari_sam.session.saved.read_session` returns.
        fill
            Whether planes of the labels that are empty are filled; by default those in memory
            alone are.

        Returns
        -------
        different
            Number of pixels that show something else.

        Raises
        ------
        OSError
            If the labels can't be read or written.
        ValueError, MemoryError
            If something happened in this session already, or the labels can't hold the
            session's numbers or lack its planes. Nothing has changed then.
        """
        self._check_open()
        if len(self.journal) or self.can_redo:
            raise ValueError("expected a new session to restore into, got one that was worked in")
        canvas, changes = self.canvas, []
        if canvas is not None:
            changes = write_labels(saved, canvas, not canvas.is_kept if fill is None else fill)
        self._models.restore(saved.models)
        touched = self._state.restore(saved)
        self._corrections.restore(saved.entries)
        if changes:  # before anything is answered: masks may come at once
            self._state.note_elsewhere(changes)
        self._opened_at = self.journal.position
        self._follow(touched)
        self.reserve(saved.highest_label)
        self.object_id = saved.object_id
        if changes:
            count = total_area(changes)
            self.noticed.emit(
                f"{count} pixels of the labels are not what the session says and are left as "
                "they are; undo takes that back"
            )
        return total_area(changes)

    # Objects

    def _tell_object(self) -> None:
        if self._told_object != self.object_id:
            self._told_object = self.object_id
            self.object_changed.emit(self.object_id)

    # Running over planes

    def _take_found(self, touched: Touched | None, highest: int) -> None:
        self._reserved = max(self._reserved, highest)
        self._follow(touched)

    def _take_carried(self, touched: Touched) -> None:
        self._tell_spans(touched)
        self.journal_changed.emit()

    def _take_imported(self, touched: Touched | None, highest: int) -> None:
        self._follow(touched)
        self.reserve(highest)

    # Running

    def show(
        self,
        plane: object,
        focus: tuple[float, float] | None = None,
        view: Box | None = None,
    ) -> None:
        """Say which plane is on screen: it is embedded first, then its neighbours.

        Parameters
        ----------
        plane
            Index of the plane.
        focus
            (row, column) in the middle of the screen: in a large plane, what is around it is
            encoded before the rest.
        view
            (row 0, column 0, row 1, column 1) of the plane on screen, ends inclusive.
        """
        self._answering.show(self.source.plane_of(plane), focus, view)
        self._queue.follow_view()

    def look(self, focus: tuple[float, float], view: Box) -> None:
        """Say that the screen shows another part of the plane; see :meth:`show`.

        What was cancelled stays so.
        """
        self._answering.look(focus, view)

    def read_all(self, planes: Iterable[object]) -> None:
        """Have planes embedded when nothing else is to do, those near the plane shown first.

        A click anywhere goes first. :attr:`read_progress` says how far that is.

        Parameters
        ----------
        planes
            Indices of planes, in the place of those that were asked for before; with none,
            nothing more is read, and what was read stays.
        """
        self._ahead.all.begin([self.source.plane_of(plane) for plane in planes])

    def cancel(self) -> None:
        """Stop embedding and decoding; what runs stops in a moment.

        Prompts without an answer wait until anything is asked for again, by :meth:`show` or by
        another prompt.
        """
        self._answering.cancel()
        self._queue.stop_judging()

    def close(self, reason: ValueError) -> None:
        """Refuse every later change, as when the image has become another one.

        Prompts and masks can still be read; what was not answered yet never will be.

        Parameters
        ----------
        reason
            Raised by every later change of prompts.
        """
        self._closed = reason
        self._runs.stop(reason)
        self._follow_runs.close()
        self._objects.close()
        self._queue.end()
        self._imports.close()
        self._over_time.end()
        self._relinking.close()
        self._table.close()
        self._answering.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every prompt is answered, the plane shown is embedded and runs have ended.

        Returns
        -------
        finished
            False if `timeout` (seconds) passed first, or if nothing is going on any more and
            something has still no answer: it was cancelled, there is no model, or it failed, which
            :attr:`failed` has told.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            running = self._is_running
            done = self._answering.wait(left, running)
            if running or not done or not self._is_running:  # a run may begin with an answer
                return done and not self._is_running

    @property
    def _is_running(self) -> bool:
        return self.run is not None or self.follow_progress is not None

    def _notice_not_finite(self, plane: Plane, count: int) -> None:
        if not self._told_not_finite:
            self._told_not_finite = True
            self.noticed.emit(
                f"{count} pixels of this plane are NaN, infinite or masked: the model sees them as "
                "the low contrast limit"
            )
