"""One image being annotated: its session and the layers that edit and show it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from napari.layers import Image, Labels, Layer, Points, Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_sam.engine import BACKGROUND, Executor, Outcome
from napari_sam.gui.boxes import BoxEditor
from napari_sam.gui.clicks import ClickEditor
from napari_sam.gui.drafts import DraftPictures
from napari_sam.gui.keys import Keys
from napari_sam.gui.layers import (
    fits,
    forget_masks,
    has_large_planes,
    image_of_masks,
    new_labels,
    new_points,
    new_shapes,
    note_masks,
)
from napari_sam.gui.masks import MaskWriter
from napari_sam.gui.placement import Followers, shape_of, told_shape
from napari_sam.gui.planes import (
    Colours,
    channel_now,
    displayed_plane,
    finest,
    middle_of_view,
    plane_name,
    scrolled_axis,
    source_of,
    visible_part,
    why_no_plane,
)
from napari_sam.gui.slicing import geometry_on_screen
from napari_sam.prompts import Box
from napari_sam.segmenter import Segmenter
from napari_sam.session import ArraySource, Plane, Session, extends, same_planes

if TYPE_CHECKING:
    from napari.components import ViewerModel

L = TypeVar("L", bound=Layer)

_SCROLL_MS = 120  # a plane is embedded when scrolling has paused this long
_CONTRAST_MS = 500
_LOOK_EVENTS = ("contrast_limits", "gamma", "colormap", "auto_contrast")
_VIEW_EVENTS = ("point", "order", "ndisplay", "margin_left", "margin_right", "units")
_LABELS_MS = 50  # the dock has appeared
_CAMERA_MS = 200  # what is on screen is encoded when the camera has rested this long


class Annotation:
    """The session of one image layer, its prompt layers and its masks.

    Parameters
    ----------
    viewer, image
        Where the image is.
    segmenter
        None while the model is loading.
    executor, max_bytes, prefetch
        As of :class:`~napari_sam.session.Session`.

    Attributes
    ----------
    refused
        Something a user did could not be done: the error.
    layers_changed
        The labels layer was picked, made or deleted.
    """

    refused = Signal(object)
    layers_changed = Signal()

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
        self._revision = 0
        self._channels: Colours | None = None
        self._source = source_of(image, viewer.dims)
        self.session = Session(segmenter, self._source, executor, max_bytes, prefetch)
        self.session.failed.connect(self._refuse)
        self.keys = Keys(self)
        self._followers = Followers(
            image, self._moved, partial(geometry_on_screen, viewer.dims, image)
        )
        viewer.dims.events.units.connect(self._followers.follow)
        self.masks = MaskWriter(self.session, image, executor, self._make_labels, self._refuse)
        self.clicks: ClickEditor | None = None
        self.boxes: BoxEditor | None = None
        self._sign = 1
        self._wants_new_labels = False
        self._executor = executor
        self._content: Hashable = None  # of an image that has grown: of its first planes
        self._unproven: ArraySource | None = None  # the source whose planes should be in it still
        self._told_thick = False
        self._scrolling = _timer(_SCROLL_MS, self.show)
        self._restretching = _timer(_CONTRAST_MS, self.reread)
        for name in _VIEW_EVENTS:
            getattr(viewer.dims.events, name).connect(self._scrolled)
        image.events.projection_mode.connect(self._scrolled)
        self._labelling = _timer(_LABELS_MS, self._make_first_labels)
        self._looking = _timer(_CAMERA_MS, self.look)
        self._telling = _timer(0, self._layers_changed)
        self.drafts = DraftPictures(
            viewer, image, self.session, self.displayed, lambda: self.masks.layer
        )
        viewer.scene.camera.events.center.connect(self._camera_moved)
        viewer.scene.camera.events.zoom.connect(self._camera_moved)
        viewer.canvas.events.size.connect(self._camera_moved)
        image.events.data.connect(self._data_replaced)
        self._looked_at: list[Image] = []
        self._watch_looks()
        self.session.prompts_changed.connect(self._show_prompts)
        self.keys.bind(image)
        self.show()

    @property
    def points(self) -> Points | None:
        """The layer that takes clicks; None before anybody wants to."""
        return self.clicks.layer if self.clicks else None

    @property
    def prompt_layers(self) -> list[Points | Shapes]:
        """The layers that take clicks and boxes, as far as there are any."""
        own = (self.points, self.boxes.layer if self.boxes else None)
        return [layer for layer in own if layer is not None]

    @property
    def layers(self) -> list[Layer]:
        """Every layer of this annotation, the image first."""
        masks = [] if self.masks.layer is None else [self.masks.layer]
        return [self.image, *masks, *self.prompt_layers]

    @property
    def channels(self) -> Colours | None:
        """What the model sees as red, green and blue; None for the image as it is."""
        return self._channels

    @channels.setter
    def channels(self, channels: Colours | None) -> None:
        self._channels = channels if channels and any(channels) else None
        self._watch_looks()
        self.reread()

    @property
    def sign(self) -> int:
        """What a left click says: 1 inside, 0 outside; a right click says the opposite."""
        return self._sign

    @sign.setter
    def sign(self, sign: int) -> None:
        self._sign = sign
        if self.clicks is not None:
            self.clicks.sign = sign
        self.layers_changed.emit()

    @property
    def labels(self) -> Labels | None:
        """Where masks are written; None for a new layer with the next mask."""
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
        """Return the plane on screen; None in 3-D, outside of the image, or if it is another."""
        if self.session.closed is not None:
            return None
        return displayed_plane(self._viewer.dims, self.image, self._source)

    def plane_name(self, plane: Plane) -> str:
        """Spell which plane it is, and which others are projected onto it; empty in 2-D."""
        return plane_name(self.image, plane, self._source)

    def plane_to_prompt(self) -> Plane:
        """Return the plane on screen.

        Raises
        ------
        ValueError
            In 3-D or outside of the image: what is missing.
        """
        self._catch_up()
        if self.session.closed is not None:
            raise self.session.closed
        plane = self.displayed()
        if plane is None:
            raise ValueError(why_no_plane(self._viewer.dims, self.image))
        return plane

    def scrolled_axis(self, plane: Plane | None) -> int | None:
        """Return the axis that planes are scrolled along: the innermost, channels last."""
        return None if plane is None else scrolled_axis(self.image, self._source, plane)

    def show(self) -> None:
        """Tell the session which plane is on screen."""
        self.look_at_shape()
        self._take_up()
        plane = self.displayed()
        if plane is not None:
            self.session.show(plane, *self._part_on_screen(plane))
        self.drafts.refresh()
        self.session.activity_changed.emit()

    def look(self) -> None:
        """Tell the session which part of the plane is on screen."""
        plane = self.displayed()
        if plane is not None and plane == self.session.shown:
            self.session.look(*self._part_on_screen(plane))

    def _part_on_screen(self, plane: Plane) -> tuple[tuple[float, float], Box]:
        middle = middle_of_view(self._viewer, self.image, plane)
        return middle, visible_part(self._viewer, self.image, plane)

    def reread(self) -> None:
        """Take up another content, contrast or channels of the image."""
        if self._take_up():
            self.show()

    def look_at_shape(self) -> None:
        """Go on with the planes that the image has got, or end if it is another image by now.

        Arrays may be resized in place, which nobody tells: so look before relying on the shape.
        """
        before, shape = self._source, shape_of(self.image)
        if shape == before.shape or self.session.closed is not None:
            return
        if extends(shape, before.shape, before.spanned):
            self._grow(before, shape)
        else:
            self._end(shape)

    def click_here(self) -> None:
        """Make the prompts layer active and ready for clicks; make what is missing for that."""
        points = self._points_layer()
        if self.masks.layer is None and not self._wants_new_labels:
            self._find_labels()
        self._viewer.layers.selection.active = points
        points.mode = "add"

    def draw_box(self) -> None:
        """Make the shapes layer active and ready for a box."""
        shapes = self._shapes_layer()
        self._viewer.layers.selection.active = shapes
        shapes.mode = "add_rectangle"

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
        """Take note that a layer was deleted.

        Returns
        -------
        goes_on
            False if this annotation can't go on without it.
        """
        self.keys.unbind(layer)
        self._followers.forget(layer)
        if layer is self.masks.layer:
            self.masks.layer = None
            self.layers_changed.emit()
        elif self.boxes is not None and layer is self.boxes.layer:
            self.boxes.close()
            self.boxes = None
        return layer is not self.image and layer is not self.points

    def set_aside(self) -> list[Layer]:
        """Let go of an image that has become another one; what was made on the old stays.

        Returns
        -------
        kept
            The layers that stay, renamed by the shape of the old image; masks that were picked
            keep their name.
        """
        kept: list[Layer] = [*self.prompt_layers]
        masks = self.masks.layer
        if masks is not None and image_of_masks(masks) is self.image:
            forget_masks(masks)
            kept.append(masks)
        self.close()
        for layer in kept:
            layer.name = f"{layer.name} ({told_shape(self._source.shape)})"
        return kept

    def rest(self) -> None:
        """Stop working while another image is chosen."""
        self._scrolling.stop()
        self._looking.stop()
        self._labelling.stop()
        self.masks.rest()
        if self.masks.layer is not None:
            self.keys.unbind(self.masks.layer)  # other images may have their masks there, too
        self.session.cancel()

    def wake(self) -> None:
        """Go on when the image is chosen again."""
        self.masks.wake()
        if self.masks.layer is not None:
            self.keys.bind(self.masks.layer)
        self.show()

    def close(self) -> None:
        """Let go of every layer and stop working; the layers stay."""
        timers = self._scrolling, self._restretching, self._labelling, self._looking
        for timer in (*timers, self._telling):
            with suppress(RuntimeError):  # at the application's end Qt has deleted it already
                timer.stop()
                timer.deleteLater()
        dims, image = self._viewer.dims, self.image
        for name in _VIEW_EVENTS:
            getattr(dims.events, name).disconnect(self._scrolled)
        image.events.projection_mode.disconnect(self._scrolled)
        self._viewer.scene.camera.events.center.disconnect(self._camera_moved)
        self._viewer.scene.camera.events.zoom.disconnect(self._camera_moved)
        self._viewer.canvas.events.size.disconnect(self._camera_moved)
        image.events.data.disconnect(self._data_replaced)
        self._watch_looks(nothing=True)
        with suppress(RuntimeError):  # of a canvas that is gone
            self.stop_prompting()
        self.keys.close()
        dims.events.units.disconnect(self._followers.follow)
        with suppress(RuntimeError):  # of a canvas that is gone
            self.drafts.close()
        self._followers.close()
        self.masks.close()
        if self.clicks is not None:
            self.clicks.close()
        if self.boxes is not None:
            self.boxes.close()
        self.session.cancel()
        self.session.embeddings.clear()

    def _refuse(self, error: Exception) -> None:
        self.refused.emit(error)

    def _take_up(self) -> bool:
        """Have the session read what is shown now; return whether that is something new."""
        if self.session.closed is not None:
            return False
        try:
            source = self._source_now()
        except ValueError as error:
            self.refused.emit(error)
            return False
        before = self._source
        if (source.stamp, source.spanned) == (before.stamp, before.spanned):
            return False
        self._use(source)
        return True

    def _catch_up(self) -> None:
        """Take up at once what was to be taken up in a moment: a click is meant for what is shown.

        A plane that was scrolled to needs no more than its number.
        """
        self.look_at_shape()
        if self._restretching.isActive() or self._scrolling.isActive():
            self._restretching.stop()
            self.reread()

    def _source_now(self) -> ArraySource:
        data = finest(self.image)
        if self._channels is not None and data is not self._source.data:
            of_image = [c is not None and c.data is self._source.data for c in self._channels]
            red, green, blue = (
                replace(c, data=data) if mine and c is not None else c
                for c, mine in zip(self._channels, of_image, strict=True)
            )
            self._channels = red, green, blue
        if self._channels is not None:
            red, green, blue = (c and channel_now(c, self._images()) for c in self._channels)
            self._channels = red, green, blue
        source = source_of(self.image, self._viewer.dims, self._channels, self._revision)
        if source.displayed is None:  # in 3-D: another view of the same planes
            before = self._source
            source = replace(source, displayed=before.displayed, slab=before.slab)
        return replace(source, content=self._content)

    def _images(self) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _watch_looks(self, nothing: bool = False) -> None:
        """Notice when the image, or one that gives a channel, is shown in another way."""
        for image in self._looked_at:
            for name in _LOOK_EVENTS:
                getattr(image.events, name).disconnect(self._restretched)
        arrays = [channel.data for channel in self._channels or () if channel is not None]
        beside = [x for x in self._images() if any(finest(x) is array for array in arrays)]
        self._looked_at = (
            [] if nothing else [self.image, *(x for x in beside if x is not self.image)]
        )
        for image in self._looked_at:
            for name in _LOOK_EVENTS:
                getattr(image.events, name).connect(self._restretched)

    def _use(self, source: ArraySource) -> None:
        self._source = source
        self.session.source = source
        if source.slab is not None and not self._told_thick:
            self._told_thick = True
            self.session.noticed.emit(
                f"The model sees this thick slice, the {source.slab.projection} of several "
                "planes; masks are written to the plane in its middle"
            )

    def _grow(self, before: ArraySource, shape: tuple[int, ...]) -> None:
        """Go on with what is known of the planes; look in the background whether it holds."""
        grown = {axis for axis, n in enumerate(shape) if n != before.shape[axis]}
        if any(plane[axis] is None for _, plane in self.session.prompts.keys for axis in grown):
            self._revision += 1  # planes of a view that was rolled: they are larger now
        elif self._content is None:
            self._content = before.identity
        self._use(self._source_now())
        self.masks.check()
        if self._source.data is not before.data and self._unproven is None:
            self._compare(before)
        self.session.activity_changed.emit()

    def _compare(self, before: ArraySource) -> None:
        """Look in the background whether planes that are embedded have kept their pixels."""
        self._unproven, now = before, self._source
        self._executor.embed(
            ("same planes", self),
            partial(same_planes, before, now, self.session.embeddings.planes),
            partial(self._compared, now),
            BACKGROUND,
        )

    def _compared(self, now: ArraySource, outcome: Outcome) -> None:
        if self._unproven is None or self.session.closed is not None or outcome.cancelled:
            return
        self._unproven = None
        if outcome.error is not None or not outcome.value:
            self.session.noticed.emit(
                f"'{self.image.name}' has grown, and its planes are others than before: they are "
                "read again; prompts and masks stay"
            )
            self._anew()
        elif now is not self._source:  # it has grown again meanwhile
            self._compare(now)

    def _end(self, shape: tuple[int, ...]) -> None:
        error = ValueError(
            f"expected '{self.image.name}' to keep its shape {self._source.shape}, got {shape}; "
            "choose the image again to start anew: its prompts and masks so far are kept"
        )
        self._followers.close()
        self._scrolling.stop()
        self.session.close(error)
        self.refused.emit(error)

    def _points_layer(self) -> Points:
        if self.clicks is None:
            layer = self._insert(new_points(self.image), len(self._viewer.layers))
            self._followers.add(layer, held=True)
            self.clicks = ClickEditor(self.session, layer, self.plane_to_prompt, self._refuse)
            self.clicks.sign = self._sign
        return self.clicks.layer

    def _shapes_layer(self) -> Shapes:
        if self.boxes is None:
            layer = self._insert(new_shapes(self.image), len(self._viewer.layers))
            self._followers.add(layer, held=True)
            self.boxes = BoxEditor(self.session, layer, self.plane_to_prompt, self._refuse)
        return self.boxes.layer

    def _find_labels(self) -> None:
        """Go on with the image's masks of before; without labels that could be meant make a layer.

        napari takes a moment to show its first labels: rather when the dock has appeared than
        after the first click. Those of a large plane take long, and come with the first mask.
        """
        layers = self._viewer.layers
        above = layers[layers.index(self.image) :]  # below an image that was added again none show
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

    def add_labels(self, layer: Labels) -> Labels:
        """Add a labels layer below the prompts; it goes where the image goes."""
        layers = self._viewer.layers
        below = layers.index(self.points) if self.points in layers else len(layers)
        self._followers.add(layer)
        return self._insert(layer, below)

    def _make_labels(self) -> Labels:
        self._wants_new_labels = False
        layer = self.add_labels(new_labels(self.image))
        note_masks(layer, self.image)
        return layer

    def _insert(self, layer: L, index: int) -> L:
        """Add a layer without taking the selection away from the user's."""
        layers = self._viewer.layers
        active = layers.selection.active
        layers.insert(index, layer)
        layers.selection.active = active
        self.keys.bind(layer)
        self._telling.start()
        return layer

    def _show_prompts(self) -> None:
        """Show prompts that came from elsewhere, such as the console."""
        book = self.session.prompts
        if book.clicks:
            self._points_layer()
        if book.boxes:
            self._shapes_layer()

    def _moved(self, put_back: list[Layer]) -> None:
        """Take up that the image, or one of the layers that should lie on it, was moved."""
        for layer in put_back:
            self.refused.emit(
                ValueError(
                    f"expected '{layer.name}' to lie on '{self.image.name}', whose pixels it "
                    "marks; it was put back: move the image, and it follows"
                )
            )
        self.masks.check()
        self._scrolling.start()
        self.layers_changed.emit()

    def _layers_changed(self) -> None:
        self.layers_changed.emit()

    def _scrolled(self, event: object = None) -> None:
        self.drafts.refresh()
        self._scrolling.start()

    def _camera_moved(self, event: object = None) -> None:
        self._looking.start()

    def _restretched(self, event: object = None) -> None:
        self._restretching.start()

    def _data_replaced(self, event: object = None) -> None:
        if shape_of(self.image) != self._source.shape:
            self.look_at_shape()
        else:
            self._anew()

    def _anew(self) -> None:
        """Read every plane again: the image has other pixels."""
        self._revision += 1
        self._content = self._unproven = None
        self.reread()


def _timer(milliseconds: int, call: Callable[[], None]) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer
