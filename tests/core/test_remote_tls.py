"""A model on another machine is reached by TLS, with certificates that are as they should be."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from fastapi import FastAPI
from serving import TOKEN, serving
from small_models import HYBRID, segmenter

from napari_sam.prompts import Prompts
from napari_sam.segmentation.connection import ConnectionLost
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.serving.listening import check_certificate, make_server

pytest.importorskip("cryptography", reason="makes the certificates; comes with the extra 'cluster'")

from certificates import Authority

CLICK = Prompts([(20, 20)], [1])
PLANE = np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8)


@pytest.fixture(scope="module")
def here():
    return segmenter(HYBRID)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusting(authority, monkeypatch):
    """The lab's authority is trusted as docs/remote.md says."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


def connect(address):
    return closing(RemoteSegmenter("tiny", address, TOKEN, rounded=False))


def test_a_machine_of_a_trusted_authority_answers_encrypted(here, authority, trusting):
    with serving({"tiny": here}, certificate=authority.sign("127.0.0.1")) as machine:
        assert machine.address.startswith("wss://")
        with connect(machine.address) as there:
            found = there.decode(there.embed(PLANE), CLICK)
    expected = here.decode(here.embed(PLANE), CLICK)
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_its_own_certificate_is_trusted_where_it_is_named(here, authority, monkeypatch):
    certificate = authority.sign("localhost")
    whole = certificate[0].with_name("chain.pem")
    whole.write_bytes(certificate[0].read_bytes() + authority.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(whole))
    with (
        serving({"tiny": here}, certificate=certificate) as machine,
        connect(f"wss://localhost:{machine.port}") as there,
    ):
        assert there.encoder_key == here.encoder_key


def refusal(address):
    with pytest.raises(ConnectionLost) as raised:
        RemoteSegmenter("tiny", address, TOKEN)
    assert TOKEN not in str(raised.value)
    return str(raised.value)


def test_an_authority_that_nobody_trusts_is_named_as_the_reason(here, authority):
    with serving({"tiny": here}, certificate=authority.sign("127.0.0.1")) as machine:
        message = refusal(machine.address)
    assert "isn't trusted here" in message
    assert "SSL_CERT_FILE" in message


def test_a_certificate_that_has_expired_is_reported(here, authority, trusting):
    with serving({"tiny": here}, certificate=authority.sign("127.0.0.1", -1)) as machine:
        assert "has expired" in refusal(machine.address)


def test_a_certificate_of_another_machine_is_reported(here, authority, trusting):
    with serving({"tiny": here}, certificate=authority.sign("gpu.example.org")) as machine:
        for host in ("127.0.0.1", "localhost"):
            assert "is of another machine" in refusal(f"wss://{host}:{machine.port}")


def test_the_wrong_scheme_is_reported(here, authority, trusting):
    with serving({"tiny": here}) as machine:
        message = refusal(machine.address.replace("ws://", "wss://"))
        assert "its address begins with ws://" in message
    with serving({"tiny": here}, certificate=authority.sign("127.0.0.1")) as machine:
        message = refusal(machine.address.replace("wss://", "ws://"))
        assert "its address begins with wss://" in message


def test_the_command_serves_with_a_certificate(authority, trusting, tmp_path):
    certificate, key = authority.sign("127.0.0.1")
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    options = ["--listen", "127.0.0.1:0", "--model", "nano", "--device", "cpu"]
    options += ["--cert", str(certificate), "--key", str(key), "--token-file", str(token)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from napari_sam.cli import app; app()", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = process.stdout.readline().removeprefix("listening at ").strip()
        assert address.startswith("wss://127.0.0.1:")
        with closing(remote_when_up("nano", address)) as there:
            assert there.decode(there.embed(PLANE), CLICK).masks().any()
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def remote_when_up(model, address):
    """Connect to a server that prints its address a moment before it accepts."""
    for _ in range(200):
        try:
            return RemoteSegmenter(model, address, TOKEN)
        except ConnectionLost:
            time.sleep(0.05)
    raise AssertionError(f"nobody answers at {address}")


def test_a_key_of_another_certificate_is_refused_before_anything_listens(authority, tmp_path):
    certificate, _ = authority.sign("127.0.0.1")
    _, key = authority.sign("other.example.org")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    for pair in ((certificate, key), (nothing, key)):
        with pytest.raises(ValueError, match="a certificate and its private key"):
            check_certificate(*pair)


def test_a_server_sends_no_tickets_that_a_client_would_read_while_it_writes(authority):
    server = make_server(FastAPI(), 1 << 20, *authority.sign("127.0.0.1"))
    assert server.config.ssl.num_tickets == 0
