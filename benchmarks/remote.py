"""A click on another machine against one on this: python benchmarks/remote.py [--model nano].

The other machine is a process of `napari-sam serve` on loopback, with as many threads. The round
trip is that of a message of the same size that nothing is computed for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from napari_sam import Prompts, load_segmenter, samples
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.segmentation.remote import remote_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="auto", help="of both ends")
    parser.add_argument("--clicks", type=int, default=60)
    options = parser.parse_args()
    listening = "--listen", "127.0.0.1:0", "--model", options.model, "--device", options.device
    served = subprocess.Popen(
        [sys.executable, "-c", "from napari_sam.cli import app; app()", "serve", *listening],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert served.stdout is not None
        address, _, token = (served.stdout.readline().split()[-1] for _ in range(3))
        measure(options, address, token)
    finally:
        served.terminate()
        served.wait()


def measure(options: argparse.Namespace, address: str, token: str) -> None:
    plane = np.asarray(samples.load(samples.NAMES[0]).data)[:512, :512]
    ends = {
        "this process": load_segmenter(options.model, options.device, cache=False),
        "own process": load_segmenter(options.model, options.device, cache=False, own_process=True),
        "other machine": load_segmenter(options.model, address, cache=False, token=token),
    }
    rng = np.random.default_rng(0)
    places = rng.uniform(20, np.array(plane.shape[:2]) - 20, (options.clicks, 2))
    embeddings = {name: end.embed(plane) for name, end in ends.items()}
    seconds: dict[str, list[float]] = {name: [] for name in (*ends, "round trip")}
    remote = remote_of(ends["other machine"])
    for name, end in ends.items():
        for place in places[:5]:
            end.decode(embeddings[name], Prompts([place], [1]))
    about = {"embedding": "0" * 64}  # of which nothing is known, so it comes back at once
    ballast = {"ballast": np.zeros(200_000, np.float32)}
    for place in places:  # in turn: a machine's speed drifts
        click = Prompts([place], [1])
        for name, end in ends.items():
            seconds[name].append(timed(partial(decode, end, embeddings[name], click)))
        call = partial(remote.connection.call, "decode", about, ballast)
        seconds["round trip"].append(timed(call))
    middle = {name: statistics.median(times) * 1e3 for name, times in seconds.items()}
    for name, time_ms in middle.items():
        print(f"{name:14} {time_ms:7.1f} ms a click")
    beyond = middle["other machine"] - middle["round trip"]
    print(
        f"other machine without the round trip / this process {beyond / middle['this process']:.2f}"
    )
    print(f"{torch.get_num_threads()} threads, {options.clicks} clicks, {options.model}")


def decode(end: Segmenter, embedding: Embedding, click: Prompts) -> None:
    end.decode(embedding, click).patch(0)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
