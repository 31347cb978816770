"""Objects that divide over time: what a user says of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from psygnal import SignalInstance

from napari_sam.session.descent import Descent
from napari_sam.session.linked import LinkRequest
from napari_sam.session.object_commands import ObjectCommands
from napari_sam.session.over_time import OverTime, TrackPoints
from napari_sam.session.prompt_words import told_ids
from napari_sam.session.relinking import Relinking
from napari_sam.tracking import Division, LinkSettings


class Lineage(ObjectCommands):
    """The part of a session that knows which object descends from which."""

    tracks_changed: SignalInstance
    _objects: Descent
    _over_time: OverTime
    _relinking: Relinking

    def watch_tracks(self, axis: int | None = None, spacing: Sequence[float] | None = None) -> None:
        """Look at the labels of all frames in the background, and again where they change.

        :attr:`tracks_changed` tells when :attr:`tracks` and :meth:`suggested_divisions` are
        others.

        Parameters
        ----------
        axis
            Of time; by default the first that planes don't span.
        spacing
            Distance of neighbouring pixels along (planes,) rows and columns, which decides what
            is near; 1 by default.

        Raises
        ------
        ValueError
            If the image has no such axis, or more than two axes beside those of a plane.
        """
        self._check_open()
        self._over_time.begin(self._time_axis(axis), spacing)

    def stop_watching_tracks(self) -> None:
        """Look at labels no more; :attr:`tracks` is None then."""
        self._over_time.end()

    @property
    def tracks(self) -> TrackPoints | None:
        """Where each object is on each frame; None until labels were looked at."""
        return self._over_time.points

    def suggested_divisions(self) -> tuple[Division, ...]:
        """Return divisions that are plausible and of which nobody has said anything, by frame."""
        parents = {facts.parent for facts in self._state.all_facts.values()}
        return tuple(
            one
            for one in self._over_time.divisions
            if one.parent not in parents
            and all(self._state.facts(i).parent is None for i in one.daughters if i != one.parent)
        )

    @property
    def parents(self) -> Mapping[int, int]:
        """The object that an object descends from, where a user, or a file, said so."""
        known = self._state.all_facts.items()
        return {object_id: facts.parent for object_id, facts in known if facts.parent}

    def link_objects(
        self,
        axis: int | None = None,
        spacing: Sequence[float] | None = None,
        settings: LinkSettings | None = None,
        everything: bool = False,
    ) -> None:
        """Give the objects of all frames one number for each track, in the background, as one step.

        An object keeps the number that most of it has. Prompts and what is known go with the
        pixels; locked objects stay as they are. A division that was confirmed stays: a daughter is
        linked with nothing before its first frame. Others are left to be confirmed:
        :meth:`suggested_divisions`.

        Where objects were linked before in the same way, only those around the frames on which
        something has changed since are linked anew; the others stay what they are.

        Parameters
        ----------
        axis
            Of time; by default the first that planes don't span.
        spacing
            Distance of neighbouring pixels along (planes,) rows and columns; 1 by default.
        settings
            How far objects move, and how long they may be missing.
        everything
            Whether all frames are linked anew, whatever has changed.

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
        """Say that an object has become two others, as one step.

        The number of each is its own from there on: where that of the parent goes on in one of
        the two, this daughter gets a new one, with its prompts. In large labels objects are
        looked for in the background, and :attr:`failed` tells what can't be done.

        Parameters
        ----------
        parent
            The object, on frames before.
        daughters
            The two that it has become. One may be the parent, where its number goes on.
        frame
            The first frame that both are on, or could be: an index along the axis.
        axis
            Of time; by default the first that planes don't span.

        Returns
        -------
        daughters
            Their numbers from now on.

        Raises
        ------
        ValueError
            If an object is locked, the two are not two, or they are not where parent and
            daughters have to be.
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
        """Say that objects don't descend from another one, nor from any, as one step.

        It is not suggested again.

        Parameters
        ----------
        parent
            The object.
        daughters
            The others; the parent itself may be among them, of which nothing is said.

        Raises
        ------
        ValueError
            If there are none, or an object isn't there, or a daughter is locked.
        """
        self._check_open()
        others = set(daughters) - {parent}
        if not others:
            raise ValueError(f"expected daughters of object {parent}, got none but itself")
        missing = sorted({parent, *others}.difference(self.object_ids))
        if missing and not self._table.is_counting:  # until then some may not be known
            raise ValueError(
                f"expected objects that are there, got {told_ids(missing)}, which has no pixels "
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
