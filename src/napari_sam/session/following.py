"""Following objects through a stack or a movie, and reviewing the planes they cross."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from psygnal import SignalInstance

from napari_sam.planes import Plane
from napari_sam.session.corrections import Corrections, plane_order
from napari_sam.session.follow_anchors import Anchoring
from napari_sam.session.follow_runs import FollowRuns, ids_of
from napari_sam.session.groups import ObjectPlane
from napari_sam.session.journal import PlaneFacts
from napari_sam.session.known_planes import Line
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.reviewing import Reviewing
from napari_sam.session.searching import Searching
from napari_sam.session.spans import DOUBTFUL, FollowProgress, Span, spans_of
from napari_sam.session.state import Touched
from napari_sam.session.travel import Travel


class Following(Searching):
    """The part of a session that follows objects along an axis of the image."""

    spans_changed: SignalInstance
    _travel: Travel
    _anchoring: Anchoring
    _follow_runs: FollowRuns
    _corrections: Corrections
    _reviewing: Reviewing

    def propagate(
        self,
        object_ids: int | Iterable[int] | None = None,
        axis: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        """Follow objects through a stack or a movie, in the background, as one step.

        Following starts at the planes on which an object was prompted, painted, erased, adopted,
        found or accepted; these planes keep their masks. On the other planes masks are written as
        they are predicted, without covering other objects. :attr:`follow_progress` is the
        progress, and :attr:`noticed` is emitted with the outcome. After a later correction on a
        plane, the masks that depend on it are predicted again, until :meth:`cancel_following`.

        Parameters
        ----------
        object_ids
            The objects; by default the current one. :meth:`followable` returns all of a plane.
        axis
            The axis along which to follow; by default :attr:`follow_axis`.
        first, last
            Indices of the first and the last plane along the axis, inclusive; by default all.

        Raises
        ------
        ValueError
            If an object is locked or has no mask on any plane, the image has only one plane, the
            axis or an index is not valid, there is no model, there are no labels to write into, or
            another run is in progress.
        """
        self._check_open()
        ids = ids_of(self.object_id if object_ids is None else object_ids)
        if not ids:
            raise ValueError("expected an object to follow, got none; click one on this plane")
        self._state.check_unlocked(ids)
        if self.run is not None or any(run.cause is None for run in self._follow_runs.runs):
            raise ValueError("expected one run at a time, got another; wait for it, or cancel it")
        line = self._line_of(ids, self._checked_axis(axis))
        count = self.source.shape[line.axis]
        for name, index in (("first", first), ("last", last)):
            if index is not None and not 0 <= index < count:
                raise ValueError(
                    f"expected the {name} plane from 0 to {count - 1} along axis {line.axis}, got "
                    f"{index}"
                )
        if first is not None and last is not None and first > last:
            raise ValueError(
                f"expected the first plane before the last, got {first} to {last}; swap them"
            )
        run = self._follow_runs.new_run(ids, line, first, last)
        for object_id in ids:  # the run includes what is being predicted again
            self._follow_runs.drop(object_id, line)
            run.on_end(
                partial(self._corrections.forget, object_id, line, run.walk.first, run.walk.last)
            )
        self._follow_runs.begin(run)

    @property
    def follow_axis(self) -> int | None:
        """The axis along which objects are followed by default; None in an image of one plane.

        This is the axis that was scrolled last (:meth:`show`), or else the last axis with several
        planes.
        """
        axes = self._axes()
        scrolled = self._ahead.scrolled_axis
        return scrolled if scrolled in axes else (axes[-1] if axes else None)

    def followable(self, plane: object = None) -> list[int]:
        """Return the objects on a plane that can be followed: those that are not locked.

        Parameters
        ----------
        plane
            Index of the plane; by default the one shown.
        """
        at = self._plane(plane)
        rows = (row for row in self._table.rows if at in row.planes)
        return [row.id for row in rows if row.state != "locked"]

    @property
    def follow_progress(self) -> FollowProgress | None:
        """The progress of following; None if no object is being followed."""
        return self._follow_runs.progress

    def cancel_following(self, keep: bool = True) -> None:
        """Stop following.

        Parameters
        ----------
        keep
            Whether to keep the masks written so far; otherwise they are removed.
        """
        for run in [*self._follow_runs.runs][::-1]:
            self._follow_runs.cancel(run)
            if not keep:
                self._follow(self._travel.drop(run.entries))

    def spans(self, object_id: int | None = None) -> tuple[Span, ...]:
        """Return the spans of planes through which objects were followed.

        Parameters
        ----------
        object_id
            The object; by default every object that was followed.
        """
        self._table.start()
        ids = self._state.known.objects if object_id is None else (object_id,)
        found: list[Span] = []
        for number in sorted(ids):
            for line in sorted(self._state.known.lines(number), key=str):
                running = self._corrections.is_pending(number, line) or any(
                    number in run.object_ids and number not in run.dropped and run.walk.line == line
                    for run in self._follow_runs.runs
                )
                stale = self._corrections.stale(number, line)
                found += spans_of(self._state, self._anchoring, number, line, stale, running)
        return tuple(found)

    def quality(self, object_id: int) -> dict[Plane, float]:
        """Return the estimated quality (0-1) of each followed mask of an object.

        Parameters
        ----------
        object_id
            The object.

        Returns
        -------
        quality
            By plane, in the order of the planes; 1 for masks that were accepted
            (:meth:`accept_plane`).
        """
        known = self._state.known.planes(object_id)
        quality: dict[Plane, float] = {}
        for plane in sorted(known, key=plane_order):
            facts = known[plane]
            if facts.verdict == "right":
                quality[plane] = 1.0
            elif facts.quality is not None:
                quality[plane] = facts.quality
        return quality

    def plane_facts(self, object_id: int, plane: object) -> PlaneFacts:
        """Return the quality of a followed mask on a plane, its causes, and how it was reviewed.

        Parameters
        ----------
        object_id
            The object.
        plane
            Index of the plane, as for :meth:`add_point`.
        """
        return self._state.known.of(self._key(object_id, plane))

    def next_doubtful(
        self, step: int = 1, object_id: int | None = None, plane: object = None
    ) -> Plane | None:
        """Return the next plane on which an object's mask is doubtful.

        Parameters
        ----------
        step
            1 for the next along the axis, -1 for the previous; after the last comes the first.
        object_id
            The object; the current one by default.
        plane
            Index of the plane from which to search; the one shown by default.

        Returns
        -------
        plane
            The plane; None if no mask of the object is doubtful.
        """
        quality = self.quality(self.object_id if object_id is None else object_id)
        doubtful = [plane for plane, one in quality.items() if one < DOUBTFUL]
        if not doubtful:
            return None
        at = self.shown if plane is None else self.source.plane_of(plane)
        here = () if at is None else plane_order(at)
        if step > 0:
            return next((one for one in doubtful if plane_order(one) > here), doubtful[0])
        return next((one for one in doubtful[::-1] if plane_order(one) < here), doubtful[-1])

    def worst_plane(self, object_id: int | None = None) -> Plane | None:
        """Return the plane on which an object's followed mask has the lowest quality.

        Parameters
        ----------
        object_id
            The object; the current one by default.

        Returns
        -------
        plane
            The plane; None if the object has no followed masks that are not accepted.

        See Also
        --------
        napari_sam.propagate.attention.plane_to_check
            The planes on which a correction is expected to improve the masks most.
        """
        quality = self.quality(self.object_id if object_id is None else object_id)
        carried = {plane: one for plane, one in quality.items() if one < 1}
        return min(carried, key=lambda plane: carried[plane], default=None)

    def accept_plane(self, object_id: int | None = None, plane: object = None) -> None:
        """Accept an object's mask on a plane, as one step.

        The mask is then kept, and masks on other planes are predicted from it.

        Parameters
        ----------
        object_id, plane
            By default the current object and the plane shown.

        Raises
        ------
        ValueError
            If the object has no mask on the plane, or is locked.
        """
        self._check_open()
        self._follow(self._reviewing.accept(self._here(object_id, plane)))

    def stop_here(self, object_id: int | None = None, plane: object = None) -> None:
        """Mark an object as ended before a plane, as one step.

        Its followed masks on this plane and beyond it, seen from where following started, are
        removed.

        Parameters
        ----------
        object_id, plane
            By default the current object and the plane shown.

        Raises
        ------
        ValueError
            If the object was prompted, painted or accepted on the plane, was never followed, or is
            locked.
        """
        self._check_open()
        key = self._here(object_id, plane)
        self._follow(self._reviewing.stop(key, self._followed_line(key)))

    def go_on(self, object_id: int | None = None, plane: object = None) -> None:
        """Mark an object as present on a plane on which following had stopped, as one step.

        Following then continues through that plane, whatever the model predicts for it. If the
        plane is the last one with the object, following continues on the next plane.

        Parameters
        ----------
        object_id, plane
            By default the current object and the plane shown.

        Raises
        ------
        ValueError
            If the object was never followed or is locked, the plane is the last of the stack, or
            the plane is blank.
        """
        self._check_open()
        key = self._here(object_id, plane)
        line = self._followed_line(key)
        embedding = self.embeddings.get(key[1])
        if embedding is not None and self.embeddings.is_blank(embedding):
            raise ValueError(
                f"expected a plane that shows object {key[0]}, got {line.index(key[1])}, which is "
                "blank: all its pixels are alike; go to a plane beyond it that shows the object"
            )
        self._follow(self._reviewing.go_on(key, line, self.source.shape[line.axis]))

    # Which objects, planes and axes

    def _here(self, object_id: int | None, plane: object) -> ObjectPlane:
        key = (self.object_id if object_id is None else int(object_id)), self._plane(plane)
        self._state.check_unlocked([key[0]])
        self._table.start()
        if not self._anchoring.is_counted(key[:1]):
            raise ValueError(
                "expected to know where labels are, got labels that are still being counted; do "
                "it again in a moment"
            )
        return key

    def _plane(self, plane: object) -> Plane:
        """Return the plane of an index; None is the plane shown."""
        if plane is None and self.shown is None:
            raise ValueError("expected a plane, got none, and none is shown; name one")
        return self.source.plane_of(self.shown if plane is None else plane)

    def _axes(self) -> list[int]:
        """Return the axes along which there are several planes."""
        source = self.source
        return [
            axis
            for axis, length in enumerate(source.shape)
            if axis not in source.spanned and axis != source.channel_axis and length > 1
        ]

    def _checked_axis(self, axis: int | None) -> int:
        axes, source = self._axes(), self.source
        if not axes:
            raise ValueError(
                f"expected an image of several planes to follow an object through, got one of "
                f"shape {source.shape}, which is one plane"
            )
        if axis is None:
            axis = self.follow_axis
            assert axis is not None, "there are axes"
        elif -len(source.shape) <= axis < 0:
            axis += len(source.shape)
        if axis not in axes:
            raise ValueError(
                f"expected an axis with several planes ({', '.join(map(str, axes))}) to follow "
                f"objects along, got {axis}"
            )
        return axis

    def _line_of(self, object_ids: Sequence[int], axis: int) -> Line:
        """Return the line through the plane shown, if all objects are on it, or another such."""
        shown = [] if self.shown is None else [Line.through(self.shown, axis)]
        mine = [
            {Line.through(plane, axis) for plane in self._planes_of(object_id)}
            for object_id in object_ids
        ]
        common = set.intersection(*mine)
        for line in (*shown, *sorted(common, key=str)):
            if line in common:
                return line
        nowhere = [i for i, lines in zip(object_ids, mine, strict=True) if not lines]
        across = [i for i in nowhere if self._table.extents(i)]
        if across:
            raise ValueError(
                f"expected objects on planes like the one shown, got {ids_text(across)}, which "
                "has masks on planes along other axes only; click it on this plane, or roll the "
                "axes back"
            )
        if nowhere:
            raise ValueError(
                f"expected objects that are somewhere, got {ids_text(nowhere)}, which has neither "
                "prompts nor pixels; click it first"
            )
        raise ValueError(
            f"expected objects that are in one stack along axis {axis}, got "
            f"{ids_text(object_ids)}, which are in several; follow each by itself"
        )

    def _planes_of(self, object_id: int) -> set[Plane]:
        """Return the planes that an object has pixels or prompts on."""
        prompted = {plane for number, plane in self.prompts.keys if number == object_id}
        spanned = self.source.spanned
        planes = {*self._table.extents(object_id), *prompted}
        return {p for p in planes if all(p[axis] is None for axis in spanned)}

    def _followed_line(self, key: ObjectPlane) -> Line:
        """Return the line through a plane along which an object was followed."""
        lines = [line for line in self._state.known.lines(key[0]) if line.index(key[1]) is not None]
        axis = self.follow_axis
        lines.sort(key=lambda line: line.axis != axis)
        if not lines:
            raise ValueError(
                f"expected an object that was followed through this plane's stack, got {key[0]}; "
                "follow it first"
            )
        return lines[0]

    # What follows from changes

    def _go_on_following(self, *_: object) -> None:
        """Continue the runs that were waiting for masks or for labels to be counted."""
        if self._corrections.has_pending:
            self._table.start()
            self._corrections.advance()
        self._follow_runs.go_on()

    def _stop_following(self, what: str) -> None:
        self._follow_runs.stop(
            ValueError(
                f"expected {what} to stay what it is while objects are followed, got another; what "
                "was written stays, follow again to go on"
            )
        )

    def _emit_spans(self, touched: Touched) -> None:
        if touched.planes:
            self.spans_changed.emit(tuple(sorted({object_id for object_id, _ in touched.planes})))
