"""The state of one viewer: the chosen image and model, and the threads that work for them."""

from __future__ import annotations

import re
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Image, Layer
from psygnal import Signal

from napari_sam.engine import Engine, Outcome
from napari_sam.gui.annotation import Annotation
from napari_sam.gui.cut_tool import CutTool
from napari_sam.gui.delay import Delay
from napari_sam.gui.everything import Everything
from napari_sam.gui.first_steps import FirstSteps
from napari_sam.gui.follow import Follow
from napari_sam.gui.hidden_layers import HiddenLayers
from napari_sam.gui.hover import Hover
from napari_sam.gui.image_list import ListedImages
from napari_sam.gui.keeping import SessionFiles
from napari_sam.gui.machines import Machines
from napari_sam.gui.mailbox import Mailbox
from napari_sam.gui.models import Loader
from napari_sam.gui.placement import shape_of, shape_text
from napari_sam.gui.proofreading import Proofreading
from napari_sam.gui.scene import make_current
from napari_sam.gui.session_models import listed_name
from napari_sam.gui.teaching import Teacher, Teaching, teach_elsewhere
from napari_sam.gui.tracks_layer import TracksView
from napari_sam.model import taught_library
from napari_sam.model.registry import REGISTRY
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.model_use import UsedModel

_LOADING = "model"  # name of the chore: a second load begins when the first has ended
_APART = 1.0  # seconds within which a message that differs in numbers alone isn't repeated

_CONTROLLERS: weakref.WeakValueDictionary[int, Controller] = weakref.WeakValueDictionary()

_AFTER_LAYERS_MS = 60  # by then a new image has its prompt layers


class Controller:
    """The chosen image, the model in use and the annotations of one viewer.

    The dock shows its state and calls it. Several docks of one viewer share one controller;
    :func:`controller_of` finds it.

    Parameters
    ----------
    viewer
        A ``napari.Viewer``, without the proxy that napari gives to plugins (see :func:`bare`).
    load
        Function that loads a segmenter; it is called on a worker thread.
    model, device
        Name of the model and of the device to load first.
    max_bytes, prefetch
        As for :class:`~napari_sam.session.Session`.
    teach
        Function that tunes a model to a user's objects; it is called on a worker thread.

    Attributes
    ----------
    annotation
        The annotation of the chosen image; None if no image is chosen.
    segmenter
        The model in use; None until the first one is loaded.
    loading
        Finished fraction of the model being loaded, from 0 to 1; None if none is.
    image_changed
        Signal: another image, or none, is chosen.
    model_changed
        Signal: a model started loading, was loaded, or failed to load.
    status_changed
        Signal: work started, progressed or ended.
    refused
        Signal: an action of the user failed; emits the error.
    noticed
        Signal: something the user should know; emits a sentence.
    """

    image_changed = Signal()
    model_changed = Signal()
    status_changed = Signal()
    refused = Signal(object)
    noticed = Signal(str)

    def __init__(
        self,
        viewer: Any,
        load: Loader,
        model: str = "nano",
        device: str = "auto",
        max_bytes: int = 2 << 30,
        prefetch: int = 1,
        teach: Teacher = teach_elsewhere,
    ) -> None:
        self.viewer = viewer
        self.annotation: Annotation | None = None
        self.model, self.device = model, device
        self.extra_model: str | None = None
        self.segmenter: Segmenter | None = None
        self.loading: float | None = None
        self.load_error: Exception | None = None
        self.seconds: dict[tuple[str, str], float] = {}
        self._load = load
        self._loaded: tuple[str, str] | None = None
        self._named: dict[str, tuple[str, str]] = {}  # model and device, by the model's key
        self._max_bytes, self._prefetch = max_bytes, prefetch
        self._annotations: dict[int, Annotation] = {}
        self._users = 0
        self._open_docks: weakref.WeakSet[Any] = weakref.WeakSet()
        self._went_on = True
        self._new_each_click = False
        self._at_work = False
        self._closed = False
        self._refused_last = "", 0.0
        self.mailbox = Mailbox(self._open_mail)
        self.engine = Engine(self.mailbox.notify)
        self.machines = Machines(self.engine, self._use_machine)
        self.machines.changed.connect(self._machines_changed)
        self.machines.refused.connect(self._refuse)
        self.everything = Everything()
        self.everything.refused.connect(self._refuse)
        self.follow = Follow(viewer)
        self.follow.noticed.connect(self._notice)
        self.tracks = TracksView(viewer)
        self.tracks.noticed.connect(self._notice)
        self.proofreading = Proofreading()
        self.proofreading.refused.connect(self._refuse)
        self.teaching = Teaching(self, self.engine, teach)
        self.teaching.refused.connect(self._refuse)
        self.keeping = SessionFiles(self, self.engine, self.mailbox.notify)
        self.listed = ListedImages(self, self.engine)
        self.first_steps = FirstSteps()
        layers = viewer.layers
        layers.events.removing.connect(self._layer_removing)
        layers.events.removed.connect(self._layer_removed)
        layers.selection.events.active.connect(self._follow)
        self._hidden = HiddenLayers(viewer, lambda: self.annotation, self._notice)
        self.hover = Hover(viewer, lambda: self.annotation)
        self.image_changed.connect(self.hover.follow)
        self.cut = CutTool(viewer, self._refuse)
        self.image_changed.connect(self.cut.end)
        _CONTROLLERS[id(viewer)] = self
        self._appearing = Delay(0, self._on_screen)
        self._beginning = Delay(_AFTER_LAYERS_MS, self.begin)
        self.load_model(model, device)
        self.choose_image(first_image(viewer), click=False)
        self._appearing.start()

    def begin(self) -> None:
        """Create the points layer and start to load the model now; a second call does nothing.

        Without this call the event loop does both, one after the other, as soon as the dock is
        on screen: loading imports torch, which slows down the window meanwhile.
        """
        if self._at_work or self._closed:
            return
        self._at_work = True
        self._appearing.stop()
        self._beginning.stop()
        self._begin_to_click()
        if self.loading is not None:
            self._queue_load()

    def _begin_to_click(self) -> bool:
        if self.annotation is None or self.annotation.points is not None:
            return False
        self.annotation.click_here()
        return True

    def _on_screen(self) -> None:
        if self._begin_to_click():
            self._beginning.start()
        else:
            self.begin()

    # Image

    @property
    def image(self) -> Image | None:
        """The image chosen."""
        return self.annotation.image if self.annotation else None

    def choose_image(self, image: Image | None, click: bool = True) -> None:
        """Choose the image to annotate; the annotation of the previous one is kept.

        Parameters
        ----------
        image
            The image layer, or None to choose none.
        click
            Whether to make its points layer active, so that the next click is a prompt for it.
        """
        ended = self.annotation is not None and self.annotation.session.closed is not None
        if image is self.image and not ended:
            return
        if self.annotation is not None:
            self._new_each_click = self.annotation.new_each_click  # kept for the next image
            self.annotation.rest()
            self.annotation.keys.unbind(self.viewer)
        self.annotation = None
        if image is not None:
            try:
                self.annotation = self._annotation_of(image)
            except ValueError as error:
                self.refused.emit(error)
            else:
                if click:
                    self.annotation.click_here()
        self.image_changed.emit()
        self.status_changed.emit()

    def begin_anew(self) -> None:
        """Start a new annotation of the chosen image; the layers of the old one stay, hidden."""
        annotation = self.annotation
        if annotation is None:
            return
        image, self.annotation = annotation.image, None
        self._new_each_click = annotation.new_each_click
        annotation.keys.unbind(self.viewer)
        self._let_go(annotation)
        kept = annotation.set_aside()
        for layer in kept:
            layer.visible = False
        self.choose_image(image)
        if kept:
            names = ", ".join(f"'{layer.name}'" for layer in kept)
            self.noticed.emit(f"What was done before on '{image.name}' is in {names}, hidden")

    def images(self) -> list[Image]:
        """Return the image layers of the viewer."""
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    def own_layers(self) -> list[Layer]:
        """Return every layer that an annotation of this viewer reads or writes."""
        return [layer for each in self._annotations.values() for layer in each.layers]

    def _annotation_of(self, image: Image) -> Annotation:
        known = self._annotations.get(id(image))
        if known is not None and known.session.closed is not None:
            self._set_aside(known)
        elif known is not None:
            if known.session.segmenter is not self.segmenter:
                known.session.segmenter = self.segmenter
            known.wake()
            return known
        annotation = Annotation(
            self.viewer, image, self.segmenter, self.engine, self._max_bytes, self._prefetch
        )
        annotation.refused.connect(self._refuse)
        self.everything.watch(annotation)
        self.proofreading.watch(annotation)
        self.follow.watch(annotation)
        self.teaching.watch(annotation)
        annotation.session.model_changed.connect(partial(self._model_of_session, annotation))
        annotation.session.model_wanted.connect(partial(self._model_wanted, annotation))
        annotation.session.noticed.connect(self._notice)
        annotation.session.activity_changed.connect(self._activity)
        annotation.session.mask_changed.connect(self._hidden.mask_written)
        annotation.new_each_click = self._new_each_click
        self._annotations[id(image)] = annotation
        self.keeping.begin(annotation)
        return annotation

    def _set_aside(self, annotation: Annotation) -> None:
        """End the annotation of a layer that now holds another image; report which layers stay."""
        image = annotation.image
        self._let_go(annotation)
        kept = ", ".join(f"'{layer.name}'" for layer in annotation.set_aside())
        self.noticed.emit(
            f"'{image.name}' has the shape {shape_text(shape_of(image))} now and starts anew"
            + (f"; what was done before is in {kept}" if kept else "")
        )

    def _let_go(self, annotation: Annotation) -> None:
        del self._annotations[id(annotation.image)]
        self.keeping.end(annotation)

    def _follow(self, event: Any) -> None:
        """Choose the image that becomes active, or that the active prompts or masks belong to."""
        layer = event.value
        if self._closed:
            return
        self._bind_viewer(layer)
        if layer is None:
            return
        # several images may share a labels layer: then the chosen image comes first
        known = sorted(self._annotations.values(), key=lambda x: x is not self.annotation)
        for annotation in known:
            if layer in annotation.layers:
                ended = annotation.session.closed is not None
                if not ended or layer is annotation.image:
                    self.choose_image(annotation.image, click=ended)
                return
        if isinstance(layer, Image):
            # The user may only want to adjust the contrast of another image: layers at once are
            # for the first one alone.
            self.choose_image(layer, click=not self._annotations)

    def _bind_viewer(self, active: Layer | None) -> None:
        """Bind keys to the viewer if the active layer has none; otherwise no key would work."""
        if self.annotation is None:
            return
        if active is None:
            self.annotation.keys.bind(self.viewer)
        elif isinstance(active, Image) or active in self.own_layers():
            self.annotation.keys.unbind(self.viewer)
        else:
            self.annotation.keys.bind(self.viewer, foreign=True)

    def _layer_removing(self, event: Any) -> None:
        make_current(self.viewer)

    def _layer_removed(self, event: Any) -> None:
        layer: Layer = event.value
        for key, annotation in list(self._annotations.items()):
            if not annotation.forget_layer(layer):
                del self._annotations[key]
                self.keeping.end(annotation)
                if annotation is self.annotation:
                    self.annotation = None
                if annotation is self.everything.annotation:
                    self.everything.cancel()
                annotation.close()
        self.image_changed.emit()
        self.status_changed.emit()

    # Model

    @property
    def model_name(self) -> str:
        """The model's name to show: its registered name, or the name of its file."""
        return Path(self.model).name

    def load_model(self, model: str | None = None, device: str | None = None) -> None:
        """Load another model, or load it on another device; meanwhile the old one stays in use."""
        self.cancel_loading()
        self.machines.give_up()
        self.model, self.device = model or self.model, device or self.device
        self.loading, self.load_error = 0.0, None
        if self._at_work:
            self._queue_load()
        self.model_changed.emit()
        self.status_changed.emit()

    def _queue_load(self) -> None:
        wanted = self.model, self.device
        self.engine.chore(
            _LOADING,
            partial(self._load, *wanted),
            partial(self._model_arrived, wanted),
            self._model_progress,
            awaited=self.segmenter is None,
        )

    def cancel_loading(self) -> None:
        """Stop loading or downloading a model, and keep the one in use."""
        if self.loading is None:
            return
        self.engine.cancel(_LOADING)
        self._stay()

    def _stay(self) -> None:
        self.loading = None
        self.machines.give_up(False)
        if self._loaded is not None:
            self.model, self.device = self._loaded
        self.model_changed.emit()
        self.status_changed.emit()

    def _model_progress(self, fraction: float) -> None:
        if self.loading is not None:
            self.loading = fraction
            self.status_changed.emit()

    def _model_arrived(self, wanted: tuple[str, str], outcome: Outcome) -> None:
        if outcome.cancelled or self.loading is None or wanted != (self.model, self.device):
            return
        if outcome.error is not None:
            self.load_error = outcome.error
            self.refused.emit(outcome.error)
            self._stay()
            return
        self.segmenter, self._loaded, self.loading = outcome.value, wanted, None
        self._named[outcome.value.model_key] = wanted
        self.machines.follow(self.segmenter)
        if self.annotation is not None:
            self.annotation.session.segmenter = self.segmenter
        self.model_changed.emit()
        self.status_changed.emit()

    def _use_machine(self, address: str, models: tuple[str, ...]) -> None:
        """Load from another machine: the model in use if it is there, else its first one."""
        self.load_model(self.model if self.model in models else models[0], address)

    def _machines_changed(self) -> None:
        self.model_changed.emit()
        self.status_changed.emit()

    def rename_model(self, name: str, new: str) -> None:
        """Give a taught model another name.

        Raises
        ------
        ValueError, OSError
            As :func:`~napari_sam.model.taught_library.rename`.
        """
        taught_library.rename(name, new)
        self._named = {
            key: (new if model == name else model, device)
            for key, (model, device) in self._named.items()
        }
        if self._loaded is not None and self._loaded[0] == name:
            self._loaded = new, self._loaded[1]
        if self.model == name:
            self.model = new
        self.model_changed.emit()

    def delete_model(self, name: str) -> None:
        """Delete a taught model; if it is in use, load the model that it was taught from.

        Raises
        ------
        ValueError, OSError
            As :func:`~napari_sam.model.taught_library.remove`.
        """
        card = taught_library.existing(name).card
        taught_library.remove(name)
        if self.model == name and card is not None and card.lesson.parent in REGISTRY:
            self.load_model(card.lesson.parent)
        else:
            self.model_changed.emit()

    def _model_of_session(self, annotation: Annotation) -> None:
        """Use the model of the chosen image's session after undo has brought another one back."""
        segmenter = annotation.session.segmenter
        if annotation is not self.annotation or segmenter in (None, self.segmenter):
            return
        if self.loading is not None:
            self.cancel_loading()
        self.segmenter = segmenter
        self.machines.follow(segmenter)
        if (named := self._named.get(segmenter.model_key)) is not None:
            self.model, self.device = self._loaded = named
        self.model_changed.emit()
        self.status_changed.emit()

    def use_model_of(self, used: UsedModel) -> bool:
        """Load a model that a session used; return whether it is available."""
        try:
            name = listed_name(used)
        except (ValueError, OSError) as error:
            self._refuse(error)
            return False
        if name is not None and name != self.model:
            self.load_model(name)
        return name is not None

    def _model_wanted(self, annotation: Annotation, used: UsedModel) -> None:
        if annotation is self.annotation:
            self.use_model_of(used)

    def _activity(self) -> None:
        seconds = self.annotation.session.embeddings.seconds if self.annotation else None
        key = self.model, self.device
        if seconds is not None and self.loading is None and self.seconds.get(key) != seconds:
            self.seconds[key] = seconds
            self.model_changed.emit()
        self.status_changed.emit()

    def _refuse(self, error: Exception) -> None:
        """Report an error; of many similar ones in a row, such as one per mask, only the first."""
        (before, when), now = self._refused_last, time.monotonic()
        kind = re.sub(r"\d+", "", str(error))
        self._refused_last = kind, now
        if kind != before or now - when > _APART:
            self.refused.emit(error)

    def _notice(self, text: str) -> None:
        self.noticed.emit(text)

    # Lifetime

    def dock_opened(self, dock: object) -> None:
        """Register that a dock is open; clicks add prompts again if a closed dock stopped them."""
        self._open_docks.add(dock)
        if not self._went_on and self.annotation is not None:
            self.annotation.click_here()
        self._went_on = True

    def dock_closed(self, dock: object) -> None:
        """Register that a dock was closed; after the last one, clicks move the view again."""
        self._open_docks.discard(dock)
        if self._open_docks or self._closed or self.annotation is None:
            return
        self.cut.end()
        stopped = [one.stop_prompting() for one in self._annotations.values()]
        if any(stopped):
            self._went_on = False
            self.noticed.emit(
                "Segment Anything is closed, so clicks don't segment any more; open it again, or "
                "press G, to continue"
            )

    def _open_mail(self) -> None:
        if not self._closed:
            self.engine.drain()
            self.keeping.drain()

    def share(self) -> Controller:
        """Count one more dock that shows this controller."""
        self._users += 1
        return self

    def release(self) -> None:
        """Count one dock less; after the last one, close the controller."""
        self._users -= 1
        if self._users <= 0:
            self.close()

    def close(self) -> None:
        """Stop the threads and disconnect from the viewer; its layers stay."""
        if self._closed:
            return
        self._closed = True
        self._appearing.close()
        self._beginning.close()
        self.mailbox.close()
        self.machines.close()
        self.keeping.close()
        self.engine.close()
        self._hidden.close()
        self.hover.close()
        self.tracks.close()
        self.cut.end()
        layers = self.viewer.layers
        layers.events.removing.disconnect(self._layer_removing)
        layers.events.removed.disconnect(self._layer_removed)
        layers.selection.events.active.disconnect(self._follow)
        for annotation in self._annotations.values():
            annotation.close()
        self._annotations.clear()
        self.annotation = None
        _CONTROLLERS.pop(id(self.viewer), None)


def controller_of(viewer: Any) -> Controller | None:
    """Return the controller that the docks of a viewer share; None if no dock is open."""
    return _CONTROLLERS.get(id(bare(viewer)))


def bare(viewer: Any) -> Any:
    """Return the viewer behind the proxy that napari gives to plugins."""
    return getattr(viewer, "__wrapped__", viewer)


def first_image(viewer: Any) -> Image | None:
    """Return the active image, or else the topmost visible one."""
    active = viewer.layers.selection.active
    if isinstance(active, Image):
        return active
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    return next((image for image in reversed(images) if image.visible), None)
