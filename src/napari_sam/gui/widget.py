"""The dock widget: Segment Anything, live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QKeyEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QVBoxLayout, QWidget

from napari_sam.gui.ahead_section import AheadSection
from napari_sam.gui.channel_section import ChannelSection
from napari_sam.gui.channels import STYLE_EVENTS
from napari_sam.gui.choice_section import ChoiceSection
from napari_sam.gui.controller import Controller, bare, controller_of
from napari_sam.gui.controls import FOCUS, Scrolled, rule
from napari_sam.gui.delay import Delay
from napari_sam.gui.everything_section import EverythingSection
from napari_sam.gui.follow_section import FollowSection
from napari_sam.gui.foot_section import FootSection
from napari_sam.gui.images_section import ImagesSection
from napari_sam.gui.mask_section import MaskSection
from napari_sam.gui.models import Loader, load_for_viewer
from napari_sam.gui.object_section import ObjectSection
from napari_sam.gui.objects_section import ObjectsSection
from napari_sam.gui.offer_section import OfferSection
from napari_sam.gui.placement import connect
from napari_sam.gui.preview_section import PreviewSection
from napari_sam.gui.prompts_section import PromptsSection
from napari_sam.gui.question_section import QuestionSection
from napari_sam.gui.queue_section import QueueSection
from napari_sam.gui.section import Section
from napari_sam.gui.seen_section import SeenSection
from napari_sam.gui.session_section import SessionSection
from napari_sam.gui.settings import preferences
from napari_sam.gui.status_section import StatusSection
from napari_sam.gui.taught_section import TaughtSection
from napari_sam.gui.teach_section import TeachSection
from napari_sam.gui.teaching import Teacher, teach_elsewhere

if TYPE_CHECKING:
    import napari.viewer


class SegmentAnything(QWidget):
    """Click in the image, get a mask.

    Parameters
    ----------
    napari_viewer
        The viewer to work in.
    load
        Function that loads segmenters; by default from the package and its registry.
    teach
        Function that tunes a model to a user's objects; by default in a separate process.
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        load: Loader | None = None,
        teach: Teacher = teach_elsewhere,
    ) -> None:
        super().__init__()
        self.controller = _controller(bare(napari_viewer), load, teach)
        self.question = QuestionSection(self.controller)
        self.choice = ChoiceSection(self.controller)
        self.status = StatusSection(self.controller)
        self.ahead = AheadSection(self.controller, self.status)
        self.object = ObjectSection(self.controller)
        self.preview = PreviewSection(self.controller)
        self.prompts = PromptsSection(self.controller)
        self.masks = MaskSection(self.controller)
        self.offer = OfferSection(self.controller)
        self.follow = FollowSection(self.controller)
        self.everything = EverythingSection(self.controller)
        self.queue = QueueSection(self.controller)
        self.taught = TaughtSection(self.controller)
        self.teach = TeachSection(self.controller, self.taught)
        self.objects = ObjectsSection(self.controller)
        self.channels = ChannelSection(self.controller)
        self.seen = SeenSection(self.controller, self.channels)
        self.images = ImagesSection(self.controller)
        self.files = SessionSection(self.controller)
        self.foot = FootSection(self.controller)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(6, 9, 6, 9)
        parts: tuple[Section[Any] | None, ...] = (
            self.question,
            self.choice,
            self.status,
            self.ahead,
            None,
            self.object,
            self.preview,
            self.prompts,
            None,
            self.masks,
            self.offer,
            None,
            self.follow,
            self.everything,
            self.queue,
            self.teach,
            self.objects,
            self.seen,
            self.images,
            self.files,
            None,
            self.foot,
        )
        for part in parts:
            column.addWidget(rule() if part is None else part)
        self._sections = (*(part for part in parts if part is not None), self.channels, self.taught)
        # These show layers alone; all others also show the session and work in progress.
        self._of_layers = (self.choice, self.prompts, self.masks, self.offer, self.channels)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(Scrolled(inside))
        self.setMinimumWidth(300)
        self.setAcceptDrops(True)
        self.setStyleSheet(FOCUS)
        self._refreshing = Delay(0, self.refresh, self)
        self._refreshing_status = Delay(0, self._refresh_status, self)
        self._finding_out = Delay(0, self._find_out, self)
        self._watched: Any = None
        controller, layers = self.controller, self.controller.viewer.layers
        controller.image_changed.connect(self._changed)
        controller.model_changed.connect(self._changed)
        controller.status_changed.connect(self._status_changed)
        controller.everything.changed.connect(self._status_changed)
        controller.follow.changed.connect(self._status_changed)
        controller.proofreading.changed.connect(self._status_changed)
        controller.teaching.changed.connect(self._status_changed)
        controller.keeping.changed.connect(self._status_changed)
        controller.listed.changed.connect(self._status_changed)
        controller.refused.connect(_warn, unique=True)  # once, however many docks there are
        controller.noticed.connect(_inform, unique=True)
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            event.connect(self._changed)
        layers.selection.events.active.connect(self._changed)
        self._layers: list[Any] = []
        self.destroyed.connect(controller.share().release)
        self.refresh()

    def refresh(self) -> None:
        """Update all sections."""
        self._watch()
        for section in self._sections:
            section.refresh()

    def _refresh_status(self) -> None:
        self.choice.refresh_plane()
        for section in self._sections:
            if section not in self._of_layers:
                section.refresh()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Give the keyboard back to the canvas with Escape; napari sends it other keys itself."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.controller.viewer.window._qt_viewer.canvas.native.setFocus()
        else:
            super().keyPressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept a folder or several files: images to work through."""
        if event is not None and _images_of(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """List the images of a folder that was dropped on the dock, or several files."""
        dropped = None if event is None else _images_of(event)
        if event is None or not dropped:
            return
        event.acceptProposedAction()
        self.controller.listed.open(dropped[0] if len(dropped) == 1 else dropped)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Report to the controller that the dock is open."""
        super().showEvent(event)
        self.controller.dock_opened(self)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Find out whether the dock was closed, or is only hidden behind another one's tab."""
        super().hideEvent(event)
        self._finding_out.start()

    def _find_out(self) -> None:
        dock = self.parent()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parent()
        shown = None if dock is None else dock.toggleViewAction()  # also behind a tab
        if not self.isVisible() and not (shown is not None and shown.isChecked()):
            self.controller.dock_closed(self)

    def _watch(self) -> None:
        """Connect to the session of the chosen image and to the layers of the viewer."""
        annotation = self.controller.annotation
        if annotation is not self._watched:
            if self._watched is not None:
                self._connect(self._watched, "disconnect")
            if annotation is not None:
                self._connect(annotation, "connect")
            self._watched = annotation
        layers = list(self.controller.viewer.layers)
        for verb, followed in (("disconnect", self._layers), ("connect", layers)):
            for layer in followed:
                events = [layer.events.name, layer.events.visible, layer.events.mode]
                if isinstance(layer, Image):
                    events += [getattr(layer.events, name) for name in STYLE_EVENTS]
                if isinstance(layer, (Image, Labels)):
                    events.append(layer.events.data)
                    connect(layer, self._changed, verb)
                for event in events:
                    getattr(event, verb)(self._changed)
        self._layers = layers

    def _connect(self, annotation: Any, verb: str) -> None:
        session = annotation.session
        for signal in (
            session.prompts_changed, session.object_changed, session.mask_changed,
            session.facts_changed, session.journal_changed, session.granularity_changed,
            session.complete_changed, session.queue_changed,
        ):  # fmt: skip
            getattr(signal, verb)(self._status_changed)
        getattr(session.rules_changed, verb)(self._changed)
        getattr(annotation.layers_changed, verb)(self._changed)

    def _changed(self, *_: object) -> None:
        self._refreshing.start()

    def _status_changed(self, *_: object) -> None:
        self._refreshing_status.start()


def _controller(viewer: Any, load: Loader | None, teach: Teacher) -> Controller:
    shared = controller_of(viewer)
    if shared is not None:
        return shared
    wishes = preferences()
    return Controller(
        viewer,
        load or load_for_viewer(wishes.disk_bytes),
        wishes.model,
        wishes.device,
        wishes.memory_bytes,
        wishes.prefetch,
        teach,
    )


def _images_of(event: QDropEvent) -> list[Path]:
    """Return a dropped folder or several files; nothing for a single file, which napari opens."""
    data = event.mimeData()
    paths = [Path(url.toLocalFile()) for url in data.urls()] if data is not None else []
    return paths if len(paths) > 1 or any(path.is_dir() for path in paths) else []


def _warn(error: Exception) -> None:
    show_warning(str(error))


def _inform(text: str) -> None:
    show_info(text)
