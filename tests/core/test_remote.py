"""A model on another machine answers as one on this machine does."""

from __future__ import annotations

import logging
import threading
from contextlib import closing

import numpy as np
import pytest
import torch
from serving import TOKEN, serving
from small_models import HYBRID, segmenter
from small_sam2 import small_network

from napari_sam import load_segmenter
from napari_sam.patches import Patch
from napari_sam.prompts import Prompts
from napari_sam.segmentation.address import Address, is_address
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.connection import ConnectionLost
from napari_sam.segmentation.messages import frame_values
from napari_sam.segmentation.protocol import Cancelled
from napari_sam.segmentation.remote import RemoteSegmenter, remote_of
from napari_sam.segmentation.sam2 import Sam2Segmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.serving import visits

CLICK = Prompts([(20, 20)], [1])


@pytest.fixture(scope="module")
def here():
    return segmenter(HYBRID)


@pytest.fixture(scope="module")
def machine(here):
    with serving({"tiny": here}) as machine:
        yield machine


@pytest.fixture(scope="module")
def there(machine):
    with closing(RemoteSegmenter("tiny", machine.address, TOKEN, rounded=False)) as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def plane():
    return np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8)


@pytest.fixture(scope="module")
def embedding(there, plane):
    return there.embed(plane)


def same(one, other):
    return np.array_equal(one.logits, other.logits) and np.array_equal(one.scores, other.scores)


def until(condition):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it didn't come to that")


def test_it_is_the_same_model(here, there):
    assert there.traits == here.traits
    assert (there.encoder_key, there.model_key) == (here.encoder_key, here.model_key)
    assert (there.device, there.precision) == (here.device, here.precision)


def test_masks_proposals_and_features_are_equal_to_the_last_bit(here, there, plane, embedding):
    expected = here.embed(plane)
    first = here.decode(expected, CLICK)
    several = [
        CLICK,
        Prompts([(20, 20), (5, 5)], [1, 0]),
        Prompts(box=(10, 12, 30, 31)),
        CLICK.with_logits(first.logits[0], first.frame),
        Prompts([(20, 20)], [1], mask=Patch((15, 15), np.ones((9, 8), bool))),
        Prompts(mask=plane > 100),
    ]
    theirs, ours = there.decode_many(embedding, several), here.decode_many(expected, several)
    assert all(same(one, other) for one, other in zip(theirs, ours, strict=True))
    found, looked_for = there.propose(embedding), here.propose(expected)
    assert np.array_equal(found.boxes, looked_for.boxes)
    masks = [np.ones(plane.shape, bool), plane > 100]
    means = there.mean_features(embedding, masks)
    np.testing.assert_array_equal(means, here.mean_features(expected, masks))
    assert there.mean_features(embedding, []).shape == (0, means.shape[1])
    np.testing.assert_array_equal(
        there.similarity(embedding, means), here.similarity(expected, means)
    )


def test_a_model_that_resizes_in_its_own_way_gives_the_same_masks():
    sam2 = Sam2Segmenter(small_network(), "small", device="cpu", precision="float32")
    plane = np.random.default_rng(2).integers(0, 255, (50, 90, 3), np.uint8)
    prompts, masks = [CLICK, Prompts(box=(5, 6, 30, 80))], [plane[..., 0] > 100]
    with serving({"sam2": sam2}) as machine:
        there = RemoteSegmenter("sam2", machine.address, TOKEN, rounded=False)
        embedding, expected = there.embed(plane), sam2.embed(plane)
        found, ours = there.decode_many(embedding, prompts), sam2.decode_many(expected, prompts)
        assert all(same(one, other) for one, other in zip(found, ours, strict=True))
        np.testing.assert_array_equal(
            there.mean_features(embedding, masks), sam2.mean_features(expected, masks)
        )
        there.close()


def test_features_stay_there_and_come_in_half_precision_where_asked_for(
    here, there, plane, embedding
):
    expected = here.embed(plane)
    assert all(level.is_meta for level in embedding.features)
    assert [level.shape for level in embedding.features] == [f.shape for f in expected.features]
    assert embedding.nbytes == embedding.pixels.size  # one grey value each
    fetched = there.fetch(embedding)
    for level, other in zip(fetched.features, expected.features, strict=True):
        assert torch.equal(level, other.half())


def test_large_planes_have_the_masks_of_this_machine_with_a_cache(here, machine, tmp_path):
    plane = np.random.default_rng(1).integers(0, 255, (90, 110, 3), np.uint8)
    ours = CachedSegmenter(TiledSegmenter(here), tmp_path)
    theirs = load_segmenter("tiny", device=machine.address, token=TOKEN)
    assert remote_of(theirs).address == Address.of(machine.address)
    prompts = [CLICK, Prompts([(80, 100)], [1]), Prompts(box=(5, 6, 70, 80))]
    expected, found = (one.decode_many(one.embed(plane), prompts) for one in (ours, theirs))
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    remote_of(theirs).close()


def test_a_plane_goes_up_once(there, plane, embedding, monkeypatch):
    came = []
    check = visits.checked_pixels
    monkeypatch.setattr(visits, "checked_pixels", lambda *a: came.append(1) or check(*a))
    again = there.embed(plane)
    assert again.name == embedding.name
    assert same(there.decode(again, CLICK), there.decode(embedding, CLICK))
    assert not came


def test_a_plane_that_was_forgotten_there_is_sent_again(there, machine, plane):
    embedding = there.embed(plane[:40])
    before = there.decode(embedding, CLICK)
    for user in machine.desk.users._users.values():
        user.kept.clear()
    assert same(there.decode(embedding, CLICK), before)


def test_what_is_gone_here_is_forgotten_there(there, machine, plane, embedding):
    def kept():
        return {name for u in machine.desk.users._users.values() for _, name in u.kept}

    gone = there.embed(plane[:30])
    name = gone.name
    there.decode(gone, Prompts([(9, 9)], [1]))
    assert name in kept()
    del gone
    there.decode(embedding, CLICK)
    assert name not in kept()


def test_another_user_s_planes_can_be_neither_named_nor_guessed(there, machine, plane, embedding):
    with closing(RemoteSegmenter("tiny", machine.address, TOKEN, rounded=False)) as other:
        assert other.embed(plane).name != embedding.name  # of the same pixels
        asked = {"embedding": embedding.name, "frame": frame_values(embedding.frame)}
        assert other._connection.call("encode", asked).kind == "unknown embedding"


def test_errors_arrive_as_what_they_are(there, embedding):
    with pytest.raises(ValueError, match="give a point on the image"):
        there.decode(embedding, Prompts([(5000, 1)], [1]))
    with pytest.raises(ValueError, match="expected vectors"):
        there.similarity(embedding, np.zeros((1, 3)))


def test_errors_that_nobody_expects_stay_in_the_log_there(there, here, plane, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr(here, "embed_pixels", fail)
    with pytest.raises(RuntimeError, match="its log says why") as raised:
        there.embed(plane[5:])
    assert "secret" not in str(raised.value)
    assert "/home/somebody/secret" in caplog.text


def test_what_a_progress_callback_raises_stops_the_call(there, plane):
    def stop(fraction):
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        there.embed(plane[3:], progress=stop)
    fractions = []
    there.embed(plane[3:], progress=fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.parametrize("model", ["other", "../tiny", "/etc/passwd", "tiny.pth"])
def test_only_offered_models_are_loaded(machine, model):
    with pytest.raises(ValueError, match="expected a model among tiny"):
        RemoteSegmenter(model, machine.address, TOKEN)


def test_another_precision_than_theirs_is_refused(machine):
    with pytest.raises(ValueError, match="auto or float32"):
        RemoteSegmenter("tiny", machine.address, TOKEN, precision="bfloat16")


def test_files_and_taught_models_are_never_sent(machine, tmp_path):
    with pytest.raises(ValueError, match="weights are never sent"):
        load_segmenter(tmp_path / "own.pth", device=machine.address, token=TOKEN)


# Tokens


def test_a_wrong_token_is_refused_and_never_repeated(machine, caplog):
    wrong = "another-token-nobody-may-read"
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PermissionError, match="doesn't know the token") as raised:
        RemoteSegmenter("tiny", machine.address, wrong)
    with closing(RemoteSegmenter("tiny", machine.address, TOKEN)) as segmenter:
        segmenter.embed(np.zeros((20, 20), np.uint8))
    assert wrong not in str(raised.value)
    assert wrong not in caplog.text
    assert TOKEN not in caplog.text


def test_the_environment_has_the_token_or_its_file(machine, monkeypatch, tmp_path):
    monkeypatch.delenv("NAPARI_SAM_TOKEN", raising=False)
    with pytest.raises(ValueError, match="expected a token for ws"):
        RemoteSegmenter("tiny", machine.address)
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    monkeypatch.setenv("NAPARI_SAM_TOKEN_FILE", str(path))
    RemoteSegmenter("tiny", machine.address).close()
    monkeypatch.setenv("NAPARI_SAM_TOKEN", TOKEN)
    RemoteSegmenter("tiny", machine.address).close()


# Connections that are lost


def test_a_click_waits_for_a_lost_connection_and_nothing_is_lost(here, plane):
    states = []
    with serving({"tiny": here}) as first:
        segmenter = RemoteSegmenter("tiny", first.address, TOKEN)
        segmenter.connection.listen(lambda: states.append(segmenter.state))
        embedding = segmenter.embed(plane)
        expected = segmenter.decode(embedding, CLICK)
    until(lambda: segmenter.state == "lost")
    found = []
    thread = threading.Thread(target=lambda: found.append(segmenter.decode(embedding, CLICK)))
    thread.start()
    assert not found
    with serving({"tiny": here}, port=first.port):  # that has never seen the plane
        thread.join(20)
        assert same(found[0], expected)
        assert states == ["lost", "connected"]
        segmenter.close()


def test_a_call_that_is_cut_off_is_made_again(machine, plane):
    segmenter = RemoteSegmenter("tiny", machine.address, TOKEN)
    with closing(segmenter):
        embedding = segmenter.embed(plane)
        expected = segmenter.decode(embedding, CLICK)
        segmenter.connection._socket._socket.socket.close()  # without a word
        assert same(segmenter.decode(embedding, CLICK), expected)


def test_waiting_ends_with_patience_or_where_it_is_given_up(here, plane):
    with serving({"tiny": here}) as machine:
        segmenter = RemoteSegmenter("tiny", machine.address, TOKEN, patience=0.0)
        embedding = segmenter.embed(plane)
    with closing(segmenter):
        until(lambda: segmenter.state == "lost")
        with pytest.raises(ConnectionLost):
            segmenter.decode(embedding, CLICK)
        segmenter.connection.patience = None
        raised = []

        def decode():
            try:
                segmenter.decode(embedding, CLICK)
            except ConnectionLost as error:
                raised.append(error)

        thread = threading.Thread(target=decode)
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        segmenter.connection.give_up()
        thread.join(10)
        assert raised
        with pytest.raises(ConnectionLost):  # nor does a later call wait
            segmenter.decode(embedding, CLICK)


def test_another_model_under_the_name_is_noticed(here, plane):
    with serving({"tiny": here}) as first:
        remote = RemoteSegmenter("tiny", first.address, TOKEN)
        embedding = remote.embed(plane)
    with closing(remote), serving({"tiny": segmenter(HYBRID, seed=5)}, port=first.port):
        until(lambda: remote.state == "refused")
        with pytest.raises(ValueError, match="another model under the name"):
            remote.decode(embedding, CLICK)


def test_nobody_there_is_reported_at_once(here):
    with serving({"tiny": here}) as gone:
        pass
    with pytest.raises(ConnectionLost, match="can't be reached"):
        RemoteSegmenter("tiny", gone.address, TOKEN)


# Addresses


def test_addresses_are_read():
    assert str(Address.of("ws://127.0.0.1:8765")) == "ws://127.0.0.1:8765"
    assert str(Address.of(" wss://[::1]:80/ ")) == "wss://[::1]:80"
    assert Address.of("ws://localhost:1").is_loopback
    assert not Address.of("wss://gpu.example.org:1").is_loopback
    assert is_address("ws://a:1")
    assert not is_address("cuda:1")
    for text in ("ws://host", "http://host:1", "ws://host:99999", "ws://host:1/x", "ws://:1"):
        with pytest.raises(ValueError, match="expected an address"):
            Address.of(text)
    with pytest.raises(ValueError, match="token in it") as raised:
        Address.of("ws://me:secret@host:1")
    assert "secret" not in str(raised.value)
