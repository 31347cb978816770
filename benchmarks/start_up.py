"""What a user waits for before anything is segmented: import, loading nano, opening the dock.

    python benchmarks/start_up.py --output start_up.json

Each is timed in new processes, beyond the import of torch and napari. `--dock` opens a viewer and
needs a display (xvfb-run where there is none).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from against_reference import machine

# name -> what is done before the clock starts, and what is timed
STEPS = {
    "import napari_sam": ("", "import napari_sam"),
    "load nano": (
        "import torch, napari, napari_sam",
        "napari_sam.load_segmenter('nano', device='cpu')",
    ),
}
DOCK = (
    "import torch, napari, napari_sam\nviewer = napari.Viewer(show=False)",
    "from napari_sam.gui.widget import SegmentAnything\n"
    "viewer.window.add_dock_widget(SegmentAnything(viewer))",
)


def main() -> None:
    """Time each step, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--dock", action="store_true", help="time opening the dock too")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    steps = STEPS | ({"open the dock": DOCK} if args.dock else {})
    results = {}
    for name, (before, timed) in steps.items():
        times = sorted(seconds(before, timed) for _ in range(args.repetitions))
        results[name] = times
        low, median, high = times[0], times[len(times) // 2], times[-1]
        print(f"{name}: {median:.3f} s ({low:.3f}–{high:.3f})")
    if args.output is not None:
        content = {"machine": machine(), "seconds": results}
        args.output.write_text(json.dumps(content, indent=2) + "\n")


def seconds(before: str, timed: str) -> float:
    """Time some lines in a new process."""
    code = (
        f"import os, time\n{before}\nstart = time.perf_counter()\n{timed}\n"
        "print(time.perf_counter() - start, flush=True)\nos._exit(0)"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    return float(out.split()[-1])


if __name__ == "__main__":
    main()
