"""Commands on whole objects: go to, lock, accept, classify, merge, split and delete them."""

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
    """The part of a session with the commands on whole objects."""

    _objects: Objects
    _table: ObjectTable
    _queue: Queue
    _imports: Imports

    # Access

    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """Every object that has pixels or prompts, in the order of their numbers.

        The labels are read when this is first accessed; if they are large, in the background.
        While :attr:`is_counting`, rows may be missing; :attr:`objects_changed` is emitted when
        they are there.
        """
        return self._table.rows

    @property
    def object_ids(self) -> Sequence[int]:
        """The numbers of all :attr:`objects`, ascending; fast, since no rows are built."""
        return self._table.ids

    @property
    def class_names(self) -> dict[int, str]:
        """The class name of every object that has a class, by object."""
        known = self._state.all_facts.items()
        return {object_id: facts.class_name for object_id, facts in known if facts.class_name}

    def object_row(self, object_id: int) -> ObjectRow | None:
        """Return the row of one object, as in :attr:`objects`; None if there is no such object."""
        return self._table.row(object_id)

    @property
    def queue(self) -> Queue:
        """The proofreading queue: found objects that are not accepted yet, most doubtful first."""
        return self._queue

    def object_place(self, object_id: int, near: object = None) -> tuple[Plane, Box] | None:
        """Return a plane on which an object has pixels, and a rectangle around them.

        Parameters
        ----------
        object_id
            The object.
        near
            Index of the preferred plane. By default, and if the object is not on it, the plane
            on which the object is largest.

        Returns
        -------
        plane, box
            The plane, and (row 0, column 0, row 1, column 1) around the object in its pixels,
            ends inclusive; the rectangle may be larger than the object. None if the object has no
            pixels.

        Raises
        ------
        ValueError
            If the plane `near` doesn't exist.
        """
        plane = None if near is None else self.embeddings.source.plane_of(near)
        return self._table.place(object_id, plane)

    @property
    def is_counting(self) -> bool:
        """Whether labels are still being read, so that rows of :attr:`objects` may be missing."""
        return self._table.is_counting

    @property
    def object_id(self) -> int:
        """Number of the current object, to which new prompts belong; also the value of its label.

        Assign another number to make that object current; it need not exist yet.
        """
        return self._state.object_id

    @object_id.setter
    def object_id(self, object_id: int) -> None:
        check_number(object_id)
        self._state.object_id = int(object_id)
        self._emit_object()

    @abstractmethod
    def _emit_object(self) -> None:
        """Emit a signal if another object is current."""

    def new_object(self) -> int:
        """Make a new object current, without prompts or pixels, and return its number."""
        self.object_id = self.highest_object + 1
        return self.object_id

    def step_object(self, step: int) -> None:
        """Make the object `step` places after the current one current.

        Only objects with prompts count, in the order of their numbers; after the last one comes
        the first.
        """
        ids = sorted({*self.prompts.object_ids, self.object_id})
        self.object_id = ids[(ids.index(self.object_id) + step) % len(ids)]

    def reserve(self, highest_label: int) -> None:
        """Give later objects numbers above `highest_label`, so that they meet no existing label."""
        self._reserved = max(self._reserved, int(highest_label))
        if self.object_id <= self._reserved and self.object_id not in self.prompts.object_ids:
            self.new_object()

    # Properties

    def lock(self, object_ids: Iterable[int], locked: bool = True) -> None:
        """Lock objects against changes, or unlock them, as one step.

        Prompts for a locked object raise a ValueError, and its pixels are protected from masks of
        other objects, from runs and from painting.

        Parameters
        ----------
        object_ids
            The objects.
        locked
            False unlocks them.
        """
        self._check_open()
        self._objects.lock(object_ids, locked)

    def accept(self, object_ids: Iterable[int], accepted: bool | None = True) -> None:
        """Mark objects as accepted or rejected, as one step.

        An object that was clicked, painted or corrected counts as accepted once another object
        becomes current. One that was found, followed or adopted is only accepted by this method.

        Parameters
        ----------
        object_ids
            The objects.
        accepted
            True accepts the objects, False rejects them, None removes either mark.
        """
        self._check_open()
        self._objects.accept(object_ids, accepted)

    @property
    def classes(self) -> tuple[ObjectClass, ...]:
        """The classes that objects can have, in the order in which they are listed."""
        return self._state.classes

    def set_classes(self, classes: Iterable[ObjectClass]) -> None:
        """Replace the classes, as one step; objects of a class that is removed have none then.

        Parameters
        ----------
        classes
            All classes, in the order in which they are listed.

        Raises
        ------
        ValueError
            If two classes have the same name or key.
        """
        self._check_open()
        self._objects.set_classes(classes)

    def rename_class(self, name: str, new: str) -> None:
        """Rename a class, as one step; its objects keep it.

        Parameters
        ----------
        name, new
            The present name and the new one.

        Raises
        ------
        ValueError
            If there is no class `name`, or another class is already called `new`.
        """
        self._check_open()
        self._objects.rename_class(name, new)

    def set_class(self, object_ids: Iterable[int], name: str) -> None:
        """Assign a class to objects, as one step.

        Parameters
        ----------
        object_ids
            The objects.
        name
            Name of one of the :attr:`classes`; empty removes the class.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        self._check_open()
        self._objects.set_class(object_ids, name)

    # Changes

    def import_objects(self, read: ReadObjects, name: str) -> None:
        """Import the objects of a file into the background of the labels, as one step.

        The file is read in the background; errors are emitted by :attr:`failed`. If the labels
        are empty the objects keep their numbers, otherwise they get new ones. Objects that the
        file marks as accepted or locked stay so.

        Parameters
        ----------
        read
            Function that reads the file, such as :func:`napari_sam.io.imports.read_objects`.
        name
            Name of the file, for the history and messages.

        Raises
        ------
        ValueError
            If there are no labels to write into.
        """
        self._check_open()
        self._imports.begin(read, name)

    def delete_object(self, object_id: int, plane: object = None) -> None:
        """Delete an object, as one step: its prompts and all its pixels.

        Parameters
        ----------
        object_id
            The object.
        plane
            Index of the plane on which to delete it; by default all planes. Large labels are
            searched for the object in the background.

        Raises
        ------
        ValueError
            If the object is locked, or the plane doesn't exist.
        """
        self.delete_objects([object_id], plane)

    def delete_objects(self, object_ids: Iterable[int], plane: object = None) -> None:
        """Delete objects, as one step; see :meth:`delete_object`.

        Parameters
        ----------
        object_ids
            The objects.
        plane
            As for :meth:`delete_object`.

        Raises
        ------
        ValueError
            If one of them is locked, or the plane doesn't exist.
        """
        self._check_open()
        at = None if plane is None else self.embeddings.source.plane_of(plane)
        self._objects.delete(object_ids, at)

    def merge_objects(self, object_id: int, other: int) -> None:
        """Merge another object into an object, as one step, with its prompts and pixels.

        Parameters
        ----------
        object_id
            The object that remains. Where both have a box on a plane, its own box is kept.
        other
            The object that is merged into it and disappears.

        Raises
        ------
        ValueError
            If one of them is locked, or both are the same.
        """
        self._check_open()
        self._objects.merge(object_id, other)

    def found_objects(self, plane: object = ()) -> list[int]:
        """Return the objects of a plane that were made by a model and neither prompted nor locked.

        Parameters
        ----------
        plane
            Index of the plane, as for :meth:`add_point`.
        """
        self._check_open()
        at = self.embeddings.source.plane_of(plane)
        rows = (row for row in self._table.rows if at in row.planes and not row.prompts)
        return [row.id for row in rows if row.origin in BY_MACHINE and row.state != "locked"]

    def grow_objects(
        self, pixels: int, plane: object = (), object_ids: Iterable[int] | None = None
    ) -> None:
        """Grow or shrink objects on a plane by some pixels, as one step.

        Objects grow only into the background, and an object that would vanish stays as it is.
        Later predictions are not affected.

        Parameters
        ----------
        pixels
            The distance by which outlines move outwards; negative moves them inwards.
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
        """Split an object on a plane along a stroke, as one step; the largest part is kept.

        Later predictions of the object do not take the other parts back.

        Parameters
        ----------
        object_id
            The object.
        plane
            Index of the plane.
        path
            `(N, 2)` vertices (row, column) of a stroke across the object, in pixels of the plane.

        Returns
        -------
        new
            The number of the new object with the other parts, of the same class.

        Raises
        ------
        ValueError
            If the object is locked or not on the plane, or the stroke doesn't cut it in two.
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
        """Give an object another, unused number, as one step.

        Parameters
        ----------
        object_id
            The present number.
        new
            The new number.

        Raises
        ------
        ValueError
            If the object is locked, or the new number is already used. Large labels are searched
            for that in the background, and the error is emitted by :attr:`failed`.
        """
        self._check_open()
        check_number(new)
        self._objects.renumber(object_id, new)
