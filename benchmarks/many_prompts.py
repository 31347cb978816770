"""What one more click costs among the prompts that are there already.

First in a session without a window: the time of `add_point` and of `last_change`, with a model
that answers nothing. Then in a viewer: real clicks of the mouse, each on an object of its own,
answered with a small disk at once; all prompts lie on the plane that is shown. Counted is what
the window's thread computes, from the press of the button until the mask is written and the table
of prompts describes the model's input. Beside it the same clicks in a points layer of napari alone,
which copies all of its points and sends them to the screen again for each click. Needs a screen;
on a machine without one:

    xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" python benchmarks/many_prompts.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_sam.prompts import Prompts
from napari_sam.session import ArraySource, Session

# What answers with disks is the tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

_SIDE = 1024


def prompts_of(count: int) -> dict[tuple[int, tuple], Prompts]:
    """Give objects a click each, spread over the upper half of a plane."""
    places = np.random.default_rng(0).integers((0, 0), (_SIDE // 2, _SIDE), (count, 2))
    return {(i + 1, ()): Prompts([place], [1]) for i, place in enumerate(places.tolist())}


def without_window(count: int, clicks: int) -> dict[str, float]:
    """Measure a session: medians in milliseconds."""
    session = Session(None, ArraySource(np.zeros((_SIDE, _SIDE), np.uint8)))
    session.add_prompts(prompts_of(count))
    adding, describing = [], []
    for i in range(clicks):
        start = time.perf_counter()
        session.add_point((), (600, 3 * i), object_id=count + 1 + i)
        adding.append(time.perf_counter() - start)
        start = time.perf_counter()
        assert session.next_undo.startswith("added a point")
        describing.append(time.perf_counter() - start)
    return {"add_point": _median(adding), "last_change": _median(describing)}


def in_viewer(count: int, clicks: int) -> dict[str, float]:
    """Measure real clicks: medians in milliseconds of the window's thread."""
    import napari
    from core.fake_segmenter import FakeSegmenter

    from napari_sam.gui import current_session
    from napari_sam.gui.widget import SegmentAnything

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 900)
    viewer.add_image(np.zeros((_SIDE, _SIDE), np.uint8))
    dock = SegmentAnything(viewer, lambda model, device, progress: FakeSegmenter())
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    viewer.reset_view()
    _run_for(500)
    session, annotation = current_session(viewer), dock.controller.annotation
    session.add_prompts(prompts_of(count))
    assert session.wait(600)
    annotation.click_here()
    _run_for(1500)
    whole, press = [], []
    for i in range(clicks):
        session.new_object()
        _run_for(300)
        start = time.thread_time()
        _click(viewer, (600, 20 + 30 * i))
        press.append(time.thread_time() - start)
        _run_for(900)
        whole.append(time.thread_time() - start)
    assert session.prompts.next_id == count + clicks + 1, "not every click arrived"
    dock.controller.close()
    viewer.close()
    return {"click": _median(press), "click_to_table": _median(whole)}


def napari_alone(count: int, clicks: int) -> dict[str, float]:
    """Measure the same clicks in a points layer that nobody listens to."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 900)
    viewer.add_image(np.zeros((_SIDE, _SIDE), np.uint8))
    points = viewer.add_points(
        np.reshape([one.points[0] for one in prompts_of(count).values()], (-1, 2)), size=17
    )
    points.mode = "add"
    viewer.reset_view()
    _run_for(1000)
    whole, press = [], []
    for i in range(clicks):
        _run_for(300)
        start = time.thread_time()
        _click(viewer, (600, 20 + 30 * i))
        press.append(time.thread_time() - start)
        _run_for(900)
        whole.append(time.thread_time() - start)
    assert len(points.data) == count + clicks, "not every click arrived"
    viewer.close()
    return {"napari_click": _median(press), "napari_click_to_drawn": _median(whole)}


def _click(viewer, point: tuple[float, float]) -> None:
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    canvas = viewer.window._qt_viewer.canvas
    x, y = canvas.view.scene.transform.map([point[1], point[0], 0, 1])[:2]
    where, none = QPoint(round(float(x)), round(float(y))), Qt.KeyboardModifier.NoModifier
    QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, none, where)


def _run_for(milliseconds: int) -> None:
    """Let the event loop run as an application does."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def _median(seconds: list[float]) -> float:
    return round(1e3 * statistics.median(seconds), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--clicks", type=int, default=15)
    parser.add_argument("--no-window", action="store_true", help="measure the session alone")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    measured: list[Callable[[int, int], dict[str, float]]] = [without_window]
    if not arguments.no_window:
        measured += [in_viewer, napari_alone]
    results = {}
    for count in arguments.counts:
        results[count] = {}
        for measure in measured:
            results[count].update(measure(count, arguments.clicks))
        print(count, results[count], flush=True)
    about = {"cores": os.cpu_count(), "python": platform.python_version(), "unit": "ms"}
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, "prompts": results}, indent=1))


if __name__ == "__main__":
    main()
