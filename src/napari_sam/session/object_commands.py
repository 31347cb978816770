"""What a user does with whole objects: go to one, lock, accept, classify, join, cut and delete."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

from napari_sam.planes import Plane
from napari_sam.prompts import Box
from napari_sam.session.importing import Imports, ReadObjects
from napari_sam.session.journal import BY_MACHINE
from napari_sam.session.object_classes import ObjectClass
from napari_sam.session.object_table import ObjectRow, ObjectTable
from napari_sam.session.objects import Objects
from napari_sam.session.prompting import Prompting, as_point, check_number
from napari_sam.session.proofreading import Queue


class ObjectCommands(Prompting):
    """The part of a session that is about whole objects."""

    _objects: Objects
    _table: ObjectTable
    _queue: Queue
    _imports: Imports

    # What there is

    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """Every object that has pixels or prompts, by number.

        Labels are counted when this is first asked for, large ones in the background: until
        :attr:`objects_changed` tells that all may have changed, some rows may be missing.
        """
        return self._table.rows

    @property
    def object_ids(self) -> Sequence[int]:
        """The numbers of all :attr:`objects`, ascending; for a table that shows a few at a time."""
        return self._table.ids

    @property
    def class_names(self) -> dict[int, str]:
        """The class of every object that has one."""
        known = self._state.all_facts.items()
        return {object_id: facts.class_name for object_id, facts in known if facts.class_name}

    def object_row(self, object_id: int) -> ObjectRow | None:
        """Return what :attr:`objects` tells of one object; None if there is no such object."""
        return self._table.row(object_id)

    @property
    def queue(self) -> Queue:
        """Offers objects that a machine made, the most doubtful first, until each is accepted."""
        return self._queue

    def object_place(self, object_id: int, near: object = None) -> tuple[Plane, Box] | None:
        """Return where an object can be seen.

        Parameters
        ----------
        object_id
            The object.
        near
            Index of a plane: that one, if the object is on it; otherwise the one where it is
            largest.

        Returns
        -------
        plane, box
            A plane and a rectangle around its pixels there (row 0, column 0, row 1, column 1),
            ends inclusive; it may be larger than it had to be. None if it has no pixels.
        """
        plane = None if near is None else self.embeddings.source.plane_of(near)
        return self._table.place(object_id, plane)

    @property
    def is_counting(self) -> bool:
        """Whether labels are being counted, so that rows of :attr:`objects` may be missing."""
        return self._table.is_counting

    @property
    def object_id(self) -> int:
        """The current object, which new prompts speak of; also its label."""
        return self._state.object_id

    @object_id.setter
    def object_id(self, object_id: int) -> None:
        check_number(object_id)
        self._state.object_id = int(object_id)
        self._tell_object()

    @abstractmethod
    def _tell_object(self) -> None:
        """Tell if another object is current."""

    def new_object(self) -> int:
        """Make an object current that has no prompts and no label yet; return its number."""
        self.object_id = self.highest_object + 1
        return self.object_id

    def step_object(self, step: int) -> None:
        """Go to the object `step` places after the current one, among those with prompts."""
        ids = sorted({*self.prompts.object_ids, self.object_id})
        self.object_id = ids[(ids.index(self.object_id) + step) % len(ids)]

    def reserve(self, highest_label: int) -> None:
        """Keep new objects above the labels that a picked labels layer holds already."""
        self._reserved = max(self._reserved, int(highest_label))
        if self.object_id <= self._reserved and self.object_id not in self.prompts.object_ids:
            self.new_object()

    # What is known of them

    def lock(self, object_ids: Iterable[int], locked: bool = True) -> None:
        """Let nothing change some objects, or anything again.

        Prompts for a locked object are refused, its pixels are kept from masks, from runs and
        from painting.
        """
        self._check_open()
        self._objects.lock(object_ids, locked)

    def accept(self, object_ids: Iterable[int], accepted: bool | None = True) -> None:
        """Say that objects are right, as one step.

        What was clicked, painted or corrected counts as accepted when another object becomes
        current; what was found, carried or adopted only when this is said.

        Parameters
        ----------
        object_ids
            The objects.
        accepted
            False says that they aren't; None takes back whatever was said.
        """
        self._check_open()
        self._objects.accept(object_ids, accepted)

    @property
    def classes(self) -> tuple[ObjectClass, ...]:
        """The classes that objects can have, in their order."""
        return self._state.classes

    def set_classes(self, classes: Iterable[ObjectClass]) -> None:
        """Have other classes, as one step; objects of those that are gone have none then.

        Raises
        ------
        ValueError
            If two have the same name or key.
        """
        self._check_open()
        self._objects.set_classes(classes)

    def rename_class(self, name: str, new: str) -> None:
        """Call a class by another name, with all its objects.

        Raises
        ------
        ValueError
            If there is no such class, or one of that name already.
        """
        self._check_open()
        self._objects.rename_class(name, new)

    def set_class(self, object_ids: Iterable[int], name: str) -> None:
        """Give objects a class, as one step.

        Parameters
        ----------
        object_ids
            The objects.
        name
            Of one of :attr:`classes`; empty for none.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        self._check_open()
        self._objects.set_class(object_ids, name)

    # Changing them

    def import_objects(self, read: ReadObjects, name: str) -> None:
        """Write objects of a file where the labels are free, as one step.

        The file is read in the background; :attr:`failed` tells what can't be done. In labels
        that are empty the objects keep their numbers, else they get new ones. Those that the file
        tells to be accepted or locked are.

        Parameters
        ----------
        read
            Reads the file, as :func:`napari_sam.io.imports.read_objects` does.
        name
            Of the file.

        Raises
        ------
        ValueError
            If there are no labels to write into.
        """
        self._check_open()
        self._imports.begin(read, name)

    def delete_object(self, object_id: int, plane: object = None) -> None:
        """Delete an object: its prompts and all pixels that have its number.

        Parameters
        ----------
        object_id
            The object.
        plane
            Where; everywhere by default. In large labels it is looked for in the background.

        Raises
        ------
        ValueError
            If it is locked.
        """
        self.delete_objects([object_id], plane)

    def delete_objects(self, object_ids: Iterable[int], plane: object = None) -> None:
        """Delete objects on all planes or on one, as one step; see :meth:`delete_object`.

        Raises
        ------
        ValueError
            If one of them is locked.
        """
        self._check_open()
        at = None if plane is None else self.embeddings.source.plane_of(plane)
        self._objects.delete(object_ids, at)

    def merge_objects(self, object_id: int, other: int) -> None:
        """Make another object a part of an object: its prompts and pixels become the latter's.

        Parameters
        ----------
        object_id
            The object that stays. Of two boxes on a plane, its own stays.
        other
            The object that goes.

        Raises
        ------
        ValueError
            If one of them is locked, or both are the same.
        """
        self._check_open()
        self._objects.merge(object_id, other)

    def found_objects(self, plane: object = ()) -> list[int]:
        """Return the objects of a plane that a machine made and nobody has clicked or locked."""
        self._check_open()
        at = self.embeddings.source.plane_of(plane)
        rows = (row for row in self._table.rows if at in row.planes and not row.prompts)
        return [row.id for row in rows if row.origin in BY_MACHINE and row.state != "locked"]

    def grow_objects(
        self, pixels: int, plane: object = (), object_ids: Iterable[int] | None = None
    ) -> None:
        """Move the outlines of objects on a plane outwards, or inwards, as one step.

        They grow into the background alone, and one that would vanish stays as it is. What is
        predicted later is not moved.

        Parameters
        ----------
        pixels
            How far; below 0 inwards.
        plane
            Index of the plane.
        object_ids
            The objects; by default the :meth:`found_objects`.

        Raises
        ------
        ValueError
            If one of them is locked, or there are no labels.
        """
        self._check_open()
        at = self.embeddings.source.plane_of(plane)
        ids = self.found_objects(at) if object_ids is None else object_ids
        self._objects.grow(ids, at, int(pixels))

    def split_object(self, object_id: int, plane: object, path: Sequence[Sequence[float]]) -> int:
        """Cut an object in two on a plane: the larger part keeps the number.

        What is predicted of the object later stays on its side.

        Parameters
        ----------
        object_id
            The object.
        plane
            Index of the plane.
        path
            Vertices (row, column) of a stroke across, in pixels of the plane.

        Returns
        -------
        new
            The number of the rest, which is an object of its own, of the same class.

        Raises
        ------
        ValueError
            If the object is locked or not there, or the stroke leaves it in one piece.
        """
        self._check_open()
        vertices = [as_point(vertex) for vertex in path]
        if len(vertices) < 2:
            raise ValueError(
                f"expected a stroke of two vertices or more, got {len(vertices)}; draw it across "
                "the object"
            )
        new = max(self.highest_object, self._table.highest, object_id) + 1
        self._objects.split(object_id, self.embeddings.source.plane_of(plane), vertices, new)
        self._reserved = max(self._reserved, new)
        return new

    def renumber(self, object_id: int, new: int) -> None:
        """Give an object another number, which nothing has yet.

        Raises
        ------
        ValueError
            If it is locked, or something has the new number. In large labels that is found out
            in the background, and told by :attr:`failed`.
        """
        self._check_open()
        check_number(new)
        self._objects.renumber(object_id, new)
