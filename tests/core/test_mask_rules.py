"""How masks meet other labels, and what is done to them before they are written."""

from threading import Event, get_ident

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter, disk

from napari_sam.batch import replay_session
from napari_sam.engine import Engine
from napari_sam.patches import cut
from napari_sam.prompts import Prompts
from napari_sam.session import ArrayCanvas, ArraySource, PostProcessing, Session

SHAPE = (40, 50)


class RaggedSegmenter(FakeSegmenter):
    """Disks with a hole in their middle and a speck beside them."""

    def _logits(self, frame, prompts, size):
        logits = super()._logits(frame, prompts, size)
        for row, column in prompts.points[prompts.point_labels == 1].astype(int):
            logits[row + 2, column] = -5
            logits[row, column + 10 : column + 12] = 5
        return logits


@pytest.fixture
def labels():
    return np.zeros(SHAPE, np.int32)


@pytest.fixture
def session(labels):
    return Session(RaggedSegmenter(), ArraySource(np.zeros(SHAPE)), canvas=ArrayCanvas(labels))


def test_masks_are_as_the_model_gives_them_by_default(session, labels):
    session.add_point((), (20, 20))
    assert labels[22, 20] == 0
    assert labels[20, 30] == 1
    assert session.journal.entries[-1].details == {}


@pytest.mark.parametrize(
    "how", [PostProcessing(True, True), PostProcessing(True, smallest=4)], ids=["clicked", "size"]
)
def test_holes_and_islands_go_and_the_journal_records_why(session, labels, how):
    session.post_processing = how
    session.add_point((), (20, 20))
    np.testing.assert_array_equal(labels == 1, disk(SHAPE, (20, 20), 4))
    np.testing.assert_array_equal(session.mask(1, ()), labels == 1)
    assert session.journal.entries[-1].details == {"post_processing": how.words()}


def test_a_mask_is_processed_once_however_often_it_is_written(session, labels):
    session.post_processing = PostProcessing(smoothing=1.5)
    session.add_point((), (20, 20))
    once = labels.copy()
    session.undo()
    session.post_processing = PostProcessing()
    session.redo()
    np.testing.assert_array_equal(labels, once)
    session.post_processing = PostProcessing(smoothing=4.0)
    session.lock([1])
    session.lock([1], False)
    np.testing.assert_array_equal(labels, once)


def test_a_hole_with_a_negative_click_stays():
    mask = disk(SHAPE, (20, 20), 8) & ~disk(SHAPE, (20, 20), 2) & ~disk(SHAPE, (15, 20), 1)
    prompts = Prompts([(26, 20), (20, 20)], [1, 0])
    after = PostProcessing(True).apply(cut(mask), prompts)
    expected = disk(SHAPE, (20, 20), 8) & ~disk(SHAPE, (20, 20), 2)
    np.testing.assert_array_equal(after.within((slice(0, 40), slice(0, 50))), expected)


def test_the_only_part_stays_however_small_unless_nobody_clicked():
    patch = cut(disk(SHAPE, (20, 20), 2))
    how = PostProcessing(smallest=100)
    assert how.apply(patch, Prompts(box=(18, 18, 22, 22))).area == patch.area
    assert how.apply(patch).area == 0


def test_smoothing_never_leaves_the_plane_nor_takes_all():
    mask = np.zeros(SHAPE, bool)
    mask[:3, :] = True
    smooth = PostProcessing(smoothing=2.0).apply(cut(mask), Prompts([(1, 20)], [1]))
    assert smooth.region[0].start >= 0
    assert smooth.region[1].start >= 0
    line = cut(np.eye(20, dtype=bool))
    assert PostProcessing(smoothing=3.0).apply(line, Prompts([(1, 1)], [1])).area == line.area


def test_a_size_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="smoothing from 0"):
        PostProcessing(smoothing=-1)


def test_overlaps_are_kept_overwritten_or_their_gaps_filled(labels):
    labels[:, 27:] = 9
    expected = {"keep": 0, "overwrite": 0, "fill gaps": 9}
    for overlap, gap in expected.items():
        shown = labels.copy()
        session = Session(
            FakeSegmenter(4.0), ArraySource(np.zeros(SHAPE)), canvas=ArrayCanvas(shown)
        )
        session.overlap = overlap
        session.add_point((), (20, 20))
        assert np.count_nonzero(shown[:, 25:27] == 1) == (gap and 14)
        assert (shown[:, 27:] == 9).all()
        session.undo()
        np.testing.assert_array_equal(shown, labels)


def test_overwrite_is_one_of_the_rules_for_overlaps(session):
    reported = []
    session.rules_changed.connect(lambda: reported.append(session.overlap))
    session.overwrite = True
    session.overlap = "fill gaps"
    assert not session.overwrite
    session.overwrite = False  # as it is
    assert reported == ["overwrite", "fill gaps"]
    with pytest.raises(ValueError, match="fill gaps"):
        session.overlap = "drop"


def test_rules_are_saved_and_replayed_to_the_same_pixels(session, labels, tmp_path):
    labels[:, 26:] = 9
    session.overlap = "fill gaps"
    session.post_processing = PostProcessing(True, smallest=3, smoothing=0.8)
    session.add_point((), (20, 20))
    session.post_processing = PostProcessing(True)
    session.add_point((), (10, 10), object_id=2)
    session.find_all(points_per_side=2)
    session.save(path := tmp_path / "one.napari-sam")
    again = Session.open(path, session.source)
    assert (again.overlap, again.post_processing) == ("fill gaps", PostProcessing(True))
    replayed = replay_session(path, session.source, RaggedSegmenter())
    assert replayed.different == 0
    np.testing.assert_array_equal(replayed.labels, labels)


def test_what_is_found_is_processed_too(session, labels):
    session.post_processing = PostProcessing(True, True)
    session.find_all(points_per_side=2)
    for row in session.objects:
        r, c = np.nonzero(labels == row.id)
        assert np.ptp(c) <= 24  # without the speck beside it
        assert labels[int(r.mean()) + 1, int(c.mean())] == row.id
    assert session.objects


@pytest.mark.parametrize("changes", [False, True])
def test_masks_are_processed_off_the_owners_thread_as_is_set_when_they_come(
    labels, monkeypatch, changes
):
    how, threads, apply = PostProcessing(True, smoothing=2.0), [], PostProcessing.apply
    monkeypatch.setattr(
        PostProcessing, "apply", lambda *given: threads.append(get_ident()) or apply(*given)
    )
    engine, model, begun = Engine(), RaggedSegmenter(), Event()
    draft_many = model.draft_many
    model.draft_many = lambda *given: begun.set() or draft_many(*given)
    session = Session(model, ArraySource(np.zeros(SHAPE)), engine, canvas=ArrayCanvas(labels))
    session.post_processing = PostProcessing(smallest=9) if changes else how
    model.may_decode.clear()
    session.add_point((), (20, 20))
    while not begun.wait(0.01):
        engine.drain()
    session.post_processing = how
    model.may_decode.set()
    assert session.wait(10)
    assert len(threads) == 1 + changes
    assert get_ident() not in threads
    assert session.journal.entries[-1].details == {"post_processing": how.words()}
    prompts = Prompts([(20, 20)], [1])
    raw = model.decode(model.embed(np.zeros(SHAPE)), prompts)
    expected = apply(how, cut(raw.mask(raw.best_index)), prompts)
    np.testing.assert_array_equal(labels[expected.region] == 1, expected.pixels)
    assert (labels == 1).sum() == expected.area
    engine.close(5)
