"""Measure what a model gains when it is taught a few objects, and what it forgets.

    python benchmarks/adapt.py --data DATA --json adapt.json

The user's objects are the first N of one plane of a source (of two where one has too few; of one
half where there is one plane); all else there is unknown. The model is taught them with one
thread, first without those that are held back, by which it is decided whether it would be offered,
then with all. Its averaged weights are read at some seconds of computing, those of the process
itself: a busy machine costs none. Scored are other planes of the source (the other half): IoU after
one click, after three, and by a tight box, and the average precision of everything found. On
twelve fixed planes of other sources it is scored what was lost after one click.

Runs that the JSON file has are not done again, so that one that was stopped can go on.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from annotate import WAYS, finish
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from napari_sam import generate_masks, load_segmenter
from napari_sam.examples import Example
from napari_sam.model.sam import Sam
from napari_sam.prompts import tight_box
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.protocol import Embedding, Segmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.training.average_precision import add_up, count_matches
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.examples import all_objects, held_back
from napari_sam.training.protocol import box_scores, click_scores, select_objects
from napari_sam.training.pupil import Pupil, Rehearsal
from napari_sam.training.teaching_scores import Examiner, Work, painted
from napari_sam.training.tuning import TuneSettings, innermost, parts_of
from napari_sam.training.verdict import (
    can_be_halved,
    gains_by_prompts,
    half_of,
    judge,
    with_parts_of,
)

# Modality, and whether its planes are so few that one half is taught and the other scored.
SOURCES = {
    "E. coli": ("brightfield_bacteria", False),
    "axons": ("EM_SEM_myelinated_axons", True),
    "ovule walls": ("confocal_3D_cell_walls_Arabidopsis_ovule", False),
    "plant nuclei": ("confocal_3D_nuclei_Arabidopsis_ovule", False),
    "maize walls": ("confocal_2D_plant_cell_walls", True),
    "nuclei, time-lapse": ("fluorescence_nuclei_timelapse", False),
    "phase contrast": ("phase_contrast_cells", False),
    "yeast": ("brightfield_yeast_in_traps", False),
    "C2C12": ("phase_contrast_2D_cells", False),
}
SCORED, SCORED_OBJECTS = 6, 8
# Planes that are finished as a whole, before and after.
FINISHED_PLANES = 3
# Planes of other sources, by modality.
KEPT_IN_MIND = {
    "fluorescence_small": 2,
    "fluorescence_medium": 2,
    "fluorescence_large": 2,
    "histology_purple": 2,
    "brightfield_grey_cytology": 1,
    "EM_FIB-SEM": 1,
    "SYNTHETIC_3D_nuclei": 1,
    "fluorescence_3D_nuclei": 1,
}
KEPT_OBJECTS = 6
READ_AT = (30.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is taught, and the planes that are scored."""

    examples: list[Example]
    planes: list[Plane]


@dataclass(slots=True)
class Seen:
    """Planes with their objects, embedded once: no encoder is taught here."""

    planes: Sequence[Plane]
    objects: list[list[NDArray[np.bool_]]]
    embeddings: list[Embedding]

    @classmethod
    def of(cls, planes: Sequence[Plane], most: int, segmenter: Segmenter) -> Seen:
        """Embed planes."""
        objects = [spread(select_objects(plane.labels, 1000), most) for plane in planes]
        kept = [i for i, one in enumerate(objects) if one]
        embeddings = [segmenter.embed(planes[i].image) for i in kept]
        return cls([planes[i] for i in kept], [objects[i] for i in kept], embeddings)

    def clicked(self, segmenter: Segmenter, clicks: int) -> NDArray[np.float64]:
        """Mean IoU after 1 … K clicks."""
        both = zip(self.embeddings, self.objects, strict=True)
        return np.concatenate([click_scores(segmenter, *one, clicks)[0] for one in both]).mean(0)

    def prompted(self, segmenter: Segmenter) -> dict[str, float]:
        """Mean IoU after one click, after three, and by a box."""
        clicked = self.clicked(segmenter, 3)
        boxed = [
            box_scores(segmenter, embedding, [tight_box(one) for one in targets], targets)
            for embedding, targets in zip(self.embeddings, self.objects, strict=True)
        ]
        by_box = float(np.concatenate(boxed).mean())
        return {"click": float(clicked[0]), "clicks": float(clicked[-1]), "box": by_box}

    def everything(self, segmenter: Segmenter) -> dict[str, float]:
        """Average precision of everything found."""
        counts = [
            count_matches(painted(generate_masks(segmenter, p.image), p.labels.shape), p.labels)
            for p in self.planes
        ]
        total = add_up(counts)
        return {"ap50": total.at(0.5), "ap75": total.at(0.75)}


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Keep at most so many, evenly spaced."""
    at = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[i] for i in at] if len(items) else []


def task_of(planes: Sequence[Plane], count: int, halves: bool) -> Task:
    """Choose what is taught and what is scored."""
    if halves:
        plane = max(planes, key=lambda one: one.labels.size)
        middle = plane.labels.shape[1] // 2
        left, right = (
            replace(plane, image=plane.image[:, part], labels=plane.labels[:, part])
            for part in (slice(middle), slice(middle, None))
        )
        return Task([taught(left, count)[0]], [right])
    examples: list[Example] = []
    begin = len(planes) // 2 if len(planes) > 20 else 0  # a stack's ends show little
    used = []
    for at in (begin, begin + max(1, len(planes) // 8)):
        example, found = taught(planes[at], count)
        examples.append(example)
        used.append(at)
        count -= found
        if not count:
            break
    near = len(planes) // 20  # neighbours in a stack are nearly the same plane
    others = [p for i, p in enumerate(planes) if all(abs(i - one) > near for one in used)]
    others = [p for p in others if select_objects(p.labels)]
    return Task(examples, spread(others, SCORED))


def taught(plane: Plane, count: int) -> tuple[Example, int]:
    """Label the first objects of a plane alone."""
    labels = np.zeros(plane.labels.shape, np.int32)
    masks = select_objects(plane.labels, count)
    for label, mask in enumerate(masks, 1):
        labels[mask] = label
    return Example(plane.image, labels, name=plane.name), len(masks)


def segmenter_of(sam: Sam) -> TiledSegmenter:
    """Put a network to use, and leave it as it is."""
    return TiledSegmenter(SamSegmenter(copy.deepcopy(sam), "cpu", "float32"))


def learned(pupil: Pupil, at: Sequence[float]) -> Iterator[tuple[float, int, Sam]]:
    """Teach, and give the averaged network at some seconds of computing."""
    began = time.process_time()
    for _ in pupil.embed_views():
        pass
    for seconds in at:
        while time.process_time() - began < seconds:
            pupil.learn()
        paused = time.process_time()
        yield seconds, pupil.step, pupil.average
        began += time.process_time() - paused


def measure(
    network: SamSegmenter,
    task: Task,
    kept: Seen,
    seed: int,
    read_at: Sequence[float],
    field: bool = False,
) -> dict[str, Any]:
    """Teach a task, and score it at some times; with `field`, finish whole planes as well."""
    settings = TuneSettings(seed=seed)
    rehearsal, parts = Rehearsal(network), parts_of(network, settings)
    plain = TiledSegmenter(network)
    seen = Seen.of(task.planes, SCORED_OBJECTS, plain)
    withheld = held_back(task.examples)
    others = [one for one in all_objects(task.examples) if one not in set(withheld)]
    examiner = Examiner(task.examples, withheld)
    before = done(examiner.figures(plain))
    row: dict[str, Any] = {
        "objects": len(all_objects(task.examples)),
        "planes": len(task.examples),
        "scored": sum(map(len, seen.objects)),
        "before": seen.prompted(plain) | seen.everything(plain),
        "kept_before": float(kept.clicked(plain, 1)[0]),
        "read": {},
    }
    pupil = Pupil(network, task.examples, others, parts, rehearsal, seed)
    gates = {}
    for seconds, _, average in learned(pupil, read_at):
        after = done(examiner.figures(segmenter_of(average)))
        half = half_of(average, network.network, gains_by_prompts(before, after))
        found = done(examiner.found(segmenter_of(half))) if can_be_halved(parts) else None
        gates[seconds] = judge(before, after, found, parts)
    pupil = Pupil(network, task.examples, all_objects(task.examples), parts, rehearsal, seed)
    for seconds, steps, average in learned(pupil, read_at):
        gate = gates[seconds]
        shared = [part for part in parts if part not in gate.parts]
        model = with_parts_of(average, network.network, shared)
        pupil_segmenter = segmenter_of(model)
        row["read"][f"{seconds:.0f}"] = {
            "steps": steps,
            "offered": gate.offered,
            "heads": "dense_head" in gate.parts,
            "prompts": "mask_decoder" in gate.parts,
            "held_back": {name: [s.before, s.after] for name, s in gate.scores.items()},
            "after": seen.prompted(pupil_segmenter) | seen.everything(pupil_segmenter),
            "kept_after": float(kept.clicked(pupil_segmenter, 1)[0]),
        }
    if field:
        row["field"] = {
            "before": actions(plain, task.planes),
            "after": actions(pupil_segmenter, task.planes),
        }
    return row


def actions(segmenter: Segmenter, planes: Sequence[Plane]) -> dict[str, float]:
    """Actions per object that finish whole planes, both ways; see `annotate.py`."""
    result = {}
    for name, way in WAYS.items():
        outcomes = [finish(segmenter, plane, way) for plane in planes[:FINISHED_PLANES]]
        objects = sum(one.objects for one in outcomes)
        result[name] = sum(one.actions.total() for one in outcomes) / objects
        result[f"{name}, given up"] = float(sum(len(one.given_up) for one in outcomes))
    return result


def done(work: Work[Any]) -> Any:
    """Do some work to its end."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def show(rows: Mapping[str, Mapping[str, Any]], seconds: str) -> None:
    """Print a table of changes at a time."""
    table = Table(title=f"change after {seconds} s on one thread; kept: IoU elsewhere")
    for column in ("", "N", "before", "click", "clicks", "box", "AP 0.5", "AP 0.75", "kept",
                   "held back", "offered"):  # fmt: skip
        table.add_column(column, justify="right")
    for name, row in rows.items():
        if (read := row["read"].get(seconds)) is None:
            continue
        before, after = row["before"], read["after"]
        gain = np.mean([a - b for n, (b, a) in read["held_back"].items() if n != "everything"])
        table.add_row(
            name,
            str(row["objects"]),
            " / ".join(f"{before[k]:.3f}" for k in ("click", "clicks", "box")),
            *(f"{after[k] - before[k]:+.3f}" for k in ("click", "clicks", "box")),
            *(f"{before[k]:.2f} > {after[k]:.2f}" for k in ("ap50", "ap75")),
            f"{read['kept_after'] - row['kept_before']:+.3f}",
            f"{gain:+.3f}",
            figures_text(read),
        )
    Console(width=150).print(table)


def figures_text(read: Mapping[str, Any]) -> str:
    """Say what was offered."""
    if not read["offered"]:
        return "no"
    return "yes" if read["heads"] and read["prompts"] else "prompts" if read["prompts"] else "heads"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 5, 20, 40])
    parser.add_argument("--only", action="append", help="a source; may be repeated")
    parser.add_argument("--seconds", type=float, nargs="+", default=READ_AT)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with N = 10")
    parser.add_argument("--field", action="store_true", help="finish whole planes, too")
    parser.add_argument("--json", type=Path, required=True, help="where the figures are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = innermost(load_segmenter(options.model, "cpu", "float32", tiles=False, cache=False))
    planes = read_planes(options.data, "val")
    others = [
        plane
        for modality, count in KEPT_IN_MIND.items()
        for plane in spread([p for p in planes if p.modality.startswith(modality)], count + 2)[1:-1]
    ]
    kept = Seen.of(others, KEPT_OBJECTS, TiledSegmenter(network))
    about = {"model": options.model, "torch": torch.__version__, "machine": platform.processor()}
    rows: dict[str, Any] = {}
    if options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    for count in options.objects:
        for name, (modality, halves) in SOURCES.items():
            if options.only and name not in options.only:
                continue
            for seed in range(options.seeds if count == 10 else 1):
                key = f"{name}, {count}" + (f", seed {seed}" if seed else "")
                if key in rows:
                    continue
                own = [p for p in planes if p.modality == modality]
                task = task_of(own, count, halves)
                if len(all_objects(task.examples)) < count and f"{name}, {count // 2}" in rows:
                    continue  # there are no more than that
                rows[key] = measure(network, task, kept, seed, options.seconds, options.field)
                options.json.write_text(json.dumps(about | {"rows": rows}, indent=1))
                show({key: rows[key]}, f"{options.seconds[-1]:.0f}")
    for seconds in options.seconds:
        show(rows, f"{seconds:.0f}")


if __name__ == "__main__":
    main()
