"""Procedural movies: cells that move, grow, divide, come and go, with their true descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_sam.training.synthetic.fields import Field
from napari_sam.training.synthetic.optics import digitise, expose, illumination, log_uniform
from napari_sam.training.synthetic.scene import keep_largest

__all__ = ["Movie", "TrueDivision", "generate_movie"]

_SMALLEST = (2, 64, 64)
_LEAST_AREA = 25
_ROUNDS_UP = 3  # frames before a division on which a cell stretches and brightens


@dataclass(frozen=True, slots=True)
class TrueDivision:
    """A cell that divides.

    Attributes
    ----------
    parent
        Its label.
    daughters
        Theirs, the smaller first.
    frame
        The first on which they are seen.
    """

    parent: int
    daughters: tuple[int, int]
    frame: int


@dataclass(frozen=True, slots=True)
class Movie:
    """One procedural movie and its truth.

    Attributes
    ----------
    image
        ``(T, N, N)`` uint8.
    labels
        ``(T, N, N)`` int32; 0 is background. A cell has one number on all frames, from 1 on
        without gaps; on each frame it is one connected piece.
    divisions
        By frame. A cell that divides is seen no more; one that leaves doesn't come back.
    blank
        Frames that show nothing, on which there are no labels either.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    divisions: tuple[TrueDivision, ...]
    blank: tuple[int, ...]

    @property
    def parents(self) -> Mapping[int, int]:
        """The parent of each cell that has one."""
        return {i: one.parent for one in self.divisions for i in one.daughters}


def generate_movie(
    rng: np.random.Generator,
    frames: int = 24,
    size: int = 160,
    cells: int = 10,
    blank: int = 1,
) -> Movie:
    """Draw one movie with its labels and divisions.

    Parameters
    ----------
    rng
        Source of all randomness; its state afterwards depends only on its state before.
    frames
        Number of frames, at least 2.
    size
        Side of the square frames in pixels, at least 64.
    cells
        How many there are about at the beginning.
    blank
        How many frames show nothing, as when the light failed; never the first or the last, and
        never two in a row.

    Raises
    ------
    ValueError
        For fewer frames or a smaller size, no cells, or more blank frames than fit.
    """
    if frames < _SMALLEST[0] or size < _SMALLEST[1] or cells < 1:
        raise ValueError(
            f"expected at least 2 frames of 64 pixels a side and 1 cell, got {frames} frames of "
            f"{size} with {cells}"
        )
    if not 0 <= blank <= (frames - 1) // 2:
        raise ValueError(f"expected 0 to {(frames - 1) // 2} blank frames, got {blank}")
    dish = _open_dish(rng, size, cells)
    dark = _blank_frames(rng, frames, blank)
    signals: list[Field] = []
    labels: list[NDArray[np.int32]] = []
    for t in range(frames):
        if t:
            dish.step(rng)
        signal, here = dish.draw(rng)
        if t in dark:
            signal, here = np.full_like(signal, signal.min()), np.zeros_like(here)
        signals.append(signal)
        labels.append(here)
    image = digitise(rng, np.concatenate(signals)).reshape(frames, size, size)
    return _numbered(image, np.stack(labels), dish.parents, dark)


@dataclass(slots=True, eq=False)
class _Cell:
    number: int
    place: NDArray[np.float64]
    velocity: NDArray[np.float64]
    angle: float
    radius: float  # of the disc of its area
    stretch: float
    gain: float
    grain: NDArray[np.float64]  # places and strengths of what makes its inside uneven
    wait: int  # frames until it divides


@dataclass(slots=True, eq=False)
class _Dish:
    """The cells of a field at one time."""

    size: int
    radius: float
    speed: float
    cycle: int
    arrivals: float
    photons: float
    haze: float
    sharpness: float
    light: Field
    cells: list[_Cell] = field(default_factory=list)
    parents: dict[int, int] = field(default_factory=dict)
    count: int = 0

    def add(self, rng: np.random.Generator, place: NDArray[np.float64]) -> _Cell:
        """Put a cell somewhere."""
        self.count += 1
        grain = np.column_stack([rng.uniform(-0.6, 0.6, (4, 2)), rng.uniform(-0.4, 0.4, 4)])
        cell = _Cell(
            number=self.count,
            place=place,
            velocity=rng.normal(0, self.speed, 2),
            angle=float(rng.uniform(0, np.pi)),
            radius=self.radius * float(rng.uniform(0.85, 1.2)),
            stretch=float(rng.uniform(1, 1.5)),
            gain=float(rng.uniform(0.5, 1)),
            grain=grain,
            wait=int(rng.integers(2, self.cycle)),
        )
        self.cells.append(cell)
        return cell

    def step(self, rng: np.random.Generator) -> None:
        """Go on by one frame."""
        for cell in list(self.cells):
            cell.velocity = 0.8 * cell.velocity + rng.normal(0, 0.5 * self.speed, 2)
            cell.place = cell.place + cell.velocity
            cell.angle += float(rng.normal(0, 0.1))
            if cell.radius < 1.4 * self.radius:
                cell.radius *= 2 ** (0.5 / self.cycle)  # twice the area in a cycle
            cell.wait -= 1
            if cell.wait <= 0 and self._has_room(cell):
                self._divide(rng, cell)
        self._push()
        self.cells = [cell for cell in self.cells if self._is_near(cell)]
        if rng.random() < self.arrivals:
            side, along = int(rng.integers(4)), float(rng.uniform(0, self.size))
            far = -self.radius if side % 2 else self.size + self.radius
            place = np.array([far, along] if side < 2 else [along, far])
            cell = self.add(rng, place)
            inward = (self.size / 2 - place) / np.linalg.norm(self.size / 2 - place)
            cell.velocity = inward * max(self.speed, 1) * 2
            cell.wait += 5

    def _has_room(self, cell: _Cell) -> bool:
        margin = 2.5 * cell.radius
        return bool((cell.place > margin).all() and (cell.place < self.size - margin).all())

    def _is_near(self, cell: _Cell) -> bool:
        far = 2 * self.radius
        return bool((cell.place > -far).all() and (cell.place < self.size + far).all())

    def _divide(self, rng: np.random.Generator, cell: _Cell) -> None:
        self.cells.remove(cell)
        along = np.array([np.sin(cell.angle), np.cos(cell.angle)])
        share = float(rng.uniform(0.44, 0.56))
        for sign, part in ((1, share), (-1, 1 - share)):
            daughter = self.add(rng, cell.place + sign * 0.75 * cell.radius * along)
            daughter.radius = cell.radius * part**0.5
            daughter.velocity = cell.velocity + sign * along * 0.12 * cell.radius
            daughter.angle, daughter.stretch = cell.angle + np.pi / 2, float(rng.uniform(1, 1.3))
            daughter.gain = cell.gain
            daughter.wait = int(rng.integers(self.cycle, 2 * self.cycle))
            self.parents[daughter.number] = cell.number

    def _push(self) -> None:
        """Move cells apart that overlap."""
        for _ in range(3):
            for i, one in enumerate(self.cells):
                for other in self.cells[i + 1 :]:
                    apart = other.place - one.place
                    distance = float(np.linalg.norm(apart)) or 1e-6
                    lacking = 0.95 * (one.radius + other.radius) - distance
                    if lacking > 0:
                        shift = 0.4 * lacking * apart / distance
                        one.place, other.place = one.place - shift, other.place + shift

    def draw(self, rng: np.random.Generator) -> tuple[Field, NDArray[np.int32]]:
        """Return the light that comes from the cells as they are, and their labels."""
        rows, columns = np.indices((self.size, self.size), dtype=np.float32)
        nearest = np.ones((self.size, self.size), np.float32)
        labels = np.zeros((self.size, self.size), np.int32)
        signal = np.zeros((self.size, self.size), np.float32)
        for cell in self.cells:
            rounding = max(0, _ROUNDS_UP - cell.wait) / _ROUNDS_UP * self._has_room(cell)
            stretch = cell.stretch + 0.5 * min(rounding, 1)
            dy, dx = rows - np.float32(cell.place[0]), columns - np.float32(cell.place[1])
            along = dx * np.cos(cell.angle) + dy * np.sin(cell.angle)
            across = dy * np.cos(cell.angle) - dx * np.sin(cell.angle)
            u = along / (cell.radius * stretch**0.5)
            v = across / (cell.radius / stretch**0.5)
            reach = np.sqrt(u**2 + v**2)
            inside = reach < nearest
            nearest[inside], labels[inside] = reach[inside], cell.number
            texture = np.ones_like(reach)
            for a, b, strength in cell.grain:
                texture += strength * np.exp(-((u - a) ** 2 + (v - b) ** 2) / 0.15)
            gain = cell.gain * (1 + 0.7 * min(rounding, 1))
            signal[inside] = (gain * texture)[inside]
        labels = keep_largest(labels, _LEAST_AREA)
        signal *= labels > 0
        signal = gaussian_filter(signal, self.sharpness) + self.haze * gaussian_filter(signal, 8)
        lit = (signal + np.float32(0.05)) * self.light
        return expose(rng, lit, self.photons, 0.01), labels


def _open_dish(rng: np.random.Generator, size: int, cells: int) -> _Dish:
    radius = min(log_uniform(rng, 7, 14), size / 10)
    dish = _Dish(
        size=size,
        radius=radius,
        speed=float(rng.uniform(0.03, 0.16)) * radius,
        cycle=int(rng.integers(10, 25)),
        arrivals=float(rng.uniform(0, 0.15)),
        photons=log_uniform(rng, 30, 400),
        haze=float(rng.uniform(0, 0.3)),
        sharpness=float(rng.uniform(0.7, 1.6)),
        light=illumination(rng, size, float(rng.uniform(0, 0.4))),
    )
    for _ in range(cells):
        for _ in range(30):
            place = rng.uniform(0, size, 2)
            others = [np.linalg.norm(place - one.place) for one in dish.cells]
            if not others or min(others) > 2.2 * radius:
                dish.add(rng, place)
                break
    return dish


def _blank_frames(rng: np.random.Generator, frames: int, count: int) -> tuple[int, ...]:
    """Choose frames between the first and the last, no two in a row."""
    free = frames - 1 - count
    picked = np.sort(rng.choice(max(free, 1), count, replace=False)) if count else np.array([], int)
    return tuple(int(t) + 1 + i for i, t in enumerate(picked))


def _numbered(
    image: NDArray[np.uint8],
    labels: NDArray[np.int32],
    parents: Mapping[int, int],
    blank: tuple[int, ...],
) -> Movie:
    """Assign numbers to visible cells, end those that vanish, and list the divisions."""
    on: dict[int, list[int]] = {}
    for t, frame in enumerate(labels):
        for number in np.unique(frame[frame > 0]).tolist():
            on.setdefault(number, []).append(t)
    renamed = np.zeros(max(on, default=0) + 1, np.int32)
    numbered = np.zeros_like(labels)
    count = 0
    first: dict[int, int] = {}
    for number in sorted(on, key=lambda i: (on[i][0], i)):
        frames = on[number]
        count += 1
        renamed[number], first[number] = count, frames[0]
        for t in range(frames[0], len(labels)):
            if t in blank:
                continue
            if t not in frames:
                break
            numbered[t][labels[t] == number] = count
    divisions = []
    for parent in sorted({parent for parent in parents.values() if parent in on}):
        children = [i for i, one in parents.items() if one == parent]
        if all(i in on for i in children) and first[children[0]] == first[children[1]]:
            a, b = sorted(int(renamed[i]) for i in children)
            divisions.append(TrueDivision(int(renamed[parent]), (a, b), first[children[0]]))
    divisions.sort(key=lambda one: (one.frame, one.parent))
    return Movie(image, numbered, tuple(divisions), blank)
