"""A network in a process of its own answers as one in this process does."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import HYBRID, network
from small_sam2 import small_network
from taught_models import teach

from napari_sam import load_segmenter, samples
from napari_sam.geometry import Frame, fit_frame
from napari_sam.model import taught_library, weights
from napari_sam.model.checkpoint import save
from napari_sam.patches import Patch
from napari_sam.prompts import Prompts
from napari_sam.segmentation import messages, own_process, worker_process
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.own_process import ProcessSegmenter
from napari_sam.segmentation.pipe import Message, Reader, Writer, pack
from napari_sam.segmentation.protocol import Cancelled, Embedding
from napari_sam.segmentation.worker import Server
from napari_sam.segmentation.worker_process import WorkerLost, take_worker

FRAME = Frame((200, 150), (8, 16), (120, 100), (240, 200), (256, 224), "own")


@pytest.fixture(scope="module", autouse=True)
def one_thread(few_threads):
    """As many here as there: the process answers quick calls in half of this one's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def here():
    return SamSegmenter(weights.load("nano"), "cpu")


@pytest.fixture(scope="module")
def there():
    segmenter = ProcessSegmenter("nano", "cpu")
    yield segmenter
    segmenter.close()


@pytest.fixture(scope="module")
def plane():
    return np.asarray(samples.load(samples.NAMES[0]).data)[:256, :256]


@pytest.fixture(scope="module")
def embedding(there, plane):
    return there.embed(plane)


def same(one, other):
    return np.array_equal(one.logits, other.logits) and np.array_equal(one.scores, other.scores)


def test_it_is_the_same_model(here, there):
    assert there.traits == here.traits
    assert (there.encoder_key, there.model_key) == (here.encoder_key, here.model_key)
    assert (there.device, there.precision) == (here.device, here.precision)


def test_taught_model_is_loaded_there(private_home):
    parent = network(HYBRID)
    save(parent, private_home / "models" / "parent.safetensors", half=False)
    kept = taught_library.keep(teach(parent), "coli")
    segmenter = ProcessSegmenter("coli", "cpu")
    try:
        assert segmenter.traits.name == "coli"
        assert segmenter.model_key == kept.card.key
        assert segmenter.encoder_key == SamSegmenter(parent, "cpu").encoder_key
    finally:
        segmenter.close()


def test_embeddings_and_masks_are_equal_to_the_last_bit(here, there, plane, embedding):
    expected = here.embed(plane)
    assert embedding.frame == expected.frame
    for level, other in zip(embedding.features, expected.features, strict=True):
        assert torch.equal(level, other)
    click = Prompts([(60, 80)], [1])
    first = here.decode(expected, click)
    several = [
        click,
        Prompts([(60, 80), (20, 20)], [1, 0]),
        Prompts(box=(40, 60, 90, 110)),
        click.with_logits(first.logits[0], first.frame),
        Prompts([(60, 80)], [1], mask=Patch((50, 70), np.ones((20, 25), bool))),
        Prompts(mask=np.arange(plane.shape[0] * plane.shape[1]).reshape(plane.shape[:2]) < 9000),
    ]
    theirs, ours = there.decode_many(embedding, several), here.decode_many(expected, several)
    assert all(same(one, other) for one, other in zip(theirs, ours, strict=True))
    assert all(one.frame == expected.frame for one in theirs)
    found, looked_for = there.propose(embedding), here.propose(expected)
    assert np.array_equal(found.boxes, looked_for.boxes)
    assert np.array_equal(found.scores, looked_for.scores)


def test_with_other_threads_answers_differ_by_rounding_at_most(here, there, plane, embedding):
    expected = there.decode(embedding, Prompts([(60, 80)], [1]))
    torch.set_num_threads(2)
    try:
        found = here.decode(here.embed(plane), Prompts([(60, 80)], [1]))
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)


def test_the_masks_of_one_object_come_cut_out(here, there, plane, embedding):
    click = Prompts([(60, 80)], [1])
    theirs, ours = there.decode(embedding, click), here.decode(here.embed(plane), click)
    assert len(theirs.patches) == len(theirs.scores) == 3
    for i in range(3):
        assert theirs.patch(i).origin == ours.patch(i).origin
        assert np.array_equal(theirs.patch(i).pixels, ours.patch(i).pixels)


def test_an_embedding_made_elsewhere_is_sent_once(here, there, plane, monkeypatch):
    elsewhere, click = here.embed(plane[:128]), Prompts([(60, 80)], [1])
    sent = []
    pack = own_process.pack_features
    monkeypatch.setattr(
        own_process, "pack_features", lambda features: sent.append(1) or pack(features)
    )
    expected = here.decode(elsewhere, click)
    assert same(there.decode(elsewhere, click), expected)
    assert same(there.decode(elsewhere, click), expected)
    assert len(sent) == 1


def test_mean_features_are_computed_without_the_process(here, there, plane, embedding, monkeypatch):
    monkeypatch.setattr(there, "_call", None)  # so no mask goes through the pipe
    masks = [np.zeros(plane.shape[:2], bool), np.ones(plane.shape[:2], bool)]
    masks[0][40:80, 20:90] = True
    means = there.mean_features(embedding, masks)
    np.testing.assert_array_equal(means, here.mean_features(embedding, masks))
    np.testing.assert_array_equal(
        there.similarity(embedding, means), here.similarity(embedding, means)
    )


def test_an_embedding_the_process_has_dropped_is_sent_again(here, there, plane):
    elsewhere, click = here.embed(plane[:, :128]), Prompts([(60, 80)], [1])
    there._sent.add(there._number_of(elsewhere))  # as if it had been sent, and dropped since
    assert same(there.decode(elsewhere, click), here.decode(elsewhere, click))


def test_embeddings_that_are_gone_here_are_forgotten_there(there, plane):
    embedding = there.embed(plane[:64, :64])
    number = there._number_of(embedding)
    del embedding
    assert list(there._forgotten) == [number]
    there.embed(plane[:64, :64])
    assert number not in there._sent
    assert not there._forgotten or number not in there._forgotten


def test_errors_arrive_as_what_they_are(there, embedding):
    with pytest.raises(ValueError, match="give a point on the image"):
        there.decode(embedding, Prompts([(5000, 1)], [1]))
    foreign = Embedding(embedding.features, embedding.frame, "another", "float32")
    with pytest.raises(ValueError, match="embed the plane again"):
        there.decode(foreign, Prompts([(60, 80)], [1]))
    with pytest.raises(ValueError, match="pixels of the frame's shape"):
        there.embed_pixels(np.zeros((9, 9, 3), np.uint8), embedding.frame)
    with pytest.raises(weights.CheckpointError, match="nothing"):
        ProcessSegmenter("nothing.pth", "cpu")
    with pytest.raises(ValueError, match="tpu"):
        ProcessSegmenter("nano", "tpu")


def test_what_a_progress_callback_raises_stops_the_call(there, plane, embedding):
    def stop(fraction):
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        there.embed(plane, progress=stop)
    fractions = []
    there.embed(plane, progress=fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert there.decode(embedding, Prompts([(60, 80)], [1])).scores.size


def test_threads_share_it(here, there, embedding):
    clicks = [Prompts([(10 + 9 * i, 20 + 8 * i)], [1]) for i in range(12)]
    expected = [here.decode(embedding, click) for click in clicks]
    found = [None] * len(clicks)

    def decode(start):
        for i in range(start, len(clicks), 3):
            found[i] = there.decode(embedding, clicks[i])

    threads = [threading.Thread(target=decode, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


def test_a_call_whose_process_dies_raises_and_the_next_starts_another(here, there, plane):
    embedding, click = there.embed(plane), Prompts([(60, 80)], [1])
    before = there.worker.pid

    def kill(fraction):
        os.kill(before, signal.SIGKILL)

    with pytest.raises(WorkerLost, match=r"killed by signal 9.*started anew"):
        there.embed(plane, progress=kill)
    assert same(there.decode(embedding, click), here.decode(embedding, click))
    assert there.worker.pid != before


def test_a_process_started_ahead_is_the_next_model_s():
    worker_process._spare.clear()
    worker_process.start_spare()
    worker_process.start_spare()
    (spare,) = worker_process._spare
    assert take_worker() is spare
    assert not worker_process._spare
    spare.close()
    assert spare.has_ended


# Messages


@pytest.fixture
def pipe():
    source, target = os.pipe()
    yield Reader(source), target
    for descriptor in (source, target):
        with suppress(OSError):
            os.close(descriptor)


@st.composite
def prompts(draw):
    count = draw(st.integers(0, 3))
    place = st.floats(0, 500, allow_nan=False)
    points = [(draw(place), draw(place)) for _ in range(count)]
    labels = [draw(st.integers(0, 1)) for _ in range(count)]
    box = draw(st.sampled_from([None, (1.25, 2, 30, 40.1)]))
    mask = draw(
        st.sampled_from(
            [
                None,
                np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4),
                np.eye(5, dtype=bool),
                Patch((4, 7), np.eye(3, dtype=bool)),
            ]
        )
    )
    return Prompts(points, labels, box, mask, FRAME if draw(st.booleans()) else None)


@given(st.lists(prompts(), max_size=4))
def test_prompts_survive_the_way(several):
    source, target = os.pipe()
    try:
        values, arrays = messages.pack_prompts(several)
        Writer(target).put(Message("decode", 3, {"prompts": values}, arrays))
        message = Reader(source).next()
    finally:
        os.close(source)
        os.close(target)
    found = messages.unpack_prompts(message.values["prompts"], message.arrays)
    assert (message.kind, message.call, len(found)) == ("decode", 3, len(several))
    for one, other in zip(found, several, strict=True):
        assert np.array_equal(one.points, other.points)
        assert np.array_equal(one.point_labels, other.point_labels)
        assert one.box == other.box
        assert one.mask_frame == other.mask_frame
        assert type(one.mask) is type(other.mask)
        if isinstance(one.mask, Patch):
            assert one.mask.origin == other.mask.origin
            assert np.array_equal(one.mask.pixels, other.mask.pixels)
        else:
            assert np.array_equal(one.mask, other.mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_features_survive_the_way_in_every_number_format(dtype, pipe):
    reader, target = pipe
    given_features = tuple(torch.randn(1, c, 4, 3).to(dtype) for c in (5, 2))
    Writer(target).put(Message("encode", 1, {}, messages.pack_features(given_features)))
    found = messages.unpack_features(reader.next().arrays)
    assert [level.dtype for level in found] == [dtype, dtype]
    assert all(torch.equal(*both) for both in zip(found, given_features, strict=True))


def test_messages_come_in_order_however_the_pipe_cuts_them(pipe):
    reader, target = pipe
    data = b"".join(pack(Message("progress", i, {"fraction": i})) for i in range(5))

    def dribble():
        for start in range(0, len(data), 7):
            os.write(target, data[start : start + 7])

    writer = threading.Thread(target=dribble)
    writer.start()
    assert [reader.next().call for _ in range(5)] == list(range(5))
    writer.join()


def test_a_message_that_is_cut_short_is_the_end(pipe):
    reader, target = pipe
    os.write(target, pack(Message("result", 1))[:-3])
    os.close(target)
    assert reader.next() is None


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 64, b"\x08" + 7 * b"\0" + b"\x02" + 7 * b"\0", b"\x0a" + 7 * b"\0" + b"no message"],
)
def test_bytes_that_are_no_message_are_refused(data, pipe):
    reader, target = pipe
    os.write(target, data)
    with pytest.raises(ValueError, match="expected a message"):
        reader.next()


def test_errors_of_other_kinds_name_themselves():
    error = messages.error_of(messages.error_values(ZeroDivisionError("by zero")))
    assert isinstance(error, RuntimeError)
    assert str(error) == "ZeroDivisionError: by zero"


def test_a_model_of_another_library_answers_there(tmp_path):
    small_network().save_pretrained(tmp_path / "mine")
    (source, asks), (answers, target) = os.pipe(), os.pipe()
    about = {"model": str(tmp_path / "mine"), "device": "cpu", "precision": "auto", "threads": 1}
    calls = Writer(asks)
    calls.put(Message("load", 1, about, {}))
    server = Server(Reader(source), Writer(target))
    thread = threading.Thread(target=server.serve)
    thread.start()
    reader = Reader(answers)
    try:
        loaded = answer_to(reader, 1)
        assert loaded.values["traits"] == server._loaded.traits.to_json()
        frame = fit_frame((50, 90), server._loaded.traits.geometry)
        pixels = np.arange(50 * 90 * 3, dtype=np.uint8).reshape(50, 90, 3)
        about = {"embedding": 1, "frame": messages.frame_values(frame)}
        calls.put(Message("encode", 2, about, {"pixels": pixels}))
        features = messages.unpack_features(answer_to(reader, 2).arrays)
        alone = load_segmenter(tmp_path / "mine", "cpu", tiles=False, cache=False)
        for one, other in zip(features, alone.embed_pixels(pixels).features, strict=True):
            torch.testing.assert_close(one, other)
    finally:
        os.close(asks)
        thread.join()
        for descriptor in (source, answers, target):
            os.close(descriptor)


def answer_to(reader, call):
    """Read the result of a call, past what is told on the way."""
    while (answer := reader.next()).kind == "progress":
        pass
    assert (answer.kind, answer.call) == ("result", call), answer.values
    return answer


def test_a_call_before_a_model_is_loaded_is_refused():
    (source, asks), (answers, target) = os.pipe(), os.pipe()
    Writer(asks).put(Message("encode", 1, {"frame": messages.frame_values(FRAME)}, {}))
    os.close(asks)
    server = Server(Reader(source), Writer(target))
    server.serve()
    answer = Reader(answers).next()
    assert answer.kind == "error"
    for descriptor in (source, answers, target):
        os.close(descriptor)
