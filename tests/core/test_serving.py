"""A server lets in who may come, refuses what is too much, and is fair."""

from __future__ import annotations

import re
import threading
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from serving import TOKEN, serving
from small_models import HYBRID, segmenter
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from napari_sam.cli import app
from napari_sam.geometry import fit_frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation.messages import frame_values
from napari_sam.segmentation.pipe import Message, from_bytes, to_bytes
from napari_sam.segmentation.protocol import Embedding
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.segmentation.tokens import checked_token, is_same_token, new_token, read_token
from napari_sam.segmentation.traits import Traits
from napari_sam.serving.fair_queue import FairQueue
from napari_sam.serving.gate import Gate, check_exposure, own_names
from napari_sam.serving.limits import ServerLimits, checked_frame
from napari_sam.serving.offers import Offers
from napari_sam.serving.users import Users
from napari_sam.training.tuning import innermost

TRAITS = Traits.of(HYBRID)
FRAME = fit_frame((60, 50), TRAITS.geometry)
HELLO = {
    "version": 1,
    "user": "u" * 32,
    "model": "tiny",
    "precision": "auto",
    "rounded": True,
}


@pytest.fixture(scope="module")
def machine():
    limits = ServerLimits(message_bytes=300_000, users=3)
    with serving({"tiny": segmenter(HYBRID)}, limits) as machine:
        yield machine


def open_one(machine, token=TOKEN, **more):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect(machine.address, additional_headers=headers, compression=None, **more)


def ask(web, kind, values, arrays=None, call=1):
    web.send(to_bytes(Message(kind, call, values, arrays or {})))
    while (answer := from_bytes(web.recv())).kind == "progress":
        pass
    return answer


# Who may come


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"token": None}, 401),
        ({"token": TOKEN + "x"}, 401),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_connections_without_the_token_or_of_a_web_page_are_refused(machine, more, status):
    with pytest.raises(InvalidStatus) as raised, open_one(machine, **more):
        pass
    assert raised.value.response.status_code == status


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.evil.org:80", "", "[", "a@b"])
def test_requests_by_a_foreign_name_are_refused(host):
    gate = Gate(TOKEN, own_names("0.0.0.0", ["GPU.example.org"]))
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert gate.refusal(headers | {"host": host}).status == 403
    for own in ("127.0.0.1:8765", "localhost:1", "[::1]:8765", "gpu.example.org"):
        assert gate.refusal(headers | {"host": own}) is None


def test_listening_beyond_this_machine_needs_a_certificate_or_a_word():
    check_exposure("127.0.0.1", False, False)
    check_exposure("::1", False, False)
    check_exposure("0.0.0.0", True, False)
    check_exposure("10.0.0.5", False, True)
    with pytest.raises(ValueError, match="SSH tunnel"):
        check_exposure("0.0.0.0", False, False)


def test_a_token_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    for mode in (0o644, 0o640, 0o602):
        path.chmod(mode)
        with pytest.raises(ValueError, match=r"mode 600.*chmod 600"):
            read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN


@pytest.mark.parametrize("content", [b"short", b"with a blank in the middle", b"\xff" * 40, b""])
def test_a_file_without_a_token_is_refused_and_not_quoted(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="expected a token") as raised:
        read_token(path)
    assert not content or repr(content)[2:-1] not in str(raised.value)


def test_made_tokens_are_good_and_different():
    assert checked_token(new_token()) != new_token()
    assert is_same_token(TOKEN, TOKEN)
    assert not is_same_token(TOKEN, TOKEN[:-1])
    assert not is_same_token("ä", TOKEN)


def test_more_users_than_are_served_are_refused(machine):
    users = [RemoteSegmenter("tiny", machine.address, TOKEN) for _ in range(3)]
    with pytest.raises(ConnectionError, match="too many users"):
        RemoteSegmenter("tiny", machine.address, TOKEN)
    for user in users:
        user.close()


# What may be asked


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"\0" * 400_000, 1009), (b"no message", 1007), ("text", 1007), (b"", 1007)],
)
def test_messages_that_are_too_large_or_damaged_end_the_connection_alone(machine, data, code):
    with open_one(machine) as other, open_one(machine) as web:
        assert ask(other, "load", HELLO | {"user": "o" * 32}).kind == "result"
        web.send(data)
        with pytest.raises(ConnectionClosed) as raised:
            web.recv()
        assert raised.value.rcvd.code == code
        assert ask(other, "load", HELLO | {"user": "o" * 32}, call=2).kind == "result"


@given(st.data())
def test_any_damage_to_a_message_is_found_or_harmless(data):
    blob = bytearray(to_bytes(Message("decode", 3, {"a": [1]}, {"x": np.arange(4)})))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(blob)))
    for damaged in (bytes(blob), bytes(blob[:cut])):
        with suppress(ValueError):  # and nothing else is raised
            assert isinstance(from_bytes(damaged), Message)


@pytest.mark.parametrize(
    ("kind", "values", "arrays", "said"),
    [
        ("encode", {"embedding": "a", "frame": [1]}, {}, "expected a frame"),
        ("encode", {"embedding": "../x", "frame": frame_values(FRAME)}, {}, "name of an embedding"),
        ("encode", {"frame": frame_values(FRAME)}, {}, "name of an embedding|takes"),
        (
            "encode",
            {"embedding": "a", "frame": frame_values(FRAME)},
            {"pixels": np.zeros((3, 3, 3), np.uint8)},
            "expected grey values",
        ),
        ("decode", {"embedding": ["a"]}, {}, "name of an embedding"),
        ("propose", {"embedding": "a", "forgotten": "abc"}, {}, "list of names"),
        ("load", {"version": 0}, {}, "same version"),
        ("load", HELLO | {"user": "short"}, {}, "secret"),
        ("load", HELLO | {"model": ["tiny"]}, {}, "expected a model among"),
    ],
)
def test_calls_that_make_no_sense_are_refused(machine, kind, values, arrays, said):
    with open_one(machine) as web:
        if kind != "load":
            ask(web, "load", HELLO)
        answer = ask(web, kind, values, arrays, call=2)
        assert answer.kind == "error"
        assert re.search(said, answer.values["text"])


def test_a_call_that_is_too_large_is_not_sent(machine):
    remote = RemoteSegmenter("tiny", machine.address, TOKEN)
    embedding = remote.embed(np.zeros((60, 50), np.uint8))
    with pytest.raises(ValueError, match=r"got one of .*--message-mb"):
        remote.similarity(embedding, np.zeros((100, 1000)))
    assert remote.decode(embedding, Prompts([(20, 20)], [1])).scores.size
    remote.close()


def test_a_call_before_a_model_is_loaded_is_refused(machine):
    with open_one(machine) as web:
        answer = ask(web, "decode", {"embedding": "a"})
        assert "call of 'load' first" in answer.values["text"]


def test_prompts_beyond_all_measure_are_refused(machine):
    with open_one(machine) as web:
        ask(web, "load", HELLO)
        pixels = {"pixels": np.zeros((*FRAME.scaled, 1), np.uint8)}
        about = {"embedding": "a", "frame": frame_values(FRAME)}
        assert ask(web, "encode", about, pixels, 2).kind == "result"
        base = {"embedding": "a", "multimask": "auto", "window": None}
        for prompts, arrays, said in (
            ([{}] * 100, {}, "at most 64 objects"),
            (
                [{}],
                {"points.0": np.zeros((5000, 2)), "labels.0": np.ones(5000, np.int64)},
                "at most 4096 clicks",
            ),
            ([{"frame": [[10**9] * 2] * 5 + ["own"]}], {}, "in a model's input"),
        ):
            answer = ask(web, "decode", base | {"prompts": prompts}, arrays, 3)
            assert said in answer.values["text"]
        answer = ask(web, "decode", base | {"prompts": [{}], "window": 10**9}, {}, 4)
        assert "expected a window" in answer.values["text"]


@pytest.mark.parametrize(
    "place",
    [(0, (10**12, 5)), (1, (-1, 0)), (2, (0, 4)), (3, (4096, 4)), (4, (8, 8)), (2, (1.5, 2))],
)
def test_frames_of_no_model_are_refused(place):
    values = frame_values(FRAME)
    values[place[0]] = place[1]
    with pytest.raises(ValueError, match="expected a frame"):
        checked_frame(values, TRAITS)
    assert checked_frame(frame_values(FRAME), TRAITS) == FRAME


# Fairness


def test_users_take_turns():
    queue, order, gate = FairQueue("test"), [], threading.Event()
    queue.put("first", gate.wait)
    for user, count in (("a", 4), ("b", 2), ("c", 1)):
        for i in range(count):
            queue.put(user, lambda name=f"{user}{i}": order.append(name))
    queue.put("a", lambda: 1 / 0)  # is logged
    done = threading.Event()
    queue.put("a", done.set)
    gate.set()
    assert done.wait(10)
    queue.close()
    assert order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_who_has_most_makes_room_and_nobody_loses_the_latest():
    import torch

    def one():
        return Embedding((torch.zeros(1, 1, 10, 25),), FRAME, "key", "float32")  # 1000 bytes

    users = Users(ServerLimits(memory_bytes=4000))
    much, little = users.enter("m" * 32), users.enter("l" * 32)
    for i in range(3):
        users.keep(much, ("e", str(i)), one())
    for i in range(2):
        users.keep(little, ("e", str(i)), one())
    assert [name for _, name in much.kept] == ["1", "2"]
    assert [name for _, name in little.kept] == ["0", "1"]
    assert users.get(little, ("e", "2")) is None
    assert users.nbytes == 4000


def test_planes_of_who_has_gone_are_dropped_in_time():
    users = Users(ServerLimits(remembered_seconds=0.0))
    user = users.enter("u" * 32)
    users.leave(user)
    assert users.enter("u" * 32) is not user


# As a user does it


@pytest.fixture
def run(monkeypatch):
    def invoke(*arguments):
        return CliRunner().invoke(app, [str(one) for one in arguments])

    return invoke


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "0.0.0.0:0"], "SSH tunnel"),
        (["--listen", "8765"], "expected a host and a port"),
        (["--cert", "a.crt"], "both --cert and --key"),
        (["--cert", "a.crt", "--key", "a.key"], "expected a file"),
        (["--model", "nothing"], "expected the name of a model"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_serve_refuses_what_is_wrong(run, options, said):
    result = run("serve", *options)
    assert result.exit_code == 2
    assert said in result.output


def test_serve_prints_address_models_and_a_new_token(run, monkeypatch):
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    first, second = (run("serve", "--listen", "127.0.0.1:0").output for _ in range(2))
    assert "listening at ws://127.0.0.1:" in first
    assert "models: nano" in first
    tokens = [text.partition("token: ")[2].split()[0] for text in (first, second)]
    assert tokens[0] != tokens[1]


def test_serve_does_not_print_the_token_of_a_file(run, monkeypatch, tmp_path):
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    assert TOKEN not in run("serve", "--listen", "127.0.0.1:0", "--token-file", path).output
    path.chmod(0o644)
    result = run("serve", "--token-file", path)
    assert result.exit_code == 2
    assert "chmod 600" in result.output


def test_a_folder_is_segmented_on_another_machine(run, machine, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SAM_TOKEN", TOKEN)
    image = np.random.default_rng(0).integers(0, 255, (40, 44), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image)
    device = ["--model", "tiny", "--device", machine.address]
    result = run("auto", tmp_path / "a.tif", "--output", tmp_path / "out", *device)
    assert result.exit_code == 0, result.output
    assert "1 done" in result.output


def test_offers_are_named_without_paths(tmp_path):
    assert "nano" in Offers.of().names
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"")
    assert Offers.of(["nano", str(file), "sam2.1_tiny"]).names == ("nano", "own", "sam2.1_tiny")
    with pytest.raises(ValueError, match="two called 'nano'"):
        Offers.of(["nano", "nano"])


def test_a_model_on_another_machine_is_not_taught(machine):
    remote = RemoteSegmenter("tiny", machine.address, TOKEN)
    with pytest.raises(ValueError, match="weights stay where they are"):
        innermost(remote)
    remote.close()
