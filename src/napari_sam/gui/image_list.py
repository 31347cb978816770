"""A list of images, such as those of a folder, that are opened in the viewer one at a time.

Each image has its own session, which is resumed when the image is opened again. The layers of the
open image are removed from the viewer only when its whole session is in its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from napari.layers._source import layer_source
from psygnal import Signal

from napari_sam.batch import find_images
from napari_sam.engine import Executor, Outcome, Report
from napari_sam.gui.layers import image_of_masks
from napari_sam.gui.wording import image_count_text
from napari_sam.io import ImageFile, read_image
from napari_sam.session.image_list import ImageList, ImageProgress, ListedImage, list_images
from napari_sam.session.library import Library

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation
    from napari_sam.gui.controller import Controller

_IN_MEMORY = 1 << 30  # bytes; larger images stay on disk and are read plane by plane
_FLUSH_SECONDS = 20.0
_KEY = "image list"


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """An image read from its file, ready to be added as a layer.

    Parameters
    ----------
    path
        The file.
    data
        Its pixels.
    about
        Keyword arguments for napari's ``add_image``: name, whether RGB, scale and axis labels.
    """

    path: Path
    data: Any
    about: dict[str, Any]


class ListedImages:
    """Opens the images of a list in a viewer, one at a time.

    Parameters
    ----------
    controller
        The controller of the viewer.
    executor
        Reads and writes files in the background.

    Attributes
    ----------
    list
        The images, the progress of each, and which is open.
    busy
        The work in progress as text, such as ``Opening cells.tif…``; empty if there is none.
    changed
        Signal: the list or the work in progress changed.
    """

    changed = Signal()

    def __init__(self, controller: Controller, executor: Executor) -> None:
        self._controller = controller
        self._executor = executor
        self.list = ImageList()
        self.busy = ""
        self._wanted: int | None = None  # as soon as the open image's file is made
        self._resuming: Image | None = None  # whose session is found by its content
        controller.keeping.changed.connect(self._keeping_changed)

    def now(self) -> ImageList:
        """Return the list, with the present progress of the open image."""
        current, at, annotation = self.list.current, self.list.at, self._current_annotation()
        if current is None or at is None or annotation is None or self.busy:
            return self.list
        progress: ImageProgress = "begun" if len(annotation.session.journal) else "untouched"
        if self._controller.keeping.is_done:
            progress = "done"
        return self.list.with_image(at, replace(current, progress=progress))

    def open(self, sources: Path | Sequence[Path]) -> None:
        """List the images of a folder, or some images, and open the one worked on last."""
        named = sources if isinstance(sources, Path) else f"{len(sources)} images"
        library = self._controller.keeping.library
        self._run(f"Looking through {named}…", partial(_listed, library, sources), self._listed)

    def go(self, index: int) -> None:
        """Open an image of the list; the session of the present one is kept.

        Raises
        ------
        OSError
            If the session of the present image is in no file, so that it would be lost.
        """
        self._choose_current()
        if index == self.list.at and self._current_annotation() is not None:
            return
        keeping = self._controller.keeping
        if keeping.is_making_file:
            self._wanted = index
            return
        self._wanted = None
        path = self.list.images[index].path
        open_already = self._layer_of(path)
        left = self.list.current
        task = partial(
            _change,
            keeping.flusher(_FLUSH_SECONDS) if self._current_annotation() else _nothing,
            partial(_updated, keeping.library, left, keeping.path) if left else _nothing,
            None if open_already is not None else path,
        )
        self._run(f"Opening {path.name}…", task, partial(self._read, index, open_already))

    def step(self, step: int) -> None:
        """Open the next image (1) or the previous one (-1).

        Raises
        ------
        ValueError
            If there is none.
        OSError
            As for :meth:`go`.
        """
        self.go(self.list.stepped(step))

    def mark_done(self, done: bool) -> None:
        """Mark the open image as done, or as not done.

        Raises
        ------
        ValueError
            If no image of a list is open.
        """
        if self._current_annotation() is None:
            raise ValueError(
                "expected an image of a list, got none; open a folder under Images in the dock"
            )
        self._controller.keeping.mark_done(done)
        self.changed.emit()

    def export(self, to: str, folder: Path, only_accepted: bool = False) -> None:
        """Export the objects of all images that were begun, in a format, to a folder.

        Parameters
        ----------
        to
            One of :data:`~napari_sam.io.exports.FORMATS`. Data sets and tables are one for all
            images, others a file for each. Existing files are never replaced: that is an error.
        folder
            The folder to write to.
        only_accepted
            Whether objects that are only proposed are left out.

        Raises
        ------
        ValueError
            If nothing was done on any image.
        OSError
            If the session of the open image is in no file.
        """
        self._choose_current()
        keeping, images = self._controller.keeping, self.list
        current, at = images.current, images.at
        if current is not None and at is not None and keeping.path is not None:
            images = images.with_image(at, replace(current, session=keeping.path))
        pairs = [(x.session, x.path) for x in images.images if x.session is not None]
        if not pairs:
            raise ValueError("expected an image with objects to export, got none begun")
        flush = keeping.flusher(_FLUSH_SECONDS) if self._current_annotation() else _nothing
        task = partial(_export, flush, pairs, to, folder, only_accepted)
        self._run(f"Exporting {image_count_text(len(pairs))}…", task, self._exported)

    def leave(self) -> None:
        """Forget the list; the open image stays in the viewer."""
        self._executor.cancel(_KEY)
        self.list, self._wanted, self._resuming = ImageList(), None, None
        self.changed.emit()

    # Chores and their results

    def _run(
        self, description: str, task: Callable[[Report], object], done: Callable[[Outcome], None]
    ) -> None:
        self.busy = description

        def ended(outcome: Outcome) -> None:
            if self.busy == description:
                self.busy = ""
            if outcome.error is not None and not outcome.cancelled:
                self._controller.refused.emit(outcome.error)
            elif outcome.error is None:
                try:
                    done(outcome)
                except (ValueError, OSError, MemoryError) as error:
                    self._controller.refused.emit(error)
            self.changed.emit()

        self._executor.chore(_KEY, task, ended)
        self.changed.emit()

    def _listed(self, outcome: Outcome) -> None:
        self.list = outcome.value
        at = self.list.resumed
        self.go(0 if at is None else at)

    def _exported(self, outcome: Outcome) -> None:
        files = outcome.value
        written = files[0].name if len(files) == 1 else f"{len(files)} files"
        self._controller.noticed.emit(f"Exported {written} into {files[0].parent}")

    def _read(self, index: int, layer: Image | None, outcome: Outcome) -> None:
        opened, left = outcome.value
        if left is not None and self.list.at is not None:
            self.list = self.list.with_image(self.list.at, left)
        before = self._current_annotation()
        self.list = self.list.going_to(index)
        if layer is None or layer not in self._controller.viewer.layers:
            layer = self._add(opened)
        if before is not None and before.image is not layer:
            self._take_away(before)
        self._resume(layer)

    def _add(self, opened: OpenedImage) -> Image:
        viewer = self._controller.viewer
        with layer_source(path=str(opened.path)):  # by which its session is found again
            return viewer.add_image(opened.data, **opened.about)

    def _take_away(self, annotation: Annotation) -> None:
        """Remove an image and its layers from the viewer; a user's own labels are hidden."""
        layers = self._controller.viewer.layers
        image, masks = annotation.image, annotation.labels
        mine: list[Layer] = [image, *annotation.prompt_layers]
        if masks is not None and image_of_masks(masks) is image:
            mine.append(masks)
        elif masks is not None:
            masks.visible = False
            self._controller.noticed.emit(f"'{masks.name}' is your own layer, so it stays, hidden")
        for layer in mine:  # the image first: this ends its session while its masks still exist
            if layer in layers:
                layers.remove(layer)

    def _resume(self, image: Image) -> None:
        """Choose an image and resume its session, if it has one."""
        controller, current = self._controller, self.list.current
        assert current is not None
        controller.viewer.layers.selection.active = image
        controller.choose_image(image, click=False)
        controller.viewer.reset_view()
        is_open = controller.keeping.path is not None  # from before the list was opened
        if current.session is not None and not is_open:
            controller.keeping.open(current.session)  # which makes its points layer active
            return
        self._resuming = None if is_open else image
        if controller.annotation is not None:
            controller.annotation.click_here()

    def _keeping_changed(self) -> None:
        keeping, annotation = self._controller.keeping, self._controller.annotation
        if self._wanted is not None and not keeping.is_making_file:
            try:
                self.go(self._wanted)
            except OSError as error:
                self._wanted = None
                self._controller.refused.emit(error)
        found = keeping.found
        if annotation is None or annotation.image is not self._resuming or found is None:
            return
        self._resuming = None
        is_moved = not found.source or not Path(found.source).exists()
        if is_moved and not len(annotation.session.journal):  # for a copy, the dock asks
            keeping.answer(True)

    def _choose_current(self) -> None:
        """Choose the list's open image, if it is in the viewer."""
        current = self.list.current
        layer = None if current is None else self._layer_of(current.path)
        if layer is not None and layer is not self._controller.image:
            self._controller.choose_image(layer, click=False)

    def _current_annotation(self) -> Annotation | None:
        """Return the annotation of the list's open image; None if another image is chosen."""
        current, annotation = self.list.current, self._controller.annotation
        if current is None or annotation is None or not _is_of(annotation.image, current.path):
            return None
        return annotation

    def _layer_of(self, path: Path) -> Image | None:
        return next((x for x in self._controller.images() if _is_of(x, path)), None)


def layer_data(image: ImageFile, path: Path) -> OpenedImage:
    """Return an image ready for a layer: in memory, or as a dask array of planes if large."""
    data: Any = image.data
    size = int(np.prod(data.shape)) * np.dtype(data.dtype).itemsize
    if size <= _IN_MEMORY:
        data = np.asarray(data)
    elif not isinstance(data, np.ndarray):
        import dask.array

        chunks = (*(1 for _ in image.plane_axes), *data.shape[len(image.plane_axes) :])
        data = dask.array.from_array(data, chunks=chunks)
    axes = image.axes[:-1] if image.is_rgb else image.axes
    sizes = image.pixel_size or {}
    about = {
        "name": path.name.removesuffix(path.suffix).removesuffix(".ome"),
        "rgb": image.is_rgb,
        "scale": [sizes.get(axis, 1.0) for axis in axes],
        "axis_labels": tuple(axis.lower() for axis in axes),
    }
    return OpenedImage(path, data, about)


def _is_of(image: Image, path: Path) -> bool:
    return image.source.path is not None and Path(image.source.path).absolute() == path.absolute()


def _listed(library: Library, sources: Path | Sequence[Path], report: Report) -> ImageList:
    found = find_images(sources)
    return list_images([path.absolute() for path in found], library.sessions())


def _change(
    flush: Callable[[], object],
    update: Callable[[], ListedImage | None],
    path: Path | None,
    report: Report,
) -> tuple[OpenedImage | None, ListedImage | None]:
    """Read an image, and flush and list the previous one; return both."""
    opened = None if path is None else layer_data(read_image(path), path)
    flush()
    return opened, update()


def _export(
    flush: Callable[[], object],
    pairs: Sequence[tuple[Path, Path]],
    to: str,
    folder: Path,
    only_accepted: bool,
    report: Report,
) -> list[Path]:
    """Export the objects of sessions with their images."""
    from napari_sam.batch.exporting import export_sessions
    from napari_sam.io.exports import format_of, proposed_name

    flush()
    form, target = format_of(to), folder
    if form.joins:
        target = folder / proposed_name(form, pairs[0][1].parent.name)
    sessions, images = zip(*pairs, strict=True)
    return export_sessions(sessions, to, target, images, only_accepted=only_accepted, report=report)


def _updated(library: Library, left: ListedImage, session: Path | None) -> ListedImage:
    return left if session is None else left.after(library.describe(session))


def _nothing() -> None:
    return None
