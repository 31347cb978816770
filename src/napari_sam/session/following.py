"""Objects followed through a stack or a movie, and what a person says of the planes they cross."""

from __future__ import annotations

from collections.abc import Iterable

from napari_sam.planes import Plane
from napari_sam.session.journal import PlaneFacts
from napari_sam.session.searching import Searching
from napari_sam.session.spans import FollowProgress, Span


class Following(Searching):
    """The part of a session that follows objects along an axis."""

    def propagate(
        self,
        object_ids: int | Iterable[int] | None = None,
        axis: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        """Follow objects from the planes where they are known, in the background, as one step.

        Known is an object where it was prompted, painted, erased, adopted, found, or accepted:
        such planes stay as they are. On others masks are written as they come, where neither
        another object is nor a locked one. :attr:`follow_progress` says how far that is,
        :attr:`noticed` how it ended. Until :meth:`stop_following`, a plane that is corrected has
        what depends on it made anew.

        Parameters
        ----------
        object_ids
            The objects; by default the current one. All of a plane are :meth:`followable`.
        axis
            The axis to go along; by default :attr:`follow_axis`.
        first, last
            Indices of the outermost planes along the axis, inclusive; by default all.

        Raises
        ------
        ValueError
            If an object is locked or nowhere known, the image has one plane only, an index or
            the axis makes no sense, there is no model or are no labels to write into, or a run
            is going on already.
        """
        raise NotImplementedError

    @property
    def follow_axis(self) -> int | None:
        """The axis that objects are followed along by default; None in an image of one plane.

        That is the one that was scrolled last, else the last one with several planes that the
        planes don't span.
        """
        raise NotImplementedError

    def followable(self, plane: object = None) -> list[int]:
        """Return the objects of a plane, by default the one shown, that can be followed."""
        raise NotImplementedError

    @property
    def follow_progress(self) -> FollowProgress | None:
        """How far objects are followed; None while none is."""
        return None

    def cancel_following(self, keep: bool = True) -> None:
        """Follow no further.

        Parameters
        ----------
        keep
            Whether the planes that are done stay; otherwise they are as they were before.
        """
        raise NotImplementedError

    def spans(self, object_id: int | None = None) -> tuple[Span, ...]:
        """Return the parts of the stack through which an object, or any, was carried."""
        return ()

    def quality(self, object_id: int) -> dict[Plane, float]:
        """Return how far each mask that was carried can be trusted, 0-1, by plane in order.

        Planes of which somebody said that they are right have 1.
        """
        return {}

    def plane_facts(self, object_id: int, plane: object) -> PlaneFacts:
        """Return what is known of an object on a plane: its quality, and what that comes from."""
        raise NotImplementedError

    def next_doubtful(self, step: int = 1, object_id: int | None = None) -> Plane | None:
        """Return the next plane on which an object's mask is doubtful, from the one shown.

        Parameters
        ----------
        step
            1 for the next along the axis, -1 for the one before; it goes round at the end.
        object_id
            The object; the current one by default.
        """
        return None

    def worst_plane(self, object_id: int | None = None) -> Plane | None:
        """Return the plane on which an object's mask is the most doubtful; None if none is."""
        return None

    def accept_plane(self, object_id: int | None = None, plane: object = None) -> None:
        """Say that an object's mask is right on a plane: it stays, and others follow from it.

        Parameters
        ----------
        object_id, plane
            By default the current object and the plane shown.

        Raises
        ------
        ValueError
            If it has no mask there, or is locked.
        """
        raise NotImplementedError

    def stop_here(self, object_id: int | None = None, plane: object = None) -> None:
        """Say that an object ends before a plane, seen from where it is known.

        Its carried masks there and beyond go.

        Parameters
        ----------
        object_id, plane
            By default the current object and the plane shown.

        Raises
        ------
        ValueError
            If the object is known to be there, or is locked.
        """
        raise NotImplementedError

    def go_on(self, object_id: int | None = None, plane: object = None) -> None:
        """Say that an object is on a plane, whatever the model says: it is followed on there.

        On the last plane that it has, it is followed to the next one.

        Parameters
        ----------
        object_id, plane
            By default the current object and the plane shown.

        Raises
        ------
        ValueError
            If it was never followed, or is locked.
        """
        raise NotImplementedError
