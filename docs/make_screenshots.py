"""Make the pictures of the docs: sample images segmented with mouse and keys in a real viewer.

xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" python docs/make_screenshots.py [SCENE ...]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import napari
import numpy as np
import tifffile
from napari._qt.dialogs.qt_notification import NapariQtNotification
from PIL import Image, ImageDraw
from qtpy.QtCore import QEvent, QPoint, QPointF, QRect, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget
from scipy import ndimage

from napari_sam import load_segmenter, samples
from napari_sam.batch import segment_all_files
from napari_sam.gui import current_session, sample_data
from napari_sam.gui.choice_section import ChoiceSection
from napari_sam.gui.controller import controller_of
from napari_sam.gui.everything_section import EverythingSection
from napari_sam.gui.follow_section import FollowSection
from napari_sam.gui.images_section import ImagesSection
from napari_sam.gui.mask_section import MaskSection
from napari_sam.gui.objects_section import ObjectsSection
from napari_sam.gui.question_section import QuestionSection
from napari_sam.gui.queue_section import QueueSection
from napari_sam.gui.seen_section import SeenSection
from napari_sam.gui.session_section import SessionSection
from napari_sam.gui.teach_section import TeachSection
from napari_sam.session import Preview
from napari_sam.training.synthetic.movies import generate_movie

HERE = Path(__file__).parent
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier

# Where a nucleus of the sample *embryo_3d* is clicked, and in which object's colour.
START, PLACE, NUCLEUS = (27,), (63, 30), 4
_MARGIN = 8  # pixels between the parts of a picture


class Scene:
    """A viewer with a sample and the dock, and a hand on mouse and keys."""

    def __init__(
        self,
        sample: str | np.ndarray,
        plane: tuple[int, ...] = (),
        zoom: float = 1.0,
        size: tuple[int, int] = (1400, 900),
        narrow: bool = False,
        name: str = "",
    ) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*size)
        if isinstance(sample, str):
            ((data, about, _),) = sample_data.open_sample(sample)
        else:
            data, about = sample, {"name": name}
        self.viewer.add_image(data, **about)
        self.viewer.window.add_plugin_dock_widget("napari-sam-live", "Segment Anything")
        if narrow:  # the canvas and the dock alone
            self._view.dockLayerList.hide()
            self._view.dockLayerControls.hide()
        controller_of(self.viewer).hover.is_on = True  # however slow this machine is
        self.mouse = QPoint(0, 0)
        self.settle()
        self.viewer.reset_view()
        self.viewer.scene.camera.zoom *= zoom
        for axis, i in enumerate(plane):
            self.viewer.dims.set_current_step(axis, i)
        self.settle(0.5)

    @property
    def annotation(self):
        return controller_of(self.viewer).annotation

    @property
    def session(self):
        return self.annotation.session

    @property
    def dock(self):
        return self.viewer.window.dock_widgets["Segment Anything (napari-sam-live)"]

    @property
    def canvas(self) -> QWidget:
        return self._view.canvas.native

    @property
    def _view(self):
        return self.viewer.window._qt_viewer

    def part(self, kind: type) -> QWidget:
        """Return a section of the dock."""
        return self.dock.findChild(kind)

    # What a hand does

    def settle(self, seconds: float = 0.2) -> None:
        """Let the window catch up, and wait until nothing is computed."""
        for _ in range(2):
            self.look(seconds)
            if not current_session(self.viewer).wait(300):
                raise RuntimeError("nothing computed within five minutes")

    def look(self, seconds: float = 0.2) -> None:
        """Let the window catch up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def where(self, plane, point) -> QPoint:
        world = self.annotation.image.data_to_world([*plane, *point])[-2:]
        x, y = self._view.canvas.view.scene.transform.map([world[1], world[0], 0, 1])[:2]
        return QPoint(round(float(x)), round(float(y)))

    def move_to(self, at: QPoint) -> None:
        self.mouse = at
        none = Qt.MouseButton.NoButton
        there = QPointF(self.canvas.mapToGlobal(at))
        event = QMouseEvent(QEvent.Type.MouseMove, QPointF(at), there, none, none, NONE)
        QApplication.sendEvent(self.canvas, event)

    def hover(self, plane, point) -> Preview:
        """Rest with the mouse over a place until what a click there would take is shown."""
        self.viewer.mouse_over_canvas = True
        hover, end = controller_of(self.viewer).hover, time.monotonic() + 60
        self.move_to(self.where(plane, point))
        while (shown := hover.preview) is None:
            if time.monotonic() > end:
                raise RuntimeError("no preview within a minute")
            self.look(0.05)
        self.look(0.2)
        return shown

    def click(self, plane, point, button=LEFT, modifier=NONE) -> None:
        at = self.where(plane, point)
        self.move_to(at)
        QTest.mouseClick(self.canvas, button, modifier, at)
        self.settle(0.1)

    def drag(self, plane, points, button=LEFT) -> None:
        """Draw a line with the mouse."""
        first, *others = [self.where(plane, point) for point in points]
        self.move_to(first)
        QTest.mousePress(self.canvas, button, NONE, first)
        for at in others:
            self.move_to(at)
            self.look(0.02)
        QTest.mouseRelease(self.canvas, button, NONE, others[-1])
        self.settle(0.1)

    def finish(self, plane, mask: np.ndarray) -> None:
        """Click an object once, and paint what is wrong."""
        self.click(plane, middle(mask))
        labels, number = self.annotation.labels, self.session.object_id
        wrong = self.session.mask(number, plane[0]) & ~mask
        with labels.block_history():
            for part, value in ((wrong, 0), (mask, number)):
                rows, columns = np.nonzero(part)
                labels.data_setitem((np.full_like(rows, plane[0]), rows, columns), value)
        self.settle(0.1)

    def until(self, is_so: Callable[[], bool]) -> None:
        """Let the window go on until something is so."""
        end = time.monotonic() + 600
        while not is_so():
            if time.monotonic() > end:
                raise RuntimeError("it wasn't so within ten minutes")
            self.look(0.05)

    def press(self, key, modifier=NONE) -> None:
        QTest.keyClick(self.canvas, key, modifier)
        self.settle(0.1)

    def click_sample(self, sample: str, plane: tuple[int, ...], most: int) -> None:
        """Click what the sample's prompts name on a plane, each as an object of its own."""
        wanted = [p for (at, _), p in samples.load(sample).prompts.items() if at == plane]
        for i, prompts in enumerate(wanted[:most]):
            if i:
                self.session.new_object()
            for point, label in zip(prompts.points, prompts.point_labels, strict=True):
                self.click(plane, point, LEFT if label else RIGHT)

    def find_all(self) -> None:
        """Press the button that finds everything in the plane shown."""
        QTest.mouseClick(self.part(EverythingSection).plane, LEFT)
        self.wait_for_all()

    def wait_for_all(self) -> None:
        """Wait until nothing is computed, in the background either; what was told has been read."""
        controller_of(self.viewer).engine.wait(300, background=True)
        self.settle()
        controller_of(self.viewer).engine.wait(300, background=True)
        self.look()
        for told in self.viewer.window._qt_window.findChildren(NapariQtNotification):
            told.close()
        self.look()

    def wait_for_list(self) -> None:
        """Wait until an image of the list is open."""
        listed, end = controller_of(self.viewer).listed, time.monotonic() + 60
        while listed.busy or self.annotation is None or listed.list.at is None:
            if time.monotonic() > end:
                raise RuntimeError("no image of the list opened within a minute")
            self.look(0.05)
        self.wait_for_all()

    # Pictures

    def pixels(self, canvas_only: bool = False) -> np.ndarray:
        self.look(0.3)
        taken = self.viewer.window.screenshot(canvas_only=canvas_only, flash=False)
        return np.asarray(taken)[..., :3]

    def save(self, name: str, folder: Path) -> None:
        self.settle(0.3)
        write(self.pixels(), folder / f"{name}.png")

    def around(self, plane, point, height: int, width: int) -> np.ndarray:
        """Return the canvas around a place, so many pixels of the screen high and wide."""
        pixels = self.pixels(canvas_only=True)
        scale = pixels.shape[1] / self.canvas.width()
        at = self.where(plane, point)
        top = round(min(max(at.y() * scale - height / 2, 0), pixels.shape[0] - height))
        left = round(min(max(at.x() * scale - width / 2, 0), pixels.shape[1] - width))
        return pixels[top : top + height, left : left + width]

    def grab(self, widget: QWidget, height: int | None = None) -> np.ndarray:
        """Return a part of the window."""
        self.look(0.3)
        size = QRect(0, 0, widget.width(), height or widget.height())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "part.png"
            widget.grab(size).save(str(path))
            return np.asarray(Image.open(path).convert("RGB"))

    def save_dock(self, name: str, folder: Path) -> None:
        self.settle(0.3)
        write(self.grab(self.dock, self.dock.sizeHint().height()), folder / f"{name}.png")

    def close(self) -> None:
        self.viewer.close()
        QApplication.processEvents()


def side_by_side(*parts: np.ndarray) -> np.ndarray:
    """Return pictures in a row, on white."""
    height = max(len(part) for part in parts)
    gap = np.full((height, _MARGIN, 3), 255, np.uint8)
    row: list[np.ndarray] = []
    for part in parts:
        below = np.full((height - len(part), part.shape[1], 3), 255, np.uint8)
        row += [gap, np.concatenate([part, below])]
    return np.concatenate(row[1:], axis=1)


def one_below_another(*parts: np.ndarray) -> np.ndarray:
    """Return pictures of one width in a column, on white."""
    gap = np.full((_MARGIN, parts[0].shape[1], 3), 255, np.uint8)
    column: list[np.ndarray] = []
    for part in parts:
        column += [gap, part]
    return np.concatenate(column[1:])


def write(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, optimize=True)
    print(path, path.stat().st_size // 1024, "kB")


# The scenes


def clicks(folder: Path) -> None:
    """Nuclei clicked one by one, and the dock."""
    scene = Scene("nuclei")
    scene.click_sample("nuclei", (), 12)
    scene.hover((), (240, 654))
    scene.save("viewer", folder)
    scene.save_dock("viewer-dock", folder)
    scene.close()


def preview(folder: Path) -> None:
    """What a click would take, and the candidates that a key goes through."""
    scene, place = Scene("phase_contrast", zoom=7), (195, 190)
    scene.viewer.scene.camera.center = (0, *place)
    scene.settle()
    parts = {}
    for _ in range(3):
        scene.press(Qt.Key.Key_W)
        shown = scene.hover((), place)
        parts[shown.mask.area] = scene.around((), place, 330, 330)
    largest_first = sorted(parts, reverse=True)
    write(side_by_side(*map(parts.get, largest_first)), folder / "viewer-candidates.png")
    scene.close()


def strokes(folder: Path) -> None:
    """A stroke along an object, a lasso around another, a click and a box."""
    scene = Scene("nuclei", zoom=3)
    scene.viewer.scene.camera.center = (0, 270, 320)
    scene.settle()
    scene.press(Qt.Key.Key_G, SHIFT)
    scene.drag((), [(213 + 1.4 * i, 320 + 2.5 * i) for i in range(14)])
    scene.press(Qt.Key.Key_N)
    scene.press(Qt.Key.Key_U, SHIFT)
    turn = np.linspace(0, 2 * np.pi, 30)
    scene.drag((), [(320 + 22 * np.sin(t), 296 + 26 * np.cos(t)) for t in turn])
    write(scene.around((), (270, 318), 500, 690), folder / "viewer-strokes.png")
    scene.close()


def queue(folder: Path) -> None:
    """The proofreading queue over what was found."""
    scene = Scene("nuclei", size=(1400, 980))
    scene.find_all()
    scene.press(Qt.Key.Key_Q, SHIFT)
    scene.wait_for_all()
    scene.part(QueueSection).hopeless.click()
    scene.wait_for_all()
    scene.press(Qt.Key.Key_8)
    scene.wait_for_all()
    scene.save("viewer-queue", folder)
    scene.close()


def objects(folder: Path) -> None:
    """The table of objects, with classes."""
    scene = Scene("nuclei", zoom=1.3, size=(1400, 1080))
    scene.find_all()
    section = scene.part(ObjectsSection)
    section.fold.expand()
    section.classes.fold.expand()
    section.classes.add.click()
    section.classes.add.click()
    scene.wait_for_all()
    session = scene.session
    session.rename_class("class 1", "resting")
    session.rename_class("class 2", "dividing")
    rows = session.objects
    typical = sorted(row.area for row in rows)[len(rows) // 2]
    session.set_class([row.id for row in rows], "resting")
    session.set_class([row.id for row in rows if row.area < 0.6 * typical], "dividing")
    session.accept(row.id for row in rows[:6])
    session.lock([rows[0].id])
    colours = section.colours
    colours.setCurrentIndex(colours.findText("by class"))
    colours.activated.emit(colours.currentIndex())
    section.outlines.click()
    scene.wait_for_all()
    scene.save("viewer-objects", folder)
    scene.close()


def seen(folder: Path) -> None:
    """The model's input."""
    scene = Scene("phase_contrast", zoom=3, size=(1400, 1080))
    section = scene.part(SeenSection)
    section.fold.expand()
    scene.wait_for_all()
    scene.look(1)
    write(scene.grab(section), folder / "viewer-seen.png")
    scene.close()


def seen_badge(folder: Path) -> None:
    """Masks that were made from another input than the layer shows now."""
    scene = Scene("nuclei", size=(1400, 1080))
    scene.click_sample("nuclei", (), 4)
    low, high = scene.annotation.image.contrast_limits
    scene.annotation.image.contrast_limits = (low, low + (high - low) / 3)
    scene.look(1)
    section = scene.part(SeenSection)
    section.fold.expand()
    scene.wait_for_all()
    scene.look(1)
    write(scene.grab(section), folder / "viewer-seen-badge.png")
    scene.close()


def correct(folder: Path) -> None:
    """Labels of another program, offered to be corrected."""
    scene = Scene("nuclei")
    pixels = np.asarray(scene.annotation.image.data)
    labels, _ = ndimage.label(ndimage.gaussian_filter(pixels.astype(float), 2) > pixels.mean())
    scene.viewer.add_labels(labels, name="other program")
    scene.annotation.click_here()
    scene.settle(0.5)
    scene.save("viewer-correct", folder)
    scene.close()


def clean_up(folder: Path) -> None:
    """What is done to masks before they are written."""
    scene = Scene("nuclei")
    section = scene.part(MaskSection)
    section.fold.expand()
    section.fill_holes.click()
    section.smallest.setValue(20)
    scene.settle(1)
    write(scene.grab(section), folder / "viewer-clean-up.png")
    scene.close()


def images(folder: Path) -> None:
    """The images of a folder, each as far as it is."""
    scene = Scene("nuclei", size=(1400, 1080))
    pixels = np.asarray(scene.annotation.image.data)
    with tempfile.TemporaryDirectory() as fields:
        for i in range(4):
            tifffile.imwrite(Path(fields) / f"field_{i + 1}.tif", np.roll(pixels, 60 * i, i % 2))
        listed = controller_of(scene.viewer).listed
        listed.open(Path(fields))
        scene.wait_for_list()
        for do in (lambda: listed.mark_done(True), scene.find_all):
            do()
            scene.look(1)
            listed.step(1)
            scene.wait_for_list()
        scene.settle(0.5)
        write(scene.grab(scene.part(ImagesSection)), folder / "viewer-images.png")
        scene.close()


def light(folder: Path) -> None:
    """The light theme."""
    scene = Scene("nuclei")
    scene.viewer.theme = "light"
    scene.click_sample("nuclei", (), 12)
    scene.save("viewer-light", folder)
    scene.close()


def help_overlay(folder: Path) -> None:
    """Keys and mouse over the canvas."""
    scene = Scene("nuclei")
    scene.press(Qt.Key.Key_H)
    scene.save("viewer-help", folder)
    scene.close()


def session(folder: Path) -> None:
    """An object with a step back, and the offer to continue when the image is opened again."""
    scene = Scene("nuclei")
    scene.click_sample("nuclei", (), 5)
    scene.session.next_candidate(())
    scene.session.lock([2])
    scene.session.undo()
    scene.save_dock("viewer-undo", folder)
    scene.settle(1)  # until it is on disk
    scene.close()
    scene = Scene("nuclei")
    scene.settle(1)
    scene.part(SessionSection).fold.expand()
    scene.settle(1)
    parts = [scene.grab(scene.part(kind)) for kind in (QuestionSection, SessionSection)]
    write(one_below_another(*parts), folder / "viewer-continue.png")
    scene.close()


def everything(folder: Path) -> None:
    """Everything found in stained tissue, and ten clicks."""
    scene = Scene("histology")
    scene.click_sample("histology", (), 10)
    scene.save("viewer-histology", folder)
    scene.close()
    os.environ["NAPARI_SAM_HOME"] = tempfile.mkdtemp()  # or the dock would offer to go on
    scene = Scene("histology")
    scene.find_all()
    scene.save("viewer-everything", folder)
    scene.close()


def phase_contrast(folder: Path) -> None:
    """Clicks on cells in phase contrast."""
    scene = Scene("phase_contrast")
    scene.click_sample("phase_contrast", (), 8)
    scene.save("viewer-phase-contrast", folder)
    scene.close()


def stack(folder: Path) -> None:
    """A slice of a stack, and the strip."""
    scene = Scene("ovule_3d", (16,))
    scene.click_sample("ovule_3d", (16,), 6)
    scene.save("viewer-stack", folder)
    scene.close()


def follow(folder: Path) -> None:
    """A nucleus that was followed through a stack."""
    scene = Scene("embryo_3d", START, size=(1400, 980))
    scene.session.object_id = NUCLEUS
    scene.click(START, PLACE)
    scene.press(Qt.Key.Key_F, CONTROL)
    scene.wait_for_all()
    scene.press(Qt.Key.Key_Right, SHIFT)
    scene.settle(0.5)
    scene.save("viewer-follow", folder)
    scene.close()


def tracks(folder: Path) -> None:
    """A procedural movie whose objects were found and linked, and its tracks."""
    movie = generate_movie(np.random.default_rng(3), frames=12, size=160, cells=8, blank=0)
    scene = Scene(movie.image, (6,), size=(1400, 980), name="movie")
    scene.viewer.dims.axis_labels = ("t", "y", "x")
    scene.wait_for_all()
    QTest.mouseClick(scene.part(EverythingSection).stack, LEFT)
    scene.wait_for_all()
    scene.session.link_objects()
    scene.wait_for_all()
    scene.press(Qt.Key.Key_L, CONTROL)
    scene.wait_for_all()
    scene.viewer.dims.set_current_step(0, 10)
    scene.wait_for_all()
    scene.save("viewer-tracks", folder)
    scene.close()


def machine(folder: Path) -> None:
    """The top of the dock, where another machine's address is asked for."""
    scene = Scene("nuclei")
    scene.wait_for_all()
    section = scene.part(ChoiceSection)
    row = section.device.findText("another machine…")
    section.device.setCurrentIndex(row)
    section.device.activated.emit(row)
    section.form.address.setText("ws://127.0.0.1:8765")
    section.form.token.setText("x" * 43)
    scene.settle(0.5)
    write(scene.grab(section), folder / "viewer-machine.png")
    scene.close()


def batch_overlay(folder: Path) -> None:
    """The picture that a batch writes beside its labels."""
    with tempfile.TemporaryDirectory() as place:
        image = Path(place) / "tissue.png"
        write(np.asarray(samples.load("histology").data), image)
        segment_all_files(load_segmenter("nano"), image, place, overlay=True)
        overlay = Image.open(Path(place) / "tissue_overlay.png").convert("RGB")
        write(np.asarray(overlay), folder / "batch-overlay.png")


# The animations


class Film:
    """Pictures of a viewer, one after the other, with the mouse drawn into them.

    Parameters
    ----------
    scene
        What is filmed.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.frames: list[Image.Image] = []
        self.milliseconds: list[int] = []

    def take(self, milliseconds: int, mouse: bool = True, caption: str = "") -> None:
        """Take a picture that is shown for so long."""
        pixels = Image.fromarray(self.scene.pixels())
        draw = ImageDraw.Draw(pixels)
        if mouse:
            window = self.scene.viewer.window._qt_window
            at = self.scene.canvas.mapTo(window, self.scene.mouse)
            x, y = at.x(), at.y()
            arrow = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12)]
            draw.polygon([(x + i, y + j) for i, j in arrow], fill="white", outline="black")
        if caption:
            corner = self.scene.canvas.mapTo(self.scene.viewer.window._qt_window, QPoint(12, 10))
            box = draw.textbbox((corner.x(), corner.y()), caption, font_size=20)
            draw.rectangle((box[0] - 6, box[1] - 5, box[2] + 6, box[3] + 5), fill="#101418")
            draw.text((corner.x(), corner.y()), caption, fill="white", font_size=20)
        self.frames.append(pixels)
        self.milliseconds.append(milliseconds)

    def save(self, path: Path, rare: bool = False) -> None:
        """Write it as a GIF of few colours that all pictures share; `rare` ones, too, if wanted."""
        small = [frame.resize((frame.width // 4, frame.height // 4)) for frame in self.frames]
        every = Image.new("RGB", (small[0].width, sum(each.height for each in small)))
        for i, each in enumerate(small):
            every.paste(each, (0, i * each.height))
        how = Image.Quantize.MAXCOVERAGE if rare else Image.Quantize.MEDIANCUT
        palette = every.quantize(128 if rare else 255, how)
        first, *others = [
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames
        ]
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=self.milliseconds,
            loop=0,
            optimize=False,
            disposal=1,
        )
        print(path, path.stat().st_size // 1024, "kB")


def animation(folder: Path) -> None:
    """Hover, three clicks, find all, proofread."""
    scene = Scene("nuclei", zoom=1.5, size=(1000, 960), narrow=True)
    scene.viewer.scene.camera.center = (0, 240, 340)
    film = Film(scene)
    scene.press(Qt.Key.Key_N, SHIFT)  # each click a new object
    told = "Move the mouse: what a click would take"
    for i, place in enumerate(((222, 338), (338, 445), (158, 258))):
        scene.hover((), place)
        film.take(1400 if i == 0 else 700, caption=told)
        told = "Each click a new object"
        scene.click((), place)
        film.take(1000 if i == 0 else 700, caption=told)
    scene.press(Qt.Key.Key_F, SHIFT)
    scene.wait_for_all()
    film.take(1600, mouse=False, caption="Shift+F: find all the others")
    scene.press(Qt.Key.Key_Q, SHIFT)
    scene.wait_for_all()
    scene.part(QueueSection).hopeless.click()  # what is no object, at once
    scene.wait_for_all()
    film.take(1900, mouse=False, caption="Shift+Q: proofread, the doubtful first")
    for key, caption in ((Qt.Key.Key_0, "0: delete it"), (Qt.Key.Key_8, "8: accept it")):
        scene.press(key)
        scene.wait_for_all()
        film.take(1200, mouse=False, caption=caption)
    scene.press(Qt.Key.Key_R, SHIFT)
    scene.wait_for_all()
    scene.viewer.reset_view()
    film.take(3000, mouse=False, caption="Shift+R: accept all above it. Done")
    film.save(folder / "viewer.gif")
    scene.close()


def stack_animation(folder: Path) -> None:
    """One click becomes an object in three dimensions."""
    scene = Scene("embryo_3d", START, zoom=1.1, size=(820, 760), narrow=True)
    scene.session.object_id = NUCLEUS
    film, at = Film(scene), START
    scene.hover(at, PLACE)
    film.take(1200, caption="Click an object on one slice")
    scene.click(at, PLACE)
    film.take(900, caption="Click an object on one slice")
    scene.press(Qt.Key.Key_F, CONTROL)
    scene.wait_for_all()
    film.take(1300, mouse=False, caption="Ctrl+F: follow it through the stack")
    slices = sorted(plane[0] for plane in scene.session.quality(scene.session.object_id))
    for z in slices[::2]:
        scene.viewer.dims.set_current_step(0, z)
        scene.settle(0.2)
        film.take(250, mouse=False, caption="It is on every slice it lives on")
    scene.press(Qt.Key.Key_Right, CONTROL | SHIFT)
    scene.settle(0.5)
    film.take(1500, mouse=False, caption="The bars say how sure each slice is")
    scene.part(FollowSection).solid.click()
    scene.settle(0.5)
    for turn in range(0, 360, 36):
        scene.viewer.scene.camera.angles = (10, -30, 60 + turn)
        film.take(150, mouse=False, caption="One click, one object")
    film.save(folder / "stack.gif", rare=True)
    scene.close()


def queue_animation(folder: Path) -> None:
    """The queue: delete, accept, and all that is left at once."""
    scene = Scene("nuclei", zoom=1.2, size=(900, 900), narrow=True)
    film = Film(scene)
    scene.find_all()
    film.take(1500, mouse=False, caption="Everything is found. Is it right?")
    scene.press(Qt.Key.Key_Q, SHIFT)
    scene.wait_for_all()
    for key, caption in (
        (None, "Shift+Q: the most doubtful object comes first"),
        (Qt.Key.Key_0, "A speck: 0 deletes it"),
        (Qt.Key.Key_0, "Another one: 0"),
        (Qt.Key.Key_8, "A nucleus: 8 accepts it"),
        (Qt.Key.Key_8, "At the border, and right: 8"),
    ):
        film.take(1500, mouse=False, caption=caption)
        if key is not None:
            scene.press(key)
            scene.wait_for_all()
    film.take(1500, mouse=False, caption="Shift+R: accept this and all above it")
    scene.press(Qt.Key.Key_R, SHIFT)
    scene.wait_for_all()
    scene.viewer.reset_view()
    film.take(2500, mouse=False, caption="The field is done; Ctrl+Z takes anything back")
    film.save(folder / "queue.gif")
    scene.close()


def teach(folder: Path, data: Path) -> None:
    """Bacteria before and after five of them are taught, and the dock in between.

    Parameters
    ----------
    data
        Folder with ``coli_brightfield.npz``: arrays ``coli_01.image``, ``coli_01.label`` and so on
        of bright-field planes of ColiCoords (MIT licence).
    """
    with np.load(data / "coli_brightfield.npz") as packed:
        names = ("coli_01", "coli_02", "coli_04")
        planes = np.stack([packed[f"{name}.image"] for name in names])
        labels = np.stack([packed[f"{name}.label"] for name in names])
    scene = Scene(planes, (2,), zoom=2.8, name="E. coli")
    before = click_each(scene, (2,), labels[2])
    while scene.session.can_undo:
        scene.session.undo()
    scene.settle()
    scene.viewer.dims.set_current_step(0, 0)
    scene.settle(0.5)
    for number in np.unique(labels[0])[1:6]:
        look_at(scene, middle(labels[0] == number))
        scene.press(Qt.Key.Key_N)
        scene.finish((0,), labels[0] == number)
    scene.press(Qt.Key.Key_N)
    teach_these(scene, folder)
    scene.viewer.dims.set_current_step(0, 2)
    scene.settle(0.5)
    after = click_each(scene, (2,), labels[2])
    write(one_below_another(before, after), folder / "teach-before-after.png")
    scene.close()


def teach_these(scene: Scene, folder: Path) -> None:
    """Teach the finished objects, and use what came of it."""
    section, controller = scene.part(TeachSection), controller_of(scene.viewer)
    teaching = controller.teaching
    section.fold.expand()
    scene.look(0.5)
    write(scene.grab(section), folder / "teach-ask.png")
    section.ask.click()
    scene.until(lambda: teaching.lecture is not None and teaching.lecture.fraction > 0.2)
    write(scene.grab(section), folder / "teach-learning.png")
    scene.until(lambda: teaching.lecture is None)
    write(scene.grab(section), folder / "teach-offer.png")
    section.use.click()
    scene.until(lambda: teaching.offer is None and teaching.naming is None)
    scene.until(lambda: controller.loading is None)


def click_each(scene: Scene, plane: tuple[int, ...], labels: np.ndarray) -> np.ndarray:
    """Click each of a few objects once; return what is there then, in a row."""
    parts = []
    for number in np.unique(labels)[1:6]:
        place = middle(labels == number)
        look_at(scene, place)
        scene.press(Qt.Key.Key_N)
        scene.click(plane, place)
        parts.append(scene.around(plane, place, 180, 180))
    return side_by_side(*parts)


def look_at(scene: Scene, place: tuple[float, float]) -> None:
    """Bring a place of the plane into the middle of the canvas."""
    scene.viewer.scene.camera.center = (0, *place)
    scene.settle()


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Return the place in a mask that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return float(row), float(column)


SCENES: dict[str, Callable[[Path], None]] = {
    made.__name__: made
    for made in (
        clicks, preview, strokes, queue, objects, seen, seen_badge, correct, clean_up, images,
        light, help_overlay, session, everything, phase_contrast, stack, follow, tracks,
        machine, batch_overlay, animation, queue_animation, stack_animation,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"of {', '.join(SCENES)}")
    parser.add_argument("--output", type=Path, default=HERE / "images")
    parser.add_argument(
        "--data", type=Path, help="folder with coli_brightfield.npz, for the scene 'teach'"
    )
    options = parser.parse_args()
    scenes = dict(SCENES)
    if options.data is not None:
        scenes["teach"] = partial(teach, data=options.data)
    if unknown := [name for name in options.scenes if name not in scenes]:
        parser.error(f"expected scenes of {', '.join(scenes)}, got {', '.join(unknown)}")
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.scenes or scenes:
        os.environ["NAPARI_SAM_HOME"] = tempfile.mkdtemp()  # nothing of earlier runs
        scenes[name](options.output)


if __name__ == "__main__":
    main()
