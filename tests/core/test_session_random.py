"""Whatever is done in whatever order, no prompt stays without its answer, and `wait` knows."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from core.stepping_executor import SteppingExecutor

from napari_sam.engine import Engine
from napari_sam.segmentation.protocol import Cancelled, Draft, Embedding
from napari_sam.segmentation.replay import replay
from napari_sam.session import ArraySource, Session

SHAPE, PLANES, OBJECTS = (40, 50), 3, 3
RADII = (2.0, 3.0, 4.0)


class TilesSegmenter(FakeSegmenter):
    """Needs another run of the encoder for each of four stripes of a plane; slow to stop."""

    def __init__(self, radius: float, seconds: float = 0.0) -> None:
        super().__init__(radius, seconds=seconds, key=f"radius {radius}")
        self._stripes: dict[Embedding, set[int]] = {}

    def embed(self, plane, contrast_limits=None, progress=None, scale=None) -> Embedding:
        with _unwinding(self.seconds):
            embedding = super().embed(plane, contrast_limits, progress)
        return replace(embedding, features=())

    def is_ready(self, embedding, prompts, every_scale=False) -> bool:
        return _stripe(prompts) in self._stripes.get(embedding, ())

    def draft(self, embedding, prompts, multimask="auto") -> Draft | None:
        if not self.is_ready(embedding, prompts):
            return None
        column = prompts.points[-1][1] if len(prompts.points) else prompts.box[1]
        if column % 2:  # a decode at a finer scale would differ
            return Draft(FakeSegmenter(9.0).decode(embedding, prompts, multimask), False)
        return Draft(self.decode(embedding, prompts, multimask), True)

    def prepare(self, embedding, prompts=None, progress=None, every_scale=False) -> None:
        with _unwinding(self.seconds):
            for fraction in (0.0, 0.5):
                time.sleep(self.seconds)
                if progress:
                    progress(fraction)
        if self.error:
            raise self.error
        stripes = range(4) if prompts is None else [_stripe(prompts)]
        self._stripes.setdefault(embedding, set()).update(stripes)


class _unwinding:
    """Takes a while to stop when it is cancelled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, Cancelled):
            time.sleep(self.seconds)


def _stripe(prompts) -> int:
    row = prompts.points[0][0] if len(prompts.points) else prompts.box[0]
    return int(row) // 10


class Player:
    """Does what a user, a script or another part of the program might do, at random."""

    def __init__(self, rng, session: Session, models: list[TilesSegmenter]) -> None:
        self.rng, self.session, self.models = rng, session, models
        self.shape = session.source.shape
        self.errors: list[Exception] = []
        session.failed.connect(self.errors.append)
        self.actions = [
            *(self.click, self.click, self.click, self.move, self.remove, self.flip, self.box),
            *(self.clear, self.show, self.show, self.cancel, self.cancel, self.undo, self.redo),
            *(self.choose, self.model, self.source, self.trouble, self.mend, self.replace_all),
        ]

    def act(self) -> None:
        self.actions[int(self.rng.integers(len(self.actions)))]()

    def _plane(self) -> int:
        return int(self.rng.integers(PLANES))

    def _object(self) -> int:
        return 1 + int(self.rng.integers(OBJECTS))

    def _point(self) -> tuple[float, float]:
        row, column = self.rng.integers(SHAPE)
        return float(row), float(column)

    def _some_click(self):
        clicks = self.session.prompts.clicks
        return clicks[int(self.rng.integers(len(clicks)))].id if clicks else None

    def click(self) -> None:
        label = int(self.rng.random() < 0.8)
        self.session.add_point(self._plane(), self._point(), label, self._object())

    def move(self) -> None:
        if (click := self._some_click()) is not None:
            self.session.move_point(click, self._point())

    def remove(self) -> None:
        if (click := self._some_click()) is not None:
            self.session.remove_point(click)

    def flip(self) -> None:
        if (click := self._some_click()) is not None:
            self.session.flip_point(click)

    def box(self) -> None:
        row, column = self._point()
        box = row, column, min(row + 8, SHAPE[0] - 1), min(column + 8, SHAPE[1] - 1)
        self.session.set_box(self._plane(), box, self._object())

    def clear(self) -> None:
        self.session.clear(self._plane(), self._object())

    def show(self) -> None:
        self.session.show(self._plane(), self._point() if self.rng.random() < 0.5 else None)

    def cancel(self) -> None:
        self.session.cancel()

    def undo(self) -> None:
        self.session.undo()

    def redo(self) -> None:
        self.session.redo()

    def choose(self) -> None:
        plane, object_id = self._plane(), self._object()
        if count := len(self.session.scores(object_id, plane)):
            self.session.choose_candidate(int(self.rng.integers(count)), plane, object_id)

    def model(self) -> None:
        models = [*self.models, None]
        self.session.segmenter = models[int(self.rng.integers(len(models)))]

    def source(self) -> None:
        self.session.source = ArraySource(self.rng.random(self.shape))

    def trouble(self) -> None:
        if self.rng.random() < 0.3:
            for model in self.models:
                model.error = OSError("the disk is gone")

    def mend(self) -> None:
        for model in self.models:
            model.error = None

    def replace_all(self) -> None:
        book = self.session.prompts
        for object_id in range(1, OBJECTS + 1):
            key = object_id, self.session.source.plane_of(self._plane())
            book = book.with_click(key, self._point(), 1)
        self.session.prompts = book

    def end_well(self, timeout: float | None = None) -> None:
        """All errors are resolved, and the user views every plane."""
        self.mend()
        if self.session.segmenter is None:
            self.session.segmenter = self.models[0]
        self.session.wait(timeout)  # what went wrong before comes home
        for plane in range(PLANES):
            self.session.show(plane)
            self.session.wait(timeout)

    def unanswered(self) -> list:
        """Objects and planes whose mask is not that of their prompts, by any of the models."""
        book = self.session.prompts
        return [key for key in book.keys if not any(self._is_of(m, key) for m in self.models)]

    def _is_of(self, model: TilesSegmenter, key) -> bool:
        group = self.session.prompts.group(key)
        prompts, candidate = group.steps, group.choice if group.clicks else None
        plain = FakeSegmenter(model.radius)
        steps = replay(plain, plain.embed(np.zeros(SHAPE)), prompts, candidate)
        last, chosen = steps[-1], steps[-1].best_index
        if candidate is not None and len(steps) == 1:
            chosen = min(candidate, len(last.scores) - 1)
        return bool(np.array_equal(last.mask(chosen), self.session.mask(*key)))

    def drafts(self) -> list:
        """Drafts that nothing follows."""
        everywhere = [(o, p) for o in range(1, OBJECTS + 1) for p in range(PLANES)]
        return [key for key in everywhere if self.session.draft(*key) is not None]

    def leftover(self) -> list:
        """Objects and planes that have a mask but no prompt."""
        everywhere = [(o, p) for o in range(1, OBJECTS + 1) for p in range(PLANES)]
        given = {(o, plane[0]) for o, plane in self.session.prompts.keys}
        return [key for key in everywhere if key not in given and self.session.scores(*key)]

    def check_wait(self, is_answered: bool) -> None:
        """True means that nothing is missing."""
        if is_answered:
            assert not self.unanswered()
            assert not self.drafts()
            assert not self.session.is_waiting


@pytest.mark.parametrize("seed", range(16))
def test_no_prompt_stays_unanswered_whatever_order_things_happen_in(seed):
    rng = np.random.default_rng(seed)
    executor, models = SteppingExecutor(rng), [TilesSegmenter(radius) for radius in RADII]
    source = ArraySource(rng.random((PLANES, *SHAPE)))
    session = Session(models[0], source, executor, prefetch=int(rng.integers(2)))
    player = Player(rng, session, models)
    for _ in range(60):
        player.act()
        for _ in range(int(rng.integers(6))):
            executor.step()
        if rng.random() < 0.2:
            player.check_wait(session.wait(int(rng.integers(40))))
    player.end_well()
    assert session.wait()
    assert not player.unanswered()
    assert not player.leftover()
    assert not player.drafts()


@pytest.mark.parametrize("seed", range(4))
def test_no_prompt_stays_unanswered_on_real_threads(seed):
    rng = np.random.default_rng(seed)
    engine, models = Engine(), [TilesSegmenter(radius, seconds=0.002) for radius in RADII]
    source = ArraySource(rng.random((PLANES, *SHAPE)))
    session = Session(models[0], source, engine, prefetch=1)
    player = Player(rng, session, models)
    for _ in range(60):
        player.act()
        time.sleep(float(rng.random()) * 0.004)
        engine.drain()
        if rng.random() < 0.2:
            player.check_wait(session.wait(float(rng.random()) * 0.02))
    player.end_well(30)
    assert session.wait(30)
    assert not player.unanswered()
    assert not player.leftover()
    assert not player.drafts()
    engine.close(5)
