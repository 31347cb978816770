"""Measure what a person pays to finish a plane: by clicks alone, and the product's way.

    python benchmarks/annotate.py --data DATA --json annotate.json --plot annotate.png

DATA is the folder of the packed data set. A plane is finished when every true object of at least
40 pixels that is not cut by the border has a label of its own at IoU 0.8 or more, and no other
label is left. A simulated annotator sees the truth, acts by fixed rules, and does everything
through the public methods of a session. One action each is: a click, a new object, find all, find
similar, to accept or delete (one object, or many at once), to look at an object that the queue
offers, to go to one that it doesn't, to change a setting, to undo, and to move outlines by a pixel.

By clicks alone, each object is begun by *new object* and a click at its deepest point, then
corrected by clicks into the larger error, ten at most. The product's way finds all, has deleted
what is hardly worth correcting and accepted the rest, corrects what is wrong by clicks on the very
object, and clicks what is missing, each click a new object. After the first five corrections it
moves all outlines if these were too tight or too wide, and after the first five objects that were
missing it looks for more like what is accepted, and undoes that where what is found is more work
to delete than it saves. A found object that ten clicks don't finish is deleted and clicked anew.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from napari_sam import load_segmenter
from napari_sam.masks import iou
from napari_sam.prompts import corrective_click, deepest_point, tight_box
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session import ArrayCanvas, ArraySource, Overlap, Session
from napari_sam.session.growing import grown
from napari_sam.training.data import Plane, read_planes
from napari_sam.training.protocol import GROUPS, MIN_OBJECT_PIXELS, thin_out

FINISHED = 0.8
CORRECTIONS = 10
# A label with less of every object is deleted; one with more is corrected.
NOTHING = 0.4
# Objects that are still missing then, so that it pays.
MANY = 10
# An object whose pixels others take is clicked anew so often at most.
ATTEMPTS = 2
# Outlines are moved so far at most, as seen on the first found objects of a plane.
FURTHEST = 4
FIRST = 10
# So many more of them must be right then.
LEAST_GAIN = 2
# What deleting one costs that the queue doesn't offer: going there, too.
DELETING = 2
# Objects that were corrected or clicked before more like them are looked for.
LEARNED_FROM = 5

COMPARED = "BBBC039"
GOALS = {"fluorescence nuclei": 1 / 2, COMPARED: 0.15}  # of clicks alone; elsewhere:
GOAL = 2 / 3


@dataclass(slots=True)
class Outcome:
    """What a plane took.

    Parameters
    ----------
    objects
        How many there were.
    actions
        How often each was done.
    given_up
        Objects that were not finished.
    seconds
        Of computing.
    """

    objects: int
    actions: Counter[str] = field(default_factory=Counter)
    given_up: set[int] = field(default_factory=set)
    seconds: float = 0.0


class Truth:
    """The true objects of a plane, and those that count for nothing.

    Parameters
    ----------
    labels
        `(H, W)`.
    """

    def __init__(self, labels: NDArray[np.integer[Any]]) -> None:
        self.labels = labels
        self._areas = np.bincount(labels.ravel())
        self.objects = [int(i) for i in np.unique(labels[labels > 0]) if self._counts(int(i))]
        self._counted = np.isin(np.arange(len(self._areas)), self.objects)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Return an object `(H, W)`."""
        return self.labels == number

    def best(self, mask: NDArray[np.bool_]) -> tuple[int, float]:
        """Return the object that a mask shows best, and its IoU; 0 for what counts for nothing."""
        shared = np.bincount(self.labels[mask], minlength=len(self._areas))
        shared[0] = 0
        overlap = shared / np.maximum(self._areas + np.count_nonzero(mask) - shared, 1)
        best = int(np.argmax(overlap))
        if overlap[best] and not self._counted[best]:
            return 0, float(overlap[best])
        return best, float(overlap[best])

    def _counts(self, number: int) -> bool:
        mask = self.labels == number
        if self._areas[number] < MIN_OBJECT_PIXELS:
            return False
        r0, c0, r1, c1 = tight_box(mask)
        along_rows = max(np.count_nonzero(mask[:, 0]), np.count_nonzero(mask[:, -1]))
        along_columns = max(np.count_nonzero(mask[0]), np.count_nonzero(mask[-1]))
        return along_rows <= (r1 - r0 + 1) / 2 and along_columns <= (c1 - c0 + 1) / 2


class Annotator:
    """Somebody who knows the truth of a plane and acts by rules.

    Parameters
    ----------
    segmenter
        The model.
    plane
        The plane.
    looks
        Whether doubtful objects are looked at one by one, where they are offered.
    """

    def __init__(self, segmenter: Segmenter, plane: Plane, looks: bool = False) -> None:
        self._looks = looks
        self._has_rules = False  # whether the rule for overlaps is changed where it's in the way
        self.truth = Truth(plane.labels)
        self.labels = np.zeros(plane.labels.shape, np.uint32)
        source = ArraySource(plane.image, plane.image.ndim == 3)
        self.session = Session(segmenter, source, canvas=ArrayCanvas(self.labels))
        self.session.failed.connect(_raise)
        self.outcome = Outcome(len(self.truth.objects))
        self._clicked = 0  # objects that were missing
        self._begun: Counter[int] = Counter()  # how often an object was clicked anew
        self._corrected = 0  # found objects that were
        self._first: list[tuple[int, NDArray[np.bool_]]] = []  # found objects, as they were
        self._has_moved = False

    # Ways to finish a plane

    def by_clicks(self) -> Outcome:
        """Click every object."""
        for number in self.truth.objects:
            self._begin(number)
            self._correct(number, self.session.object_id)
        return self.outcome

    def with_queue(self, similar: bool = True) -> Outcome:
        """Find all, proofread, mend and click what is missing."""
        self._has_rules = True
        self._pay("find all")
        self.session.find_all()
        seen = ((self.truth.best(self.labels == i)[0], self.labels == i) for i in self._ids())
        self._first = [(number, mask) for number, mask in seen if number][:FIRST]
        self._proofread()
        self._mend_all()
        missing = self._missing()
        while missing:
            if similar and self._clicked >= LEARNED_FROM and len(missing) >= MANY:
                self._find_similar()
                similar = False
                missing = self._missing()
                continue
            self._clicked += 1
            if self._begun[missing[0]] == ATTEMPTS:  # others have taken it again and again
                self.outcome.given_up.add(missing[0])
            else:
                self._click_anew(missing[0])
            missing = [n for n in self._missing() if n != missing[0]]
        return self.outcome

    # Rules

    def _proofread(self) -> None:
        """Delete what is hardly worth correcting, and accept the rest at once.

        All of a plane is in sight, so what is wrong is corrected where it is seen. To look at each
        doubtful one by itself costs an action more for each.
        """
        queue = self.session.queue
        queue.begin()
        if queue.hopeless:
            self._pay("delete")
            queue.delete_hopeless()
        if queue.current is not None and not self._looks:
            self._pay("accept")
            queue.accept_rest()
        elif queue.sure:
            self._pay("accept")
            queue.accept_sure()
        while (item := queue.current) is not None:
            self._pay("look")
            number, overlap = self.truth.best(self.labels == item.object_id)
            if (number and overlap >= FINISHED) or (overlap and not number):
                self._pay("accept")
                queue.accept()
            elif self._is_wrong(item.object_id):
                self._pay("delete")
                queue.delete()
            else:
                queue.fix()
                self._correct(number, item.object_id)
                self._move_outlines()
                queue.next()
        queue.end()

    def _move_outlines(self) -> None:
        """Move the outlines of what was found, if that mends more of the first than it spoils."""
        if self._has_moved or self._corrected < LEARNED_FROM:
            return
        self._has_moved = True
        right = {
            step: sum(
                iou(_moved(mask, step), self.truth.mask(number)) >= FINISHED
                for number, mask in self._first
            )
            for step in range(-FURTHEST, FURTHEST + 1)
        }
        step = max(right, key=lambda step: (right[step], -abs(step)))
        if right[step] >= right[0] + LEAST_GAIN:
            self._pay("move outlines", abs(step))
            self.session.grow_objects(step)

    def _find_similar(self) -> None:
        self._pay("find similar")
        before = {*self._ids()}
        self.session.find_similar()
        found = [i for i in self._ids() if i not in before]
        wrong = sum(self._is_wrong(i) for i in found)
        right = sum(self.truth.best(self.labels == i)[1] >= FINISHED for i in found)
        if right <= DELETING * wrong:
            if found:
                self._pay("undo")
                self.session.undo()
            return
        self._proofread()
        self._mend_all()

    def _mend_all(self) -> None:
        """Go to what was accepted unseen and is wrong."""
        for object_id in self._ids():
            number, overlap = self.truth.best(self.labels == object_id)
            if (not number and overlap) or overlap >= FINISHED:
                continue
            if number in self.outcome.given_up and not self._is_wrong(object_id):
                continue
            if self._is_wrong(object_id):
                self._go_to(object_id)
                self._pay("delete")
                self.session.delete_object(object_id)
            else:
                self._correct(number, object_id)
                self._move_outlines()

    def _is_wrong(self, object_id: int) -> bool:
        """Whether a label shows no object that no other label shows better."""
        number, overlap = self.truth.best(self.labels == object_id)
        others = (self._overlap(number, i) for i in self._over(number) if i != object_id)
        return overlap < NOTHING or overlap < max(others, default=0.0)

    def _missing(self) -> list[int]:
        """Return the objects that have no label yet, but for those that were given up."""
        return [
            number
            for number in self.truth.objects
            if number not in self.outcome.given_up
            and all(self._overlap(number, i) < FINISHED for i in self._over(number))
        ]

    def _click_anew(self, number: int) -> None:
        """Click an object that is missing; each click on the background begins one."""
        self._begun[number] += 1
        point = deepest_point(self.truth.mask(number))
        self.session.new_each_click = True
        if self.session.click_meaning((), point).action == "new":
            self._pay("click")
            self.session.click((), point)
            self._correct(number, self.session.object_id)
            return
        self._overlap_rule("overwrite")
        self._begin(number)
        self._correct(number, self.session.object_id)

    def _begin(self, number: int) -> None:
        self._pay("new object")
        object_id = self.session.new_object()
        self._click(deepest_point(self.truth.mask(number)), 1, object_id)

    def _correct(self, number: int, object_id: int) -> None:
        """Correct a label by clicks until it shows an object, or give that up.

        A found one is deleted and clicked anew then.
        """
        target = self.truth.mask(number)
        is_found = object_id not in self.session.prompts.object_ids
        for _ in range(CORRECTIONS):
            mask = self.labels == object_id
            if iou(mask, target) >= FINISHED:
                break
            correction = corrective_click(target, mask)
            assert correction is not None, "equal masks are finished"
            (row, column), label = correction
            if label and self.labels[row, column] not in (0, object_id):
                self._overlap_rule("overwrite")  # another mask must give way, for once
            self._click((row, column), label, object_id)
        self._overlap_rule("keep")
        if is_found:
            self._corrected += 1
        if self._overlap(number, object_id) >= FINISHED:
            return
        if not is_found:
            self.outcome.given_up.add(number)
            return
        self._go_to(object_id)
        self._pay("delete")
        self.session.delete_object(object_id)
        self._click_anew(number)

    # What is there, and what is done

    def _ids(self) -> list[int]:
        return [int(i) for i in np.unique(self.labels[self.labels > 0])]

    def _over(self, number: int) -> list[int]:
        """Return the labels on an object."""
        on = self.labels[self.truth.mask(number)] if number else self.labels[:0]
        return [int(i) for i in np.unique(on[on > 0])]

    def _overlap(self, number: int, object_id: int) -> float:
        return float(iou(self.truth.mask(number), self.labels == object_id))

    def _click(self, point: tuple[int, int], label: int, object_id: int) -> None:
        """Click for an object: for the current one, or the one that is pointed at."""
        if object_id != self.session.object_id:
            find = self.session.object_near if label else self.session.object_at
            if find((), point) == object_id:
                self._pay("click")
                self.session.correct((), point, label)
                return
            self._go_to(object_id)
        self._pay("click")
        self.session.add_point((), point, label)

    def _overlap_rule(self, rule: Overlap) -> None:
        if self._has_rules and self.session.overlap != rule:
            self._pay("overlap rule")
            self.session.overlap = rule

    def _go_to(self, object_id: int) -> None:
        if object_id != self.session.object_id:
            self._pay("go to")
            self.session.object_id = object_id

    def _pay(self, action: str, times: int = 1) -> None:
        self.outcome.actions[action] += times


def _raise(error: Exception) -> None:
    raise error


def _moved(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    return grown(mask.astype(np.uint8), [1], pixels) > 0


def finish(segmenter: Segmenter, plane: Plane, way: Callable[[Annotator], Outcome]) -> Outcome:
    """Finish a plane in one way."""
    began = time.perf_counter()
    outcome = way(Annotator(segmenter, plane))
    outcome.seconds = time.perf_counter() - began
    return outcome


def group_of(plane: Plane) -> str:
    """Return the group of a plane; the set that others are compared on is one by itself."""
    if plane.source == "bbbc039":
        return COMPARED
    return next(name for name, fits in GROUPS.items() if fits(plane.source, plane.modality))


WAYS: dict[str, Callable[[Annotator], Outcome]] = {
    "clicks": Annotator.by_clicks,
    "product": Annotator.with_queue,
}


def summarise(outcomes: Iterable[Mapping[str, Outcome]]) -> dict[str, Any]:
    """Add up what planes took."""
    planes = list(outcomes)
    objects = sum(plane["clicks"].objects for plane in planes)
    row: dict[str, Any] = {"planes": len(planes), "objects": objects}
    for way in WAYS:
        actions = sum((plane[way].actions for plane in planes), Counter())
        row[f"actions_{way}"] = dict(actions)
        row[f"actions_per_object_{way}"] = actions.total() / objects
        row[f"seconds_per_object_{way}"] = sum(p[way].seconds for p in planes) / objects
    clicks = row["actions_clicks"].get("click", 0)
    row["actions_per_object_clicks_alone"] = clicks / objects  # each click a new object
    row["given_up"] = sum(len(plane["product"].given_up) for plane in planes)
    row["given_up_clicks"] = sum(len(plane["clicks"].given_up) for plane in planes)
    row["given_up_by_product_alone"] = sum(
        len(plane["product"].given_up - plane["clicks"].given_up) for plane in planes
    )
    row["ratio"] = row["actions_per_object_product"] / row["actions_per_object_clicks"]
    return row


def measure(
    segmenter: Segmenter, planes: Iterable[Plane], total: int | None = None
) -> dict[str, dict[str, Any]]:
    """Finish planes in both ways; return what it took by group."""
    outcomes: dict[str, list[dict[str, Outcome]]] = defaultdict(list)
    for plane in track(planes, "planes", total=total, console=Console(stderr=True)):
        both = {name: finish(segmenter, plane, way) for name, way in WAYS.items()}
        if both["clicks"].objects:
            outcomes[group_of(plane)].append(both)
    return {group: summarise(outcomes[group]) for group in (*GROUPS, COMPARED) if group in outcomes}


def show(groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table."""
    columns = ("planes", "objects", "clicks", "product", "ratio", "goal", "given up", "by product",
               "s clicks", "s product")  # fmt: skip
    table = Table(title="actions per object")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in groups.items():
        table.add_row(
            name,
            *(str(row["planes"]), str(row["objects"])),
            f"{row['actions_per_object_clicks']:.2f}",
            f"{row['actions_per_object_product']:.2f}",
            f"{row['ratio']:.2f}",
            f"{GOALS.get(name, GOAL):.2f}",
            *(str(row["given_up_clicks"]), str(row["given_up"])),
            f"{row['seconds_per_object_clicks']:.2f}",
            f"{row['seconds_per_object_product']:.2f}",
        )
    Console(width=140).print(table)


def plot(groups: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw actions per object, both ways, and the goals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(groups)
    places = np.arange(len(names))
    figure, axes = pyplot.subplots(figsize=(8, 0.7 * len(names) + 1.2), layout="constrained")
    for offset, way, label, colour in (
        (-0.2, "clicks", "clicks alone", "#9aa5b1"),
        (0.2, "product", "find all, proofread, mend", "#1f77b4"),
    ):
        values = [groups[name][f"actions_per_object_{way}"] for name in names]
        bars = axes.barh(places + offset, values, 0.38, label=label, color=colour)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    goals = [GOALS.get(name, GOAL) * groups[name]["actions_per_object_clicks"] for name in names]
    axes.plot(goals, places + 0.2, "|", color="black", markersize=14, label="goal")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("actions per object until the plane is finished")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder of the packed data set")
    parser.add_argument("--model", default="nano", help="registry name or checkpoint")
    parser.add_argument("--slices", type=int, default=4, help="planes per volume")
    parser.add_argument("--most", type=int, default=0, help="planes per group; 0 for all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--plot", type=Path, help="draw the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    planes = few_of_each(thin_out(read_planes(options.data, "val"), options.slices), options.most)
    segmenter = load_segmenter(options.model, device="cpu", precision="float32", cache=False)
    began = time.perf_counter()
    groups = measure(segmenter, planes, len(planes))
    show(groups)
    print(f"torch {torch.__version__}, {options.threads} threads, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    if options.json:
        results = {"model": options.model, "threads": options.threads, "groups": groups}
        options.json.write_text(json.dumps(results, indent=1))
    if options.plot:
        plot(groups, options.plot)


def few_of_each(planes: Iterable[Plane], most: int) -> list[Plane]:
    """Keep at most so many evenly spaced planes of each group; 0 keeps all."""
    groups: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        groups[group_of(plane)].append(plane)
    kept = []
    for group in groups.values():
        count = min(most or len(group), len(group))
        kept += [group[i] for i in np.unique(np.linspace(0, len(group) - 1, count).astype(int))]
    return kept


if __name__ == "__main__":
    main()
