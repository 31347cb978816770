"""Keeps a session's image source up to date with its layer's data, contrast and channels."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_sam.engine import Executor, Outcome
from napari_sam.gui.channels import STYLE_EVENTS, ChannelChoice, Chosen
from napari_sam.gui.delay import Delay
from napari_sam.gui.placement import shape_of
from napari_sam.gui.planes import source_of
from napari_sam.session import ArraySource, Session, extends, same_planes

if TYPE_CHECKING:
    from napari.components import ViewerModel

_CONTRAST_MS = 500


class LiveSource:
    """Gives a session a new source whenever its image layer changes.

    The layer may get other data, more planes or another shape, its array may be resized in place,
    its contrast may change, and other channels may be chosen for the model.

    Parameters
    ----------
    viewer, image
        The viewer, and the image layer in it.
    source
        The present source of the image.
    session
        The session, which has this source.
    executor
        Compares the planes of a grown image with the earlier ones in the background.

    Attributes
    ----------
    now
        The present source of the session.
    changed
        Signal: the session has another source, so that the view is to be shown to it again.
    channels_changed
        Signal: the model gets other channels.
    grown
        Signal: the image has more planes than before.
    ended
        Signal: the layer holds another image, which the session can't continue on; emits the
        error.
    refused
        Signal: the image can't be read as it is shown; emits the error.
    """

    changed = Signal()
    channels_changed = Signal()
    grown = Signal()
    ended = Signal(object)
    refused = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        source: ArraySource,
        session: Session,
        executor: Executor,
    ) -> None:
        self.now = source
        self._viewer, self._image = viewer, image
        self._session, self._executor = session, executor
        self._choice = ChannelChoice(viewer, image)
        self._revision = 0
        self._content: Hashable = None  # identity of the first planes of an image that has grown
        self._unproven: ArraySource | None = None  # its planes should be among the present ones
        self._has_reported_slab = False
        self._restretching = Delay(_CONTRAST_MS, self._reread)
        self._choice.changed.connect(self._rechosen)
        self._choice.restyled.connect(self._restretching.start)
        self._choice.gone.connect(self._channel_gone)
        image.events.data.connect(self._data_replaced)
        for name in STYLE_EVENTS:
            getattr(image.events, name).connect(self._restretching.start)

    @property
    def channels(self) -> Chosen | None:
        """The channels for red, green and blue; None for the image as it is."""
        return self._choice.chosen

    @channels.setter
    def channels(self, channels: Chosen | None) -> None:
        self._choice.chosen = channels

    @property
    def is_pending(self) -> bool:
        """Whether a change of contrast will be passed to the session in a moment."""
        return self._restretching.is_pending

    def check_shape(self) -> None:
        """Use planes that the image has gained, or end if the layer holds another image.

        Call it before relying on the shape: arrays may be resized in place, without an event.
        """
        before, shape = self.now, shape_of(self._image)
        if shape == before.shape or self._session.closed is not None:
            return
        if extends(shape, before.shape, before.spanned):
            self._grow(before, shape)
        else:
            self.ended.emit(
                ValueError(
                    f"expected '{self._image.name}' to keep its shape {before.shape}, got {shape}; "
                    "choose the image again to start anew: its prompts and masks so far are kept"
                )
            )

    def take_up(self) -> bool:
        """Give the session the source that is shown now; return whether it differs."""
        if self._session.closed is not None:
            return False
        try:
            source = self._source_now()
        except ValueError as error:
            self.refused.emit(error)
            return False
        before = self.now
        if (source.stamp, source.spanned) == (before.stamp, before.spanned):
            return False
        self._use(source)
        return True

    def catch_up(self) -> None:
        """Pass a pending change to the session now."""
        self._restretching.stop()
        self._reread()

    def close(self) -> None:
        """Disconnect from the image and from the layers of its channels."""
        self._restretching.close()
        self._executor.cancel(("same planes", self))
        self._choice.close()
        self._image.events.data.disconnect(self._data_replaced)
        for name in STYLE_EVENTS:
            getattr(self._image.events, name).disconnect(self._restretching.start)

    def _reread(self) -> None:
        """Pass changed content, contrast or channels to the session, and emit `changed`."""
        self.check_shape()
        if self.take_up():
            self.changed.emit()

    def _rechosen(self) -> None:
        self._reread()
        self.channels_changed.emit()

    def _channel_gone(self, error: ValueError) -> None:
        if self._session.closed is None:
            self.refused.emit(error)

    def _data_replaced(self) -> None:
        if shape_of(self._image) != self.now.shape:
            self.check_shape()
        else:
            self._anew()

    def _anew(self) -> None:
        """Read every plane again: the image has other pixels."""
        self._revision += 1
        self._content = self._unproven = None
        self._reread()

    def _grow(self, before: ArraySource, shape: tuple[int, ...]) -> None:
        """Keep what is known of the earlier planes; check in the background whether it holds."""
        grown = {axis for axis, n in enumerate(shape) if n != before.shape[axis]}
        if any(plane[axis] is None for plane in self._session.prompts.planes for axis in grown):
            self._revision += 1  # planes that span a grown axis are larger now
        elif self._content is None:
            self._content = before.identity
        self._use(self._source_now())
        self.grown.emit()
        if self.now.data is not before.data and self._unproven is None:
            self._compare(before)
        self._session.activity_changed.emit()

    def _compare(self, before: ArraySource) -> None:
        """Check in the background whether embedded planes have kept their pixels."""
        self._unproven, now = before, self.now
        self._executor.chore(
            ("same planes", self),
            partial(same_planes, before, now, self._session.embeddings.planes),
            partial(self._compared, now),
            awaited=False,
        )

    def _compared(self, now: ArraySource, outcome: Outcome) -> None:
        if self._unproven is None or self._session.closed is not None or outcome.cancelled:
            return
        self._unproven = None
        if outcome.error is not None or not outcome.value:
            self._session.noticed.emit(
                f"'{self._image.name}' has grown, and its earlier planes have changed: they are "
                "read again; prompts and masks stay"
            )
            self._anew()
        elif now is not self.now:  # it has grown again meanwhile
            self._compare(now)

    def _use(self, source: ArraySource) -> None:
        self.now = source
        self._session.source = source
        if source.slab is not None and not self._has_reported_slab:
            self._has_reported_slab = True
            self._session.noticed.emit(
                f"The model sees this thick slice, the {source.slab.projection} of several "
                "planes; masks are written to the plane in its middle"
            )

    def _source_now(self) -> ArraySource:
        source = source_of(self._image, self._viewer.dims, self._choice.colours(), self._revision)
        if source.displayed is None:  # in the 3-D view: keep the planes of the 2-D view
            source = replace(source, displayed=self.now.displayed, slab=self.now.slab)
        return replace(source, content=self._content)
