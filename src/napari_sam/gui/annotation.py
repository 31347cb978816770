"""One image being annotated: its session and the layers that edit and show it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from napari.layers import Image, Labels, Layer, Points, Shapes
from psygnal import Signal

from napari_sam.engine import Executor
from napari_sam.gui.channels import Chosen
from napari_sam.gui.clicks import ClickEditor
from napari_sam.gui.delay import Delay
from napari_sam.gui.drafts import DraftPictures
from napari_sam.gui.keys import Keys, run_action
from napari_sam.gui.layers import (
    fits,
    forget_masks,
    has_large_planes,
    image_of_masks,
    is_painted,
    new_labels,
    new_points,
    new_shapes,
    note_masks,
)
from napari_sam.gui.live_source import LiveSource
from napari_sam.gui.mask_writer import MaskWriter
from napari_sam.gui.navigation import bring_into_view, show_plane
from napari_sam.gui.offered_outline import OfferedOutline
from napari_sam.gui.placement import Followers, shape_text
from napari_sam.gui.planes import (
    plane_and_point,
    plane_name,
    scrolled_axis,
    slider_axes,
    source_of,
)
from napari_sam.gui.scene import is_gone
from napari_sam.gui.shape_rows import Kind
from napari_sam.gui.shapes import ShapeEditor
from napari_sam.gui.slicing import data_of_world, geometry_on_screen
from napari_sam.gui.view import View
from napari_sam.prompts import Box
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session import Plane, Session

if TYPE_CHECKING:
    from napari.components import ViewerModel

L = TypeVar("L", bound=Layer)

Tool = Literal["", "inside", "outside", "box", "stroke", "lasso"]
"""What a click or drag in the canvas marks or draws; empty while it is no prompt."""

_LABELS_MS = 50  # after which the dock has appeared


class Annotation:
    """The session of one image layer, its prompt layers and its masks.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    segmenter
        The model; None while it is loading.
    executor, max_bytes, prefetch
        As for :class:`~napari_sam.session.Session`.

    Attributes
    ----------
    chosen_axis
        The axis of the image along which a user wants objects to be followed; None for the one
        that was scrolled last.
    refused
        Signal: an action of the user failed; emits the error.
    layers_changed
        Signal: a labels layer was chosen, created or deleted, or the model gets other channels.
    view_moved
        Signal: the view moved, so that the mouse is over another place in the image.
    """

    refused = Signal(object)
    layers_changed = Signal()
    view_moved = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        segmenter: Segmenter | None,
        executor: Executor,
        max_bytes: int,
        prefetch: int,
    ) -> None:
        self.image = image
        self._viewer = viewer
        source = source_of(image, viewer.dims)
        self.session = Session(segmenter, source, executor, max_bytes, prefetch)
        self.session.failed.connect(self._refuse)
        self.keys = Keys(partial(run_action, viewer, self._refuse))
        self._followers = Followers(
            image, self._moved, partial(geometry_on_screen, viewer.dims, image)
        )
        viewer.dims.events.units.connect(self._followers.follow)
        self.masks = MaskWriter(self.session, image, executor, self._make_labels, self._refuse)
        self.clicks: ClickEditor | None = None
        self.shapes: ShapeEditor | None = None
        self.chosen_axis: int | None = None
        self._sign = 1
        self._wants_new_labels = False
        self._labelling = Delay(_LABELS_MS, self._make_first_labels)
        self._reporting = Delay(0, self._layers_changed)
        self._losing = Delay(0, self._lose_labels)
        self.drafts = DraftPictures(
            viewer, image, self.session, self.displayed, lambda: self.masks.layer
        )
        self.offered = OfferedOutline(viewer, image, self.session, self.displayed)
        self._source = LiveSource(viewer, image, source, self.session, executor)
        self._view = View(viewer, image, self._source, self.session, self._show_marks)
        self._source.changed.connect(self._view.show)
        self._source.channels_changed.connect(self._layers_changed)
        self._source.grown.connect(self.masks.check)
        self._source.ended.connect(self._end)
        self._source.refused.connect(self._refuse)
        self.session.prompts_changed.connect(self._show_prompts)
        self.keys.bind(image)
        self.show()

    @property
    def points(self) -> Points | None:
        """The layer that takes clicks; None until it is needed."""
        return self.clicks.layer if self.clicks else None

    @property
    def prompt_layers(self) -> list[Points | Shapes]:
        """The layers that take clicks and shapes, of those that exist."""
        own = (self.points, self.shapes.layer if self.shapes else None)
        return [layer for layer in own if layer is not None]

    @property
    def layers(self) -> list[Layer]:
        """Every layer of this annotation, the image first."""
        masks = [] if self.masks.layer is None else [self.masks.layer]
        return [self.image, *masks, *self.prompt_layers]

    def bring_into_view(self, plane: Plane, box: Box) -> None:
        """Show a plane so that a box (row 0, column 0, row 1, column 1) fills much of the view."""
        if bring_into_view(self._viewer, self.image, plane, box):
            self.view_moved.emit()

    def show_plane(self, plane: Plane) -> None:
        """Scroll to a plane; it must span the two axes on screen."""
        show_plane(self._viewer, self.image, plane)

    @property
    def is_restretched(self) -> bool:
        """Whether contrast or colours have changed and the model will get them in a moment."""
        return self._source.is_pending

    @property
    def channels(self) -> Chosen | None:
        """What the model sees as red, green and blue; None for the image as it is."""
        return self._source.channels

    @channels.setter
    def channels(self, channels: Chosen | None) -> None:
        self._source.channels = channels

    @property
    def sign(self) -> int:
        """What a left click marks: 1 inside, 0 outside; a right click marks the opposite."""
        return self._sign

    @sign.setter
    def sign(self, sign: int) -> None:
        self._sign = sign
        self.layers_changed.emit()

    @property
    def new_each_click(self) -> bool:
        """Whether a left click on the background begins an object each time."""
        return self.session.new_each_click

    @new_each_click.setter
    def new_each_click(self, on: bool) -> None:
        self.session.new_each_click = on
        self.layers_changed.emit()

    @property
    def tool(self) -> Tool:
        """What the next click or drag in the canvas marks or draws; empty if it is no prompt."""
        active = self._viewer.layers.selection.active
        if self.clicks is not None and active is self.clicks.layer and active.mode == "add":
            return "inside" if self._sign else "outside"
        if self.shapes is not None and active is self.shapes.layer:
            return self.shapes.tool or ""
        return ""

    @property
    def labels(self) -> Labels | None:
        """The layer that masks are written to; None if the next mask gets a new layer."""
        return self.masks.layer

    @labels.setter
    def labels(self, layer: Labels | None) -> None:
        before = self.masks.layer
        try:
            self.masks.layer = layer
        except ValueError as error:
            self.refused.emit(error)
        else:
            if before is not None:
                self.keys.unbind(before)
                if not self._followers.follows(before):
                    self._followers.forget(before)
            self._wants_new_labels = layer is None
            if layer is not None:
                self.keys.bind(layer)
                if image_of_masks(layer) is self.image:
                    self._followers.take_up(layer)
                else:
                    self._followers.watch(layer)
        self.layers_changed.emit()

    def displayed(self) -> Plane | None:
        """Return the plane on screen; None in 3-D, outside the image, or if its data changed."""
        return self._view.displayed()

    def plane_name(self, plane: Plane) -> str:
        """Return the position of a plane as text, with those projected onto it; empty in 2-D."""
        return plane_name(self.image, plane, self._source.now)

    def plane_to_prompt(self) -> Plane:
        """Return the plane on screen, as it is shown now.

        Raises
        ------
        ValueError
            In the 3-D view, outside the image, or if the layer holds another image by now.
        """
        return self._view.plane_to_prompt()

    def scrolled_axis(self, plane: Plane | None) -> int | None:
        """Return the axis that planes are scrolled along: the innermost, channels last."""
        return None if plane is None else scrolled_axis(self.image, self._source.now, plane)

    def follow_axes(self, plane: Plane) -> list[int]:
        """Return the axes along which objects can be followed from a plane; none in 2-D."""
        return slider_axes(self.image, self._source.now, plane)

    def follow_axis(self, plane: Plane | None) -> int | None:
        """Return the axis along which objects are followed from a plane; None in 2-D.

        That is the one that was chosen, else the one that was scrolled last.
        """
        axes = [] if plane is None else self.follow_axes(plane)
        wanted = (self.chosen_axis, self.session.follow_axis, self.scrolled_axis(plane))
        return next((axis for axis in wanted if axis in axes), None)

    def planes_along(self, axis: int) -> list[Plane]:
        """Return all planes along an axis, from the one on screen.

        Raises
        ------
        ValueError
            If no plane of the image is on screen.
        """
        plane = self.plane_to_prompt()
        length = self.session.source.shape[axis]
        return [(*plane[:axis], i, *plane[axis + 1 :]) for i in range(length)]

    def read_all_planes(self) -> None:
        """Embed all planes along the scrolled axis whenever no other work is waiting.

        Raises
        ------
        ValueError
            If no plane of a stack is on screen.
        """
        axis = self.scrolled_axis(self.plane_to_prompt())
        if axis is None:
            raise ValueError("expected a stack, whose planes are read ahead, got a single plane")
        self.session.read_all(self.planes_along(axis))

    def show(self) -> None:
        """Pass the plane on screen to the session."""
        self._view.show()

    def click_here(self) -> None:
        """Make the points layer active and ready for clicks; create it if it is missing."""
        points = self._points_layer()
        self._lose_labels()
        if self.masks.layer is None and not self._wants_new_labels:
            self._find_labels()
        self._viewer.layers.selection.active = points
        points.mode = "add"

    def draw(self, kind: Kind) -> None:
        """Make the shapes layer active and ready for a box, a stroke or a lasso."""
        editor = self._shape_editor()
        self._viewer.layers.selection.active = editor.layer
        editor.draw(kind)

    def draw_box(self) -> None:
        """Make the shapes layer active and ready for a box."""
        self.draw("box")

    def new_object(self) -> None:
        """Make a new object current, which the next click, box or brush stroke belongs to."""
        self.session.new_object()
        self.sign = 1  # nothing can be taken away from an empty object
        active = self._viewer.layers.selection.active
        if not (self.tool or (active is self.masks.layer and is_painted(active))):
            self.click_here()

    def flip_selected(self) -> bool:
        """Turn the prompts selected in the active layer from inside to outside, or back.

        Returns
        -------
        flipped
            Whether any prompt was flipped; none is while clicks add prompts.

        Raises
        ------
        ValueError
            If a selected prompt belongs to a locked object.
        """
        active = self._viewer.layers.selection.active
        editors = (self.clicks, self.shapes)
        return any(e is not None and e.layer is active and e.flip_selected() for e in editors)

    def go_to_object_under_cursor(self) -> None:
        """Make the object under the mouse current; the view stays where it is."""
        try:
            plane = self.plane_to_prompt()
            world = self._viewer.cursor.position
            at = data_of_world(self._viewer.dims, self.image, world)
            self.session.go_to(*plane_and_point(at, plane))
        except (ValueError, OSError) as error:
            self.refused.emit(error)

    def add_labels(self, layer: Labels) -> Labels:
        """Add a labels layer below the prompts; it moves with the image."""
        layers = self._viewer.layers
        below = layers.index(self.points) if self.points in layers else len(layers)
        self._followers.add(layer)
        return self._insert(layer, below)

    def stop_prompting(self) -> bool:
        """Let clicks and drags move the view again.

        Returns
        -------
        stopped
            Whether they added prompts before.
        """
        adding = [layer for layer in self.prompt_layers if str(layer.mode).startswith("add")]
        for layer in adding:
            layer.mode = "pan_zoom"
        return bool(adding)

    def forget_layer(self, layer: Layer) -> bool:
        """Handle that a layer was deleted.

        Returns
        -------
        goes_on
            False if the annotation can't continue without that layer.
        """
        self.keys.unbind(layer)
        self._followers.forget(layer)
        if layer is self.masks.layer:
            self._losing.start()  # not if all layers go: then the session ends, and keeps its undo
        elif self.shapes is not None and layer is self.shapes.layer:
            self.shapes.close()
            self.shapes = None
        return layer is not self.image and layer is not self.points

    def set_aside(self) -> list[Layer]:
        """Close this annotation because its layer now holds another image; its results stay.

        Returns
        -------
        kept
            The layers that stay, with the shape of the old image added to their names. A labels
            layer that the user chose is not renamed.
        """
        kept: list[Layer] = [*self.prompt_layers]
        masks = self.masks.layer
        if masks is not None and image_of_masks(masks) is self.image:
            forget_masks(masks)
            kept.append(masks)
        self.close()
        for layer in kept:
            layer.name = f"{layer.name} ({shape_text(self._source.now.shape)})"
        return kept

    def rest(self) -> None:
        """Pause while another image is chosen."""
        self._view.rest()
        self.offered.hide()
        self._labelling.stop()
        self.masks.rest()
        if self.masks.layer is not None:
            self.keys.unbind(self.masks.layer)  # other images may have their masks there, too
        self.session.cancel()

    def wake(self) -> None:
        """Resume when the image is chosen again."""
        self.masks.wake()
        if self.masks.layer is not None:
            self.keys.bind(self.masks.layer)
        self._view.wake()

    def close(self) -> None:
        """Disconnect from every layer and stop working; the layers stay."""
        self._labelling.close()
        self._reporting.close()
        self._losing.close()
        self._view.close()
        self._source.close()
        if not is_gone(self._viewer):  # or vispy would print what it can't draw any more
            self.stop_prompting()
        self.keys.close()
        self._viewer.dims.events.units.disconnect(self._followers.follow)
        with suppress(RuntimeError):  # if the canvas was deleted
            self.drafts.close()
            self.offered.close()
        self._followers.close()
        self.masks.close()
        if self.clicks is not None:
            self.clicks.close()
        if self.shapes is not None:
            self.shapes.close()
        self.session.cancel()
        self.session.embeddings.clear()

    def _show_marks(self) -> None:
        """Show drafts and outlines of the plane on screen, which are in no layer."""
        self.drafts.refresh()
        self.offered.refresh()

    def _points_layer(self) -> Points:
        if self.clicks is None:
            layer = self._insert(new_points(self.image), len(self._viewer.layers))
            self._followers.add(layer, held=True)
            self.clicks = ClickEditor(
                self.session, layer, self.plane_to_prompt, lambda: self._sign, self._refuse
            )
        return self.clicks.layer

    def _shape_editor(self) -> ShapeEditor:
        if self.shapes is None:
            layer = self._insert(new_shapes(self.image), len(self._viewer.layers))
            self._followers.add(layer, held=True)
            self.shapes = ShapeEditor(
                self.session, layer, self.plane_to_prompt, lambda: self._sign, self._refuse
            )
        return self.shapes

    def _find_labels(self) -> None:
        """Use the image's earlier masks; create a layer if no labels layer fits the image.

        napari takes a moment to show its first labels. That happens when the dock has appeared
        rather than after the first click. For a large plane it takes longer, and waits for the
        first mask.
        """
        layers = self._viewer.layers
        above = layers[layers.index(self.image) :]  # an image added again hides those below it
        fitting = [x for x in layers if fits(x, self.image)]
        mine = [x for x in fitting if image_of_masks(x) is self.image and x in above]
        others = [layer for layer in fitting if image_of_masks(layer) is None]
        if mine:
            self.labels = mine[-1]
        elif not others and not has_large_planes(self.image):
            self._labelling.start()

    def _make_first_labels(self) -> None:
        if self.masks.layer is None:
            try:
                self.labels = self._make_labels()
            except MemoryError as error:
                self.refused.emit(error)

    def _lose_labels(self) -> None:
        """Handle that the labels layer was deleted: the next mask goes into a new one."""
        if self.masks.layer is not None and self.masks.layer not in self._viewer.layers:
            self.masks.layer = None
            self.layers_changed.emit()

    def _make_labels(self) -> Labels:
        self._wants_new_labels = False
        layer = self.add_labels(new_labels(self.image))
        note_masks(layer, self.image)
        return layer

    def _insert(self, layer: L, index: int) -> L:
        """Add a layer without changing which layer is active."""
        layers = self._viewer.layers
        active = layers.selection.active
        layers.insert(index, layer)
        layers.selection.active = active
        self.keys.bind(layer)
        self._reporting.start()
        return layer

    def _show_prompts(self) -> None:
        """Show prompts that came from elsewhere, such as the console."""
        book = self.session.prompts
        if book.click_count:
            self._points_layer()
        if book.box_count or book.strokes or book.lassos:
            self._shape_editor()

    def _moved(self, put_back: list[Layer]) -> None:
        """Handle that the image, or a layer that should lie on it, was moved."""
        for layer in put_back:
            self.refused.emit(
                ValueError(
                    f"expected '{layer.name}' to lie on '{self.image.name}', whose pixels it "
                    "marks; it was put back: move the image, and it follows"
                )
            )
        self.masks.check()
        self._view.show_soon()
        self.layers_changed.emit()

    def _end(self, error: ValueError) -> None:
        """End the session: the layer holds another image by now."""
        self._followers.close()
        self._view.rest()
        self.session.close(error)
        self.refused.emit(error)

    def _refuse(self, error: Exception) -> None:
        self.refused.emit(error)

    def _layers_changed(self) -> None:
        self.layers_changed.emit()
