"""An interactive segmentation: prompts go in, masks come out, live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_sam.engine import Executor, SynchronousExecutor
from napari_sam.planes import Plane, PlaneSource
from napari_sam.prompts import Box
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.adopting import Adoption
from napari_sam.session.answering import Answering
from napari_sam.session.answers import Answer, DecodeHistory
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
from napari_sam.session.signals import Signals
from napari_sam.session.state import State, Touched
from napari_sam.session.teaching import Teaching
from napari_sam.session.travel import Travel
from napari_sam.session.working_with import WorkingWith


class Session(Signals, Choosing, Lineage, MaskSettings, Teaching, WorkingWith):
    """The prompts, objects and masks of one image, with undo.

    No method waits for the model. By default the model runs within the call; with an `executor`
    that has threads, masks arrive later: :attr:`mask_changed` is emitted for each, and
    :meth:`wait` blocks until all have arrived. A session may only be used from one thread.

    What changes is reported by psygnal's signals: a function is connected with
    ``session.mask_changed.connect(function)``. Every signal is emitted on the session's thread:
    within the method that made the change or, with an executor that has threads, within
    :meth:`wait` or the executor's `drain`.

    Parameters
    ----------
    segmenter
        The model; None while it is still loading: prompts are kept and answered once it is there.
    source
        The image.
    executor
        Runs the model; by default in the caller's thread, within the call that needs it.
    max_bytes
        Memory for embeddings, in bytes.
    prefetch
        Number of neighbouring planes to embed ahead, on each side of the plane shown.
    canvas
        The labels into which masks are written; with None masks are only kept by the session.

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
        self._emitted_object = 1
        self._has_warned_not_finite = False
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
        self._queue.fixing_changed.connect(self._previews.clear)
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
        """Emit the signals of a change, and request masks for prompts without an answer."""
        if touched is None:
            self.prompts_changed.emit()  # a view of the prompts may show some that were refused
            self.journal_changed.emit()
            return
        if touched.model:
            self._bring_model()
        keys = tuple(touched.prompts)
        unanswered = [key for key in keys if not self._state.is_answered(key)]
        for key in keys:
            self._answering.forget(key)
        for key in unanswered:  # before any signal: an error of a listener then loses no click
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
        self._emit_object()
        self.journal_changed.emit()
        for key in keys:
            self._answering.answer(key)
        self._emit_spans(touched)
        self._go_on_following()

    def _take_answer(self, key: ObjectPlane, answer: Answer, history: DecodeHistory | None) -> None:
        if not self._state.take_answer(key, answer, history):
            self._table.note([key[0]])
        self.mask_changed.emit(*key)
        self.journal_changed.emit()
        self._go_on_following()

    # History

    def undo(self) -> None:
        """Undo the last step: prompts, a chosen candidate, painting, an object or a run.

        The labels get back the pixels that they had before. Pixels that another program or layer
        changed in the meantime keep their values: that change is recorded first, as a separate
        step. Following that started after the step stops, and so does a run whose objects are
        undone.
        """
        if self._closed is None and self._follow_runs.cancel_unwritten():
            return  # nothing was done yet
        if self._closed is None:
            self._runs.cancel_written()
        self._go(self._travel.undo)

    def redo(self) -> None:
        """Redo the step that was undone last."""
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
        """Record what a user has painted into the labels.

        Pixels that were erased from an object are not given back to it by later predictions.
        Pixels of locked objects are restored. Pixels outside of the image are ignored.

        Parameters
        ----------
        changes
            The changed pixels: the values that the labels have now, and those before.
        text
            A short description for the history, such as ``"a brush stroke"``.
        """
        self._check_open()
        changes = self._inside(changes)
        self._follow(self._state.paint(changes, text))
        highest = max((int(c.after.max()) for c in changes), default=0)
        self._reserved = max(self._reserved, highest)  # the current object stays the one painted

    def note_elsewhere(self, changes: Sequence[PixelChange] | None) -> None:
        """Record that the labels were changed outside of the session, such as by a script.

        Parameters
        ----------
        changes
            The changed pixels: the values that the labels have now, and those before. None if
            they are not known: earlier steps can't be undone then.
        """
        if changes is None:
            self._state.begin_anew("the labels were changed elsewhere")
            self._runs.forget_highest()
            self.journal_changed.emit()
        else:
            self._follow(self._state.note_elsewhere(self._inside(changes)))

    def _inside(self, changes: Sequence[PixelChange]) -> list[PixelChange]:
        """Return the part of changes within the image; labels may be larger than it."""
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

    # Saving

    def save(self, path: str | Path) -> None:
        """Save the session to one file, from which :meth:`open` resumes it.

        Parameters
        ----------
        path
            The file, by convention with the suffix ``.napari-sam``; an existing file is
            replaced.

        Raises
        ------
        OSError
            If the file can't be written.
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
        """Open a saved session and resume it.

        Parameters
        ----------
        path
            The file; it is only read.
        source
            The image that the session belongs to; it may have more planes than when it was saved.
        segmenter, canvas
            As for the class. Planes of the canvas that are empty and only in memory are filled;
            others are only compared with the session, see :meth:`restore`. With None new labels
            are created in memory.
        **options
            Other arguments of the class.

        Returns
        -------
        session
            The session, which can be undone and continued. Later changes are not written to
            `path`; :meth:`save` does that.

        Raises
        ------
        SessionFileError
            If the file is not a session of this image, is damaged or was written by a newer
            version.
        OSError
            If the file can't be opened.
        """
        saved = read_session(path, source)
        labels = canvas or canvas_for(saved, source)
        session = cls(segmenter, source, canvas=labels, **options)
        session.restore(saved)
        return session

    def restore(self, saved: SavedSession, fill: bool | None = None) -> int:
        """Load a saved session into this one, which must be new.

        Restores prompts, candidates, masks, objects, settings and the history for undo and redo.
        Pixels of the labels that differ from the saved session keep their values: the difference
        is recorded as a change from outside, which undo reverts.

        Parameters
        ----------
        saved
            The session as :func:`~napari_sam.session.saved.read_session` returns it.
        fill
            Whether to fill empty planes of the labels; by default only if the labels are in
            memory.

        Returns
        -------
        different
            Number of pixels whose label differs from the saved session.

        Raises
        ------
        OSError
            If the labels can't be read or written.
        ValueError, MemoryError
            If this session is not new, or if its labels can't hold the saved object numbers or
            lack some of the planes. Nothing has changed then.
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
                f"{count} pixels of the labels are not what the session recorded and are left as "
                "they are; undo takes that back"
            )
        return total_area(changes)

    # Objects

    def _emit_object(self) -> None:
        if self._emitted_object != self.object_id:
            self._emitted_object = self.object_id
            self.object_changed.emit(self.object_id)

    # Results of runs

    def _take_found(self, touched: Touched | None, highest: int) -> None:
        self._reserved = max(self._reserved, highest)
        self._follow(touched)

    def _take_carried(self, touched: Touched) -> None:
        self._emit_spans(touched)
        self.journal_changed.emit()

    def _take_imported(self, touched: Touched | None, highest: int) -> None:
        self._follow(touched)
        self.reserve(highest)

    # View, progress and end

    def show(
        self,
        plane: object,
        focus: tuple[float, float] | None = None,
        view: Box | None = None,
    ) -> None:
        """Set the plane that is on screen: it is embedded first, then its neighbours.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        focus
            (row, column) at the centre of the screen, in pixels of the plane. Of a large plane,
            the tiles around it are encoded first.
        view
            The part of the plane on screen: (row 0, column 0, row 1, column 1) in pixels, ends
            inclusive.

        Raises
        ------
        ValueError
            If the plane doesn't exist.
        """
        self._answering.show(self.source.plane_of(plane), focus, view)
        self._queue.follow_view()

    def set_view(self, focus: tuple[float, float], view: Box) -> None:
        """Set which part of the plane is on screen; see :meth:`show`.

        In contrast to :meth:`show`, work that was cancelled is not resumed.
        """
        self._answering.set_view(focus, view)

    def read_all(self, planes: Iterable[object]) -> None:
        """Embed planes in idle time, starting with those near the plane shown.

        Clicks take precedence. :attr:`read_progress` is the progress.

        Parameters
        ----------
        planes
            Indices of the planes, which replace those of an earlier call. If it is empty, no more
            planes are embedded; existing embeddings are kept.

        Raises
        ------
        ValueError
            If a plane doesn't exist.
        """
        self._ahead.all.begin([self.source.plane_of(plane) for plane in planes])

    def cancel(self) -> None:
        """Stop embedding and decoding; work that is running stops within a moment.

        Prompts without a mask stay and are answered after the next :meth:`show` or prompt.
        """
        self._answering.cancel()
        self._queue.stop_judging()

    def close(self, reason: ValueError) -> None:
        """Close the session for changes, such as when its image was replaced.

        Prompts and masks can still be read. Prompts without a mask are no longer answered.

        Parameters
        ----------
        reason
            The exception that every later change raises.
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

        Parameters
        ----------
        timeout
            The longest time to wait, in seconds; None waits as long as it takes.

        Returns
        -------
        finished
            False if `timeout` passed first, or if some prompt remains without a mask because it
            was cancelled, there is no model, or the model failed (see :attr:`failed`).
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
        if not self._has_warned_not_finite:
            self._has_warned_not_finite = True
            self.noticed.emit(
                f"{count} pixels of this plane are NaN, infinite or masked: the model sees them as "
                "the low contrast limit"
            )
