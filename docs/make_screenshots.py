"""Make the pictures of docs/viewer.md: sample images segmented by clicks of a mouse in napari.

xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" python docs/make_screenshots.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam import samples
from napari_sam.gui import current_session, sample_data
from napari_sam.gui.controller import controller_of
from napari_sam.gui.everything_section import EverythingSection
from napari_sam.gui.session_section import SessionSection

HERE = Path(__file__).parent
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


class Scene:
    """A viewer with a sample and the dock, and a hand on the mouse."""

    def __init__(self, sample: str, plane: tuple[int, ...] = (), zoom: float = 1.0) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1400, 900)
        ((data, about, _),) = sample_data.open_sample(sample)
        self.viewer.add_image(data, **about)
        self.viewer.window.add_plugin_dock_widget("napari-sam-live", "Segment Anything")
        self.settle()
        self.viewer.reset_view()
        self.viewer.scene.camera.zoom *= zoom
        for axis, i in enumerate(plane):
            self.viewer.dims.set_current_step(axis, i)
        self.settle(0.5)

    @property
    def annotation(self):
        return controller_of(self.viewer).annotation

    def settle(self, seconds: float = 0.2) -> None:
        """Let the window catch up, and wait until nothing is computed."""
        for _ in range(2):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                QApplication.processEvents()
                time.sleep(0.005)
            session = current_session(self.viewer)
            if not session.wait(300):
                raise RuntimeError("nothing computed within five minutes")

    def where(self, plane, point) -> QPoint:
        world = self.annotation.image.data_to_world([*plane, *point])[-2:]
        canvas = self.viewer.window._qt_viewer.canvas
        x, y = canvas.view.scene.transform.map([world[1], world[0], 0, 1])[:2]
        return QPoint(round(float(x)), round(float(y)))

    def click(self, plane, point, button=LEFT) -> None:
        native, at = self.viewer.window._qt_viewer.canvas.native, self.where(plane, point)
        QTest.mouseMove(native, at)
        QTest.mouseClick(native, button, Qt.KeyboardModifier.NoModifier, at)
        self.settle(0.1)

    def drag(self, plane, start, end) -> None:
        native = self.viewer.window._qt_viewer.canvas.native
        a, b = self.where(plane, start), self.where(plane, end)
        none = Qt.KeyboardModifier.NoModifier
        QTest.mouseMove(native, a)
        QTest.mousePress(native, LEFT, none, a)
        for share in (0.3, 0.7, 1.0):
            QTest.mouseMove(native, a + (b - a) * share)
            QApplication.processEvents()
        QTest.mouseRelease(native, LEFT, none, b)
        self.settle(0.1)

    def click_sample(self, sample: str, plane: tuple[int, ...], most: int) -> None:
        """Click what the sample's prompts name on a plane, each as an object of its own."""
        wanted = [p for (at, _), p in samples.load(sample).prompts.items() if at == plane]
        for i, prompts in enumerate(wanted[:most]):
            if i:
                self.annotation.session.new_object()
            for point, label in zip(prompts.points, prompts.point_labels, strict=True):
                self.click(plane, point, LEFT if label else RIGHT)

    def find_all(self) -> None:
        """Press the button that finds everything in the plane shown."""
        button = self.dock.findChild(EverythingSection).plane
        QTest.mouseClick(button, LEFT)
        controller_of(self.viewer).engine.wait(300, background=True)
        self.settle()

    def save(self, name: str, folder: Path, canvas_only: bool = False) -> None:
        self.settle(0.3)
        pixels = self.viewer.window.screenshot(canvas_only=canvas_only, flash=False)
        write(np.asarray(pixels)[..., :3], folder / f"{name}.png")

    @property
    def dock(self):
        return self.viewer.window.dock_widgets["Segment Anything (napari-sam-live)"]

    def save_dock(self, name: str, folder: Path) -> None:
        self.settle(0.3)
        dock, path = self.dock, folder / f"{name}.png"
        height = dock.sizeHint().height()
        dock.grab(QRect(0, 0, dock.width(), height)).save(str(path))
        write(np.asarray(Image.open(path).convert("RGB")), path)

    def close(self) -> None:
        self.viewer.close()
        QApplication.processEvents()


def save_session(folder: Path) -> None:
    """Show an object with a step back, and the offer to continue when the image is opened again."""
    scene = Scene("nuclei")
    session = scene.annotation.session
    scene.click_sample("nuclei", (), 5)
    session.next_candidate(())
    session.lock([2])
    session.undo()
    scene.save_dock("viewer-undo", folder)
    scene.settle(1)  # until it is on disk
    scene.close()
    scene = Scene("nuclei")
    scene.settle(1)
    scene.dock.findChild(SessionSection).fold.expand()
    scene.save_dock("viewer-continue", folder)
    scene.close()


def write(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, optimize=True)
    print(path, path.stat().st_size // 1024, "kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE / "images")
    folder = parser.parse_args().output
    os.environ["NAPARI_SAM_HOME"] = tempfile.mkdtemp()  # no embeddings of earlier runs
    folder.mkdir(parents=True, exist_ok=True)

    scene = Scene("nuclei")
    scene.click_sample("nuclei", (), 12)
    scene.save("viewer", folder)
    scene.save_dock("viewer-dock", folder)
    scene.close()

    save_session(folder)

    scene = Scene("histology")
    scene.click_sample("histology", (), 10)
    scene.save("viewer-histology", folder)
    scene.close()

    scene = Scene("histology")
    scene.find_all()
    scene.save("viewer-everything", folder)
    scene.close()

    scene = Scene("phase_contrast")
    scene.click_sample("phase_contrast", (), 8)
    scene.save("viewer-phase-contrast", folder)
    scene.close()

    scene = Scene("ovule_3d", (16,))
    scene.click_sample("ovule_3d", (16,), 6)
    scene.save("viewer-stack", folder)
    scene.close()


if __name__ == "__main__":
    main()
