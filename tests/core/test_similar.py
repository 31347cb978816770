"""More objects like some that are accepted: found, written as one step, saved and run again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from component_segmenter import ComponentSegmenter, disks

from napari_sam.automask import SimilarSettings, examples_of, find_similar, join_examples
from napari_sam.batch import replay_session
from napari_sam.masks import iou
from napari_sam.session import ArrayCanvas, ArraySource, Session
from napari_sam.session.keeping import ImageFacts, save_session
from napari_sam.session.similar import Example

SHAPE = (60, 80)
SMALL = [(12, 12, 5), (12, 40, 6), (40, 14, 5)]
LARGE = (40, 55, 17)
PLANE = disks(SHAPE, *SMALL, LARGE)
LIMITS = (0, 255)


def disk(circle) -> np.ndarray:
    return disks(SHAPE, circle) > 0


def pixels_of(found) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[found.region] = found.crop()
    return mask


@pytest.fixture(params=[False, True], ids=["clicks", "boxes"])
def segmenter(request):
    return ComponentSegmenter(dense=request.param)


@pytest.fixture
def embedding(segmenter):
    return segmenter.embed(PLANE, LIMITS)


@pytest.fixture
def session(segmenter):
    stack = np.stack([PLANE, PLANE[::-1]])
    source = ArraySource(stack, contrast_limits=LIMITS)
    return Session(segmenter, source, canvas=ArrayCanvas(np.zeros(stack.shape, np.int32)))


@pytest.fixture
def reported(session):
    sentences = []
    session.noticed.connect(sentences.append)
    session.failed.connect(lambda error: sentences.append(str(error)))
    return sentences


def test_what_is_like_an_example_is_found_and_what_is_there_is_not(segmenter, embedding):
    first = disk(SMALL[0])
    found = find_similar(segmenter, embedding, examples_of(segmenter, embedding, [first]), first)
    assert len(found) == 2
    for circle in SMALL[1:]:
        assert max(iou(pixels_of(one), disk(circle)) for one in found) > 0.9


def test_size_is_part_of_what_is_alike(segmenter, embedding):
    first = disk(SMALL[0])
    examples = examples_of(segmenter, embedding, [first])
    any_size = SimilarSettings(size_factor=100)
    found = find_similar(segmenter, embedding, examples, first, any_size)
    assert [iou(pixels_of(one), disk(LARGE)) > 0.9 for one in found] == [False, False, True]


class TwoKinds(ComponentSegmenter):
    """Distinguishes bright objects from very bright ones."""

    def embed_pixels(self, pixels, frame=None, progress=None):
        embedding = super().embed_pixels(pixels, frame, progress)
        grey = torch.from_numpy(pixels[None, None, ..., 0].astype(np.float32))
        return replace(embedding, features=(*embedding.features, grey))

    def similarity(self, embedding, vectors):
        bright, very = (embedding.features[1][0, 0].numpy() > least for least in (127, 230))
        return np.einsum("nc,chw->nhw", vectors, np.stack([bright, very]).astype(np.float32))

    def mean_features(self, embedding, masks):
        maps = self.similarity(embedding, np.eye(2, dtype=np.float32))
        return np.array([maps[:, mask].mean(1) for mask in masks]).reshape(-1, 2)


def test_what_resembles_a_rejected_object_is_not_found():
    segmenter = TwoKinds()
    plane = np.where(disk(SMALL[1]) | disk(LARGE), PLANE // 3 * 2, PLANE)
    embedding = segmenter.embed(plane, LIMITS)
    one, other = disk(SMALL[0]), disk(SMALL[1])
    taken = one | disk(LARGE)
    plain, wide = examples_of(segmenter, embedding, [one]), SimilarSettings(likeness=0.2)
    assert len(find_similar(segmenter, embedding, plain, taken, wide)) == 2
    warned = examples_of(segmenter, embedding, [one], [disk(LARGE)])
    (found,) = find_similar(segmenter, embedding, warned, taken, wide)
    assert not (pixels_of(found) & other).any()


def test_examples_of_another_plane_will_do(segmenter):
    there, here = segmenter.embed(disks(SHAPE, (30, 30, 6)), LIMITS), segmenter.embed(PLANE, LIMITS)
    examples = join_examples(
        [
            examples_of(segmenter, there, [disk((30, 30, 6))]),
            examples_of(segmenter, here, [disk(SMALL[0])]),
        ]
    )
    assert examples.areas.tolist() == [disk((30, 30, 6)).sum(), disk(SMALL[0]).sum()]
    assert len(find_similar(segmenter, here, examples)) == 3


def test_without_an_example_there_is_nothing_to_find(segmenter, embedding):
    with pytest.raises(ValueError, match="accepted object"):
        find_similar(segmenter, embedding, examples_of(segmenter, embedding, []))


def test_a_search_reports_its_progress(segmenter, embedding):
    heard: list[float] = []
    examples = examples_of(segmenter, embedding, [disk(SMALL[0])])
    find_similar(segmenter, embedding, examples, progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1


@pytest.mark.parametrize(
    "wrong", [{"likeness": 2}, {"size_factor": 0.5}, {"spacing": 0}, {"most_clicks": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimilarSettings(**wrong)


def test_more_like_the_clicked_one_is_one_step_that_is_taken_back_and_brought_back(
    session, reported
):
    session.add_point(0, (12, 12))
    session.find_similar()
    labels = session.canvas.array.copy()
    assert np.unique(labels[0]).tolist() == [0, 1, 2, 3]
    assert not labels[1].any()
    assert reported[-1] == "2 more objects found"
    assert [entry.text for entry in session.journal.entries][2:] == ["found 2 more objects"]
    assert session.facts(2).origin == "found"
    assert session.object_row(2).state == "proposed"
    session.undo()
    assert np.unique(session.canvas.array).tolist() == [0, 1]
    session.redo()
    assert np.array_equal(session.canvas.array, labels)


def test_other_planes_are_searched_for_what_was_clicked_on_one(session):
    session.add_point(0, (12, 12))
    session.find_similar(range(2))
    assert [len(np.unique(plane)) - 1 for plane in session.canvas.array] == [3, 3]


def test_only_named_objects_are_examples(session, reported):
    session.add_point(0, (12, 12))
    session.add_point(0, (40, 55), object_id=2)
    session.find_similar(object_ids=[2])
    assert reported[-1].startswith("Nothing more like these")


def test_a_deleted_proposal_does_not_come_back(session):
    session.add_point(0, (12, 12))
    session.find_similar()
    labels = session.canvas.array[0]
    gone = labels[40, 14]
    session.delete_object(gone)
    before = session.canvas.array.copy()
    session.find_similar()
    assert np.array_equal(session.canvas.array, before)


def test_proposals_deleted_together_do_not_come_back(session):
    session.add_point(0, (12, 12))
    session.find_similar()
    session.delete_objects([2, 3])
    before = session.canvas.array.copy()
    assert np.unique(before).tolist() == [0, 1]
    session.find_similar()
    assert np.array_equal(session.canvas.array, before)


def test_a_session_without_an_accepted_object_advises_what_to_do(session):
    with pytest.raises(ValueError, match="click one, or accept some"):
        session.find_similar([0])


def test_a_run_is_saved_and_made_again(session, tmp_path):
    session.add_point(0, (12, 12))
    session.find_similar([1], likeness=0.3)
    session.add_point(1, (30, 60), object_id=9)
    file = tmp_path / "one.napari-sam"
    save_session(session, file, ImageFacts("two planes", None))
    result = replay_session(
        file, session.source, ComponentSegmenter(session.segmenter.traits.proposes)
    )
    assert np.array_equal(result.labels, session.canvas.array)
    assert result.different == 0


def test_an_example_survives_being_spelled():
    one = Example(7, (3, None, None), (1, 2, 10, 12), False)
    assert Example.of_words(one.words()) == one
    with pytest.raises(TypeError, match="as an example"):
        Example.of_words([7.0, [3, None, None], [1, 2, 3, 4], True])
    with pytest.raises(ValueError, match="rectangle"):
        Example.of_words([7, [3, None, None], [5, 2, 3, 4], True])
