"""How it feels to annotate: previews a second, and from a click to its mask, in a real viewer.

A hand moves over drawn nuclei and clicks them, each a new object, with the model that comes with
the plugin; every movement and press is an event of the window. A click has three times:
until its mask is in the labels and handed to the canvas, until the canvas is drawn, and the same
without a preview before it. Then everything is undone, step by step. What a movement costs the
window's thread is our own part; napari's is reported beside it. Needs a screen; on
a machine without one:

    xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" python benchmarks/interaction.py

`--side 8192` measures how much of a large plane a click refreshes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import napari
import numpy as np
import torch
from drawn_nuclei import draw_nuclei
from gui_heartbeat import run_for
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_sam.gui import current_session
from napari_sam.gui.models import load_for_viewer
from napari_sam.gui.widget import SegmentAnything

_PITCH = 80  # pixels from nucleus to nucleus
_LONGEST = 20  # seconds that anything is waited for
_NONE, _CONTROL = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier


class Hand:
    """Moves a mouse over a viewer's canvas, and presses its buttons and keys."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._canvas = viewer.window._qt_viewer.canvas
        self.native = self._canvas.native

    def at(self, point: tuple[float, float]) -> QPointF:
        """Return where on the canvas a pixel of an image without transforms is."""
        x, y = self._canvas.view.scene.transform.map([point[1], point[0], 0, 1])[:2]
        return QPointF(float(x), float(y))

    def move(self, point: tuple[float, float]) -> None:
        """Move the mouse."""
        where, button = self.at(point), Qt.MouseButton.NoButton
        there = QPointF(self.native.mapToGlobal(where.toPoint()))
        event = QMouseEvent(QEvent.Type.MouseMove, where, there, button, button, _NONE)
        QApplication.sendEvent(self.native, event)

    def click(self, point: tuple[float, float]) -> None:
        """Press and let go the left button."""
        left, where = Qt.MouseButton.LeftButton, self.at(point).toPoint()
        QTest.mouseClick(self.native, left, _NONE, where)


class Stopwatch:
    """Times a call, by the clock and by what its thread computed."""

    def __init__(self, call) -> None:
        self._call = call
        self.clock: list[float] = []
        self.thread: list[float] = []

    def __call__(self, *arguments):
        """Call it."""
        clock, thread = time.perf_counter(), time.thread_time()
        try:
            return self._call(*arguments)
        finally:
            self.clock.append(1e3 * (time.perf_counter() - clock))
            self.thread.append(1e3 * (time.thread_time() - thread))


def open_viewer(side: int):
    """Open a viewer on drawn nuclei, and wait until nothing is left to encode."""
    rows = side // _PITCH if side <= 2048 else 2048 // _PITCH
    plane, labels = draw_nuclei(rows, min(side, 2048))
    if side > len(plane):
        times = -(-side // len(plane))
        plane = np.tile(plane, (times, times))[:side, :side]
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 1000)
    viewer.add_image(plane)
    dock = SegmentAnything(viewer, load_for_viewer(0))
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    run_for(1)
    if side > 2048:  # what a person would look at
        viewer.scene.camera.center = 512, 512
        viewer.scene.camera.zoom = 0.8
    session = current_session(viewer)
    run_for(120, lambda: session.is_view_ready)
    if side <= 2048:
        session.wait(120)
        dock.controller.engine.wait(120, background=True)
    else:
        run_for(8)
    middles = ndimage.center_of_mass(labels > 0, labels, range(1, labels.max() + 1))
    on_screen = [at for at in middles if max(at) < 1000]
    return viewer, dock, session, np.array(on_screen)


def hover(hand: Hand, dock, session, middles, seconds: float) -> dict[str, float]:
    """Move over nuclei, sixty times a second; count previews and measure what a movement costs."""
    controller, seen = dock.controller, []
    moves = controller.viewer.mouse_move_callbacks
    at = moves.index(controller.hover._moved)
    ours, napari_too = Stopwatch(moves[at]), Stopwatch(hand.move)
    moves[at] = ours
    showing = Stopwatch(controller.hover._show)
    session.preview_changed.disconnect(controller.hover._show)
    session.preview_changed.connect(showing, check_nargs=False)
    session.preview_changed.connect(seen.append)
    start = time.perf_counter()
    for i in range(round(60 * seconds)):
        along = i / 20  # a nucleus takes a third of a second
        one, other = (middles[(int(along) + k) % len(middles)] for k in (0, 1))
        napari_too(tuple(one + (other - one) * (along % 1)))
        left = start + (i + 1) / 60 - time.perf_counter()
        run_for(max(left, 0.001))
        if time.perf_counter() - start > seconds:
            break
    took = time.perf_counter() - start
    session.preview_changed.disconnect(seen.append)
    session.preview_changed.disconnect(showing)
    session.preview_changed.connect(controller.hover._show)
    moves[at] = controller.hover._moved
    return {
        "hover_per_second": sum(preview is not None for preview in seen) / took,
        "moves_per_second": len(ours.clock) / took,
        "preview_decode_ms": 1e3 * (session.preview_seconds or np.nan),
        "move_ms_median": float(np.median(ours.clock)),
        "move_ms_p95": float(np.percentile(ours.clock, 95)),
        "move_thread_ms_median": float(np.median(ours.thread)),
        "move_thread_ms_p95": float(np.percentile(ours.thread, 95)),
        "move_with_napari_thread_ms_median": float(np.median(napari_too.thread)),
        "show_thread_ms_median": float(np.median(showing.thread)),
    }


def click(hand: Hand, viewer, session, points, rest: bool) -> tuple[list[float], list[float]]:
    """Click nuclei one by one; with `rest`, when the preview is there.

    Returns
    -------
    painted, drawn
        Milliseconds until the mask is handed to the canvas, and until that is drawn.
    """
    painted, drawn, scene = [], [], viewer.window._qt_viewer.canvas._scene_canvas
    for point in map(tuple, points):
        masks: list[float] = []
        frames: list[float] = []
        written = lambda *about, masks=masks: masks.append(time.perf_counter())  # noqa: E731
        hand.move(point)
        if rest:
            run_for(_LONGEST, lambda: session.shown_preview is not None)
        run_for(0.1 if rest else 0.05)
        session.mask_changed.connect(written)
        frame = lambda event, frames=frames, masks=masks: (  # noqa: E731
            frames.append(time.perf_counter()) if masks else None
        )
        scene.events.draw.connect(frame, position="last")
        start = time.perf_counter()
        hand.click(point)
        run_for(_LONGEST, lambda frames=frames: bool(frames))
        session.mask_changed.disconnect(written)
        scene.events.draw.disconnect(frame)
        painted.append(1e3 * (masks[0] - start))
        drawn.append(1e3 * (frames[0] - start))
        run_for(0.2)
    return painted, drawn


def undo(hand: Hand, session, steps: int) -> list[float]:
    """Take clicks back by key; return the milliseconds that each takes."""
    spent = []
    for _ in range(steps):
        before = len(session.journal)
        start = time.perf_counter()
        QTest.keyClick(hand.native, Qt.Key.Key_Z, _CONTROL)
        run_for(_LONGEST, lambda before=before: len(session.journal) != before)
        spent.append(1e3 * (time.perf_counter() - start))
        run_for(0.1)
    return spent


def refreshed(viewer, dock) -> list[int]:
    """Return a list to which the number of pixels of every refresh of the masks is added."""
    areas: list[int] = []
    layer = dock.controller.annotation.labels
    layer.events.labels_update.connect(lambda event: areas.append(event.data.size))
    layer.events.set_data.connect(lambda event: areas.append(layer.data.size))
    return areas


def measure(side: int, threads: int, seconds: float, clicks: int) -> dict[str, float]:
    """Hover, click and undo."""
    torch.set_num_threads(threads)
    viewer, dock, session, middles = open_viewer(side)
    hand = Hand(viewer)
    dock.controller.hover.is_on = True
    results = hover(hand, dock, session, middles, seconds)
    dock.controller.annotation.new_each_click = True
    chosen = np.random.default_rng(0).permutation(len(middles))[: 2 * clicks]
    click(hand, viewer, session, middles[chosen[:1]], True)  # makes the masks' layer, if need be
    areas = refreshed(viewer, dock)
    painted, drawn = click(hand, viewer, session, middles[chosen[1:clicks]], True)
    dock.controller.hover.is_on = False
    unseen, _ = click(hand, viewer, session, middles[chosen[clicks:]], False)
    results |= {
        "click_to_mask_ms_median": float(np.median(painted)),
        "click_to_mask_ms_p95": float(np.percentile(painted, 95)),
        "click_to_drawn_ms_median": float(np.median(drawn)),
        "click_to_mask_without_preview_ms_median": float(np.median(unseen)),
        "pixels_refreshed_median": float(np.median(areas)),
        "undo_ms_median": float(np.median(undo(hand, session, clicks // 2))),
    }
    dock.controller.close()
    viewer.close()
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024, help="of the square plane, in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10, help="of moving")
    parser.add_argument("--clicks", type=int, default=30, help="with a preview, and without")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    wanted = arguments.side, arguments.threads, arguments.seconds, arguments.clicks
    results = {name: round(value, 2) for name, value in measure(*wanted).items()}
    about = {
        "side": arguments.side,
        "threads": arguments.threads,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "napari": napari.__version__,
        "python": platform.python_version(),
    }
    for name, value in {**about, **results}.items():
        print(f"{name:40} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, **results}, indent=2))


if __name__ == "__main__":
    main()
