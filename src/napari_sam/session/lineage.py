"""Objects over time: tracks, linking, and divisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from psygnal import SignalInstance

from napari_sam.session.descent import Descent
from napari_sam.session.linked import LinkRequest
from napari_sam.session.object_commands import ObjectCommands
from napari_sam.session.over_time import OverTime, TrackPoints
from napari_sam.session.prompt_words import ids_text
from napari_sam.session.relinking import Relinking
from napari_sam.tracking import Division, LinkSettings


class Lineage(ObjectCommands):
    """The part of a session that tracks objects over time and records their divisions."""

    tracks_changed: SignalInstance
    _objects: Descent
    _over_time: OverTime
    _relinking: Relinking

    def watch_tracks(self, axis: int | None = None, spacing: Sequence[float] | None = None) -> None:
        """Compute :attr:`tracks` in the background, and keep them up to date with the labels.

        :attr:`tracks_changed` is emitted when :attr:`tracks` or :meth:`suggested_divisions`
        change.

        Parameters
        ----------
        axis
            The time axis; by default the first axis that planes don't span.
        spacing
            Pixel size along (planes,) rows and columns, for distances between objects; 1 by
            default.

        Raises
        ------
        ValueError
            If the image has no such axis, or more than two axes besides those of a plane.
        """
        self._check_open()
        self._over_time.begin(self._time_axis(axis), spacing)

    def stop_watching_tracks(self) -> None:
        """Stop updating :attr:`tracks`, which is None then."""
        self._over_time.end()

    @property
    def tracks(self) -> TrackPoints | None:
        """The position of each object on each frame; None until :meth:`watch_tracks` has run."""
        return self._over_time.points

    def suggested_divisions(self) -> tuple[Division, ...]:
        """Return plausible divisions that are neither confirmed nor rejected, ordered by frame."""
        parents = {facts.parent for facts in self._state.all_facts.values()}
        return tuple(
            one
            for one in self._over_time.divisions
            if one.parent not in parents
            and all(self._state.facts(i).parent is None for i in one.daughters if i != one.parent)
        )

    @property
    def parents(self) -> Mapping[int, int]:
        """The parent of each object whose descent a user confirmed or a file states."""
        known = self._state.all_facts.items()
        return {object_id: facts.parent for object_id, facts in known if facts.parent}

    def link_objects(
        self,
        axis: int | None = None,
        spacing: Sequence[float] | None = None,
        settings: LinkSettings | None = None,
        everything: bool = False,
    ) -> None:
        """Link objects over time, so that each track has one number, as one step.

        This runs in the background. A track gets the number that most of its pixels have. Prompts
        and properties of objects move with their pixels; locked objects stay as they are.
        Confirmed divisions are kept: a daughter is not linked with objects before its first frame.
        Other divisions are only suggested, see :meth:`suggested_divisions`.

        If objects were linked before with the same arguments, only those near frames that have
        changed since are linked again.

        Parameters
        ----------
        axis
            The time axis; by default the first axis that planes don't span.
        spacing
            Pixel size along (planes,) rows and columns; 1 by default.
        settings
            How far objects may move from frame to frame, and how long they may be missing.
        everything
            Whether to link all frames again, also those that have not changed.

        Raises
        ------
        ValueError
            If there are no labels, or the image has no such axis.
        """
        self._check_open()
        how = replace(settings or LinkSettings(), divisions=False)
        sizes = None if spacing is None else tuple(map(float, spacing))
        self._relinking.begin(LinkRequest(self._time_axis(axis), sizes, how), everything)

    def confirm_division(
        self, parent: int, daughters: Sequence[int], frame: int, axis: int | None = None
    ) -> tuple[int, int]:
        """Confirm that an object divided into two daughters, as one step.

        A daughter that has the parent's number gets a new one from this frame on, with its
        prompts. Large labels are searched for the objects in the background, and errors are then
        emitted by :attr:`failed`.

        Parameters
        ----------
        parent
            The object that divided.
        daughters
            The two daughters. One of them may be the parent, if it keeps the parent's number.
        frame
            The first frame after the division: an index along the axis.
        axis
            The time axis; by default the first axis that planes don't span.

        Returns
        -------
        daughters
            The numbers of the daughters after the step.

        Raises
        ------
        ValueError
            If an object is locked, the daughters are not two different objects, or the frames on
            which parent and daughters are present don't fit a division at this frame.
        """
        self._check_open()
        one, other = self._two(daughters)
        new = parent
        if parent in (one, other):
            new = max(self.highest_object, self._table.highest, parent) + 1
        along = self._time_axis(axis)
        count = self.embeddings.source.shape[along]
        if not 0 < frame < count:
            raise ValueError(
                f"expected a division on frames 1 to {count - 1} of axis {along}, got {frame}"
            )
        self._objects.divide(parent, (one, other), along, int(frame), new)
        self._reserved = max(self._reserved, new)
        return (new if one == parent else one), (new if other == parent else other)

    def reject_division(self, parent: int, daughters: Collection[int]) -> None:
        """Reject a division, as one step: the daughters are recorded to have no parent.

        The division is not suggested again.

        Parameters
        ----------
        parent
            The suggested parent.
        daughters
            The suggested daughters. The parent may be one of them; for itself nothing is
            recorded.

        Raises
        ------
        ValueError
            If there is no daughter, an object doesn't exist, or a daughter is locked.
        """
        self._check_open()
        others = set(daughters) - {parent}
        if not others:
            raise ValueError(f"expected daughters of object {parent}, got none but itself")
        missing = sorted({parent, *others}.difference(self.object_ids))
        if missing and not self._table.is_counting:  # until then some may not be known
            raise ValueError(
                f"expected objects that are there, got {ids_text(missing)}, which has no pixels "
                "and no prompts; name those that labels show"
            )
        self._state.check_unlocked(sorted(others))
        self._objects.deny(parent, daughters)

    def _two(self, daughters: Sequence[int]) -> tuple[int, int]:
        if len(daughters) != 2 or daughters[0] == daughters[1]:
            raise ValueError(f"expected two daughters, got {tuple(daughters)}")
        return int(daughters[0]), int(daughters[1])

    def _time_axis(self, axis: int | None) -> int:
        source = self.embeddings.source
        axes = [a for a in range(len(source.shape)) if a not in source.spanned]
        axes = [a for a in axes if a != source.channel_axis]
        if axis is None and axes:
            return axes[0]
        if axis not in axes:
            raise ValueError(
                f"expected an axis of time among {axes}, which planes don't span, got {axis}"
            )
        return axis
