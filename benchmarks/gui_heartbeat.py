"""How long the viewer's event loop is held while models work in the background.

A timer of 5 ms beats in the window's thread; a gap is the time between two beats beyond those
5 ms. First the viewer idles with the dock open, then vit_b (random weights: the arithmetic is the
same) embeds a 1024 x 1024 plane, then the same with a hand that zooms and clicks on a plane
that is ready. Random weights have no idea of an object: each click is decoded, but its mask is a
disk of some 30,000 pixels around it. Then a hand scrolls through the stack, at ten planes a
second, while vit_b embeds where it stops. At last the built-in model, on nuclei: scrolling, where
planes are embedded while one scrolls on, and *find all* in a plane and in a stack of them. Of
every row the longest gap is what a user may feel. Needs a screen; on a machine without one:

    xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" python benchmarks/gui_heartbeat.py
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
from disks import with_disk
from qtpy.QtCore import QEventLoop, QObject, Qt, QTimer

from napari_sam import samples
from napari_sam.gui import current_session
from napari_sam.gui.models import load_for_viewer
from napari_sam.gui.widget import SegmentAnything
from napari_sam.model.config import PRESETS
from napari_sam.model.sam import build
from napari_sam.segmentation.network import SamSegmenter

_BEAT_MS = 5
_BAR_MS = 50
_RADIUS = 100  # of a mask, in plane pixels
_SCROLLED = 40  # planes
_SCROLL_SECONDS = 0.1  # on each


class Disks(SamSegmenter):
    """Computes what SAM computes and answers with disks around the last click."""

    def decode_many(self, embedding, prompts, *arguments, **options):
        """Decode, then exchange the logits."""
        predictions = super().decode_many(embedding, prompts, *arguments, **options)
        both = zip(predictions, prompts, strict=True)
        return [with_disk(one, given.points[-1], _RADIUS) for one, given in both]


class Watch:
    """Measures calls of ours in the window's thread."""

    def __init__(self) -> None:
        self.spent: list[float] = []

    def __call__(self, call):
        """Return the call with its time measured."""

        def timed(*arguments, **options):
            start = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.spent.append(1e3 * (time.perf_counter() - start))

        return timed

    def summed_up(self) -> dict[str, float]:
        """Sum up what was measured."""
        spent = np.array(self.spent)
        return {
            "calls": len(spent),
            "median_ms": round(float(np.median(spent)), 2),
            "p99_ms": round(float(np.percentile(spent, 99)), 2),
            "max_ms": round(float(spent.max()), 2),
            "over_bar": int(np.count_nonzero(spent > _BAR_MS)),
        }


class Heart(QObject):
    """Records the gaps between beats of a timer in the thread it is made in."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[float] = []
        self._last: float | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        """Begin another recording."""
        self.gaps, self._last = [], None
        self._timer.start(_BEAT_MS)

    def stop(self) -> dict[str, float]:
        """End the recording and sum it up."""
        self._timer.stop()
        gaps = np.maximum(0.0, np.array(self.gaps) - _BEAT_MS)
        return {
            "beats": len(gaps),
            "median_ms": round(float(np.median(gaps)), 2),
            "p99_ms": round(float(np.percentile(gaps, 99)), 2),
            "max_ms": round(float(gaps.max()), 2),
            "over_bar": int(np.count_nonzero(gaps > _BAR_MS)),
        }

    def _beat(self) -> None:
        now = 1e3 * time.perf_counter()
        if self._last is not None:
            self.gaps.append(now - self._last)
        self._last = now


def run_for(seconds: float, until=None) -> None:
    """Let the event loop run as an application does: a loop in Python would hold its lock."""
    loop, end, question = QEventLoop(), QTimer(), QTimer()
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    end.start(round(1e3 * seconds))
    question.timeout.connect(lambda: loop.quit() if until and until() else None)
    if until:
        question.start(_BEAT_MS)
    loop.exec()


def measure(model: str, threads: int, side: int) -> dict[str, object]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    segmenter = Disks(build(PRESETS[model]), "cpu")
    stack = np.random.default_rng(0).integers(0, 255, (6, side, side), np.uint8)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.add_image(stack)
    viewer.dims.set_current_step(0, 0)
    dock = SegmentAnything(viewer, lambda model, device, progress: segmenter)
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    session = current_session(viewer)
    state = session.embeddings.state
    ready = lambda z: state((z, None, None)) == "ready"  # noqa: E731
    run_for(600, lambda: ready(0))
    session.cancel()
    run_for(2)
    heart, results = Heart(), {}

    heart.start()
    run_for(3)
    results["idle"] = heart.stop()

    start = time.perf_counter()
    heart.start()
    session.show(4)
    run_for(600, lambda: ready(4))
    results["embedding"] = heart.stop()
    results["embedding"]["seconds"] = round(time.perf_counter() - start, 2)

    viewer.dims.set_current_step(0, 4)
    run_for(0.5)
    session.wait(600)
    engine = dock.controller.engine
    for name, beside in (("clicking", None), ("clicking while embedding", 2)):
        watch = Watch()
        drain, engine.drain = engine.drain, watch(engine.drain)
        add = watch(session.add_point)
        if beside is not None:
            session.embeddings.request((beside, None, None))
        heart.start()
        for i in range(30):
            if beside is not None and ready(beside):
                break
            viewer.scene.camera.zoom *= 1.02 if i % 2 else 0.98
            add(4, (50 + 30 * (i % 8), 60 + 40 * (i % 7)))
            run_for(0.2)
        results[name] = heart.stop()
        results[f"{name}: our calls"] = watch.summed_up()
        engine.drain = drain
    results["scrolling"] = scroll(viewer, heart)
    dock.controller.close()
    viewer.close()
    return results


def scroll(viewer: napari.Viewer, heart: Heart) -> dict[str, float]:
    """Scroll to and fro through a stack; every tenth plane rests until it would be embedded."""
    last = int(viewer.dims.range[0].stop)
    there_and_back = [*range(last), *range(last, 0, -1)]
    heart.start()
    for i in range(_SCROLLED):
        viewer.dims.set_current_step(0, there_and_back[i % len(there_and_back)])
        run_for(1.0 if i % 10 == 9 else _SCROLL_SECONDS)
    return heart.stop()


def measure_nano(threads: int, planes: int) -> dict[str, object]:
    """Scroll, and find everything, with the model that comes with the plugin."""
    torch.set_num_threads(threads)
    nuclei = np.asarray(samples.load("nuclei").data)
    stack = np.stack([np.roll(nuclei, 5 * z, axis=1) for z in range(planes)])
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.add_image(stack, axis_labels=("z", "y", "x"))
    viewer.dims.set_current_step(0, 0)
    dock = SegmentAnything(viewer, load_for_viewer(0))
    viewer.window.add_dock_widget(dock, name="Segment Anything", area="right")
    session, everything = current_session(viewer), dock.controller.everything
    run_for(600, lambda: session.is_view_ready)
    run_for(2)
    heart, results = Heart(), {}
    results["nano, scrolling"] = scroll(viewer, heart)
    for name, button in (
        ("nano, find all in a plane", dock.everything.plane),
        (f"nano, find all in {planes} planes", dock.everything.stack),
    ):
        start = time.perf_counter()
        heart.start()
        button.click()
        run_for(600, lambda: everything.fraction is None)
        run_for(0.5)
        results[name] = heart.stop()
        results[name]["seconds"] = round(time.perf_counter() - start - 0.5, 2)
    dock.controller.close()
    viewer.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_b", choices=sorted(PRESETS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=1024, help="of the square plane, in pixels")
    parser.add_argument("--planes", type=int, default=5, help="that are searched for everything")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    results = measure(arguments.model, arguments.threads, arguments.side)
    results |= measure_nano(arguments.threads, arguments.planes)
    about = {
        "model": arguments.model,
        "threads": arguments.threads,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "torch": torch.__version__,
        "napari": napari.__version__,
        "python": platform.python_version(),
        "bar_ms": _BAR_MS,
    }
    for name, value in about.items():
        print(f"{name:12} {value}")
    for name, row in results.items():
        print(f"{name:36}", "  ".join(f"{key} {value}" for key, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, "results": results}, indent=2))


if __name__ == "__main__":
    main()
