"""What benchmarks against `segment-anything` and `mobile_sam` share: networks, timing, JSON."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from napari_sam.model.checkpoint import load_into_new
from napari_sam.model.config import PRESETS, SamConfig, TinyViTConfig
from napari_sam.model.weights import load
from napari_sam.segmentation.network import SamSegmenter

# The reference and its stand-in for torchvision are the tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of ours and of the reference, measured by turns.

    Parameters
    ----------
    ours, reference
        (minimum, median, maximum).
    repetitions
        Of each, after one to warm up.
    products
        Floating-point operations of our matrix products and convolutions.
    dtype
        What most of them compute in.
    """

    ours: tuple[float, float, float]
    reference: tuple[float, float, float]
    repetitions: int
    products: int
    dtype: str = "float32"

    @property
    def ratio(self) -> float:
        """How many times faster ours is, by the medians."""
        return self.reference[1] / self.ours[1]

    @property
    def roofline(self) -> float:
        """Share of our time that the products need at the machine's measured rate."""
        return self.products / product_rate(self.dtype) / self.ours[1]


def alternate(
    ours: Callable[[], object],
    reference: Callable[[], object],
    repetitions: int,
    dtype: str = "float32",
) -> Timing:
    """Time two functions by turns, so that both meet the same machine."""
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    ours()  # what is done once for a plane is none of the work counted
    with FlopCounterMode(display=False) as counter:
        ours()
    for i in range(repetitions + 1):
        for name, function in (("ours", ours), ("reference", reference)):
            start = time.perf_counter()
            function()
            if i:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    spreads = _spread(seconds["ours"]), _spread(seconds["reference"])
    return Timing(*spreads, repetitions, counter.get_total_flops(), dtype)


@cache
def product_rate(dtype: str) -> float:
    """Operations per second of a large matrix product, the best of ten."""
    side = 2048
    a = torch.ones(side, side, dtype=getattr(torch, dtype))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def networks(name: str, precision: str = "float32") -> tuple[SamSegmenter, Any]:
    """Our segmenter and the reference's predictor with the same random weights, on the CPU."""
    from reference import SamPredictor, randomise, reference_sam

    config: SamConfig = PRESETS[name]
    if isinstance(config.encoder, TinyViTConfig):
        return _mobile_networks(config, precision)
    original = reference_sam(config)
    randomise(original, seed=7)
    ours = load_into_new(original.state_dict(), config, "the reference's weights")
    return SamSegmenter(ours, "cpu", precision), SamPredictor(original)


def _mobile_networks(config: SamConfig, precision: str) -> tuple[SamSegmenter, Any]:
    from mobile_reference import SamPredictor, mobile_reference, used
    from reference import randomise

    original = mobile_reference(config)
    randomise(original, seed=7)
    original.eval()  # gathers its biases anew
    ours = load_into_new(used(original.state_dict()), config, "the reference's weights")
    return SamSegmenter(ours, "cpu", precision), SamPredictor(original)


def trained(weights: Path, precision: str = "float32") -> tuple[SamSegmenter, Any]:
    """Our segmenter and the reference's network with the weights of a file, on the CPU."""
    from reference import reference_sam

    ours = load(weights)
    original = reference_sam(ours.config)
    original.load_state_dict(ours.state_dict())
    return SamSegmenter(ours, "cpu", precision), original


def picture(side: int = 1024) -> np.ndarray:
    """Draw a colour picture with structure at several scales, the same every time."""
    rng = np.random.default_rng(0)
    picture = np.zeros((side, side, 3), np.float32)
    for cells in (4, 16, 64, 256):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        picture += np.kron(noise, np.ones((side // cells, side // cells, 1), np.float32))
    low, high = np.percentile(picture, (1, 99))
    return (np.clip((picture - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def peak_memory() -> int:
    """Largest memory this process has had so far, in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine() -> dict[str, str]:
    """Describe what the numbers depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "segment-anything": version("segment-anything"),
        "napari-sam-live": version("napari-sam-live"),
    }


def conclude(
    title: str,
    rows: Mapping[str, Timing],
    output: Path | None,
    figures: Mapping[str, float] | None = None,
) -> None:
    """Print timings and other figures with the machine, and write them as JSON where asked to."""
    table = Table("", "ours", "reference", "times faster", "roofline", "n", title=title)
    for name, timing in rows.items():
        table.add_row(
            name,
            _shown(timing.ours),
            _shown(timing.reference),
            f"{timing.ratio:.2f}",
            f"{timing.roofline:.0%}",
            str(timing.repetitions),
        )
    console, about = Console(), machine()
    console.print(table)
    for name, value in (figures or {}).items():
        console.print(f"{name}: {value:.4g}")
    console.print("\n".join(f"{key}: {value}" for key, value in about.items()))
    if output is not None:
        results = {
            name: asdict(t) | {"ratio": t.ratio, "roofline": t.roofline} for name, t in rows.items()
        }
        content = {
            "title": title,
            "machine": about,
            "results": results,
            "figures": dict(figures or {}),
        }
        output.write_text(json.dumps(content, indent=2) + "\n")


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    return min(seconds), float(np.median(seconds)), max(seconds)


def _shown(spread: tuple[float, float, float]) -> str:
    low, median, high = (f"{s * 1e3:.1f}" if s < 10 else f"{s * 1e3:.0f}" for s in spread)
    return f"{median} ms ({low}–{high})"
