"""Other machines in the dock: asked for in it, remembered without a token, missed out loud."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from serving import TOKEN, serving
from small_models import HYBRID, segmenter

from napari_sam import load_segmenter
from napari_sam.engine import SynchronousExecutor
from napari_sam.gui.machines import Machines
from napari_sam.gui.status import link_status
from napari_sam.segmentation import tokens
from napari_sam.segmentation.address import Address, is_address


@pytest.fixture(scope="module")
def tiny():
    return segmenter(HYBRID)


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch):
    monkeypatch.setattr(tokens, "_given", {})
    for name in (tokens.TOKEN, tokens.TOKEN_FILE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def machines(qapp):
    used, errors = [], []
    made = Machines(SynchronousExecutor(), lambda address, models: used.append((address, models)))
    made.refused.connect(errors.append)
    made.used, made.errors = used, errors
    yield made
    made.close()


def test_an_address_is_remembered_and_its_token_is_not(machines, private_home, tiny):
    with serving({"tiny": tiny}) as machine:
        machines.connect(machine.address, TOKEN)
        assert machines.used == [(machine.address, ("tiny",))]
        assert machines.offered(machine.address) == ("tiny",)
        assert machines.has_token(machine.address)
    for path in private_home.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
    assert json.loads((private_home / "machines.json").read_text()) == [machine.address]
    later = Machines(SynchronousExecutor(), print)
    assert later.addresses == (machine.address,)
    later.close()


def test_a_machine_that_refuses_or_is_not_there_is_reported_and_not_remembered(machines, tiny):
    with serving({"tiny": tiny}) as machine:
        machines.connect(machine.address, TOKEN + "x")
    machines.connect(machine.address, TOKEN)
    machines.connect("ws://127.0.0.1:1")  # without any token
    text = " ".join(map(str, machines.errors))
    assert all(one in text for one in ("doesn't know the token", "can't be reached", "got none"))
    assert TOKEN not in text
    assert machines.addresses == () == tuple(machines.used)
    for address, token in (("gpu", ""), ("ws://gpu:1", "short")):
        with pytest.raises(ValueError, match="expected a"):
            machines.connect(address, token)


def test_a_machine_that_is_used_without_being_asked_lists_its_models(machines, monkeypatch, tiny):
    with serving({"tiny": tiny, "other": tiny}) as machine:
        monkeypatch.setenv(tokens.TOKEN, TOKEN)  # as where the preferences name the device
        there = load_segmenter("tiny", machine.address)
        machines.follow(there)
        assert sorted(machines.offered(machine.address)) == ["other", "tiny"]
        assert not machines.used
    assert not machines.errors


def test_a_damaged_list_of_addresses_is_left_out(qapp, private_home):
    for content in ("{", "[1]", '["nonsense"]', "{}"):
        (private_home / "machines.json").write_text(content)
        made = Machines(SynchronousExecutor(), print)
        assert made.addresses == ()
        made.close()


@pytest.mark.parametrize(
    ("state", "light", "text"),
    [
        ("lost", "busy", "Connection to ws://gpu:1 lost: clicks wait, connecting again"),
        ("refused", "failed", "doesn't know"),
    ],
)
def test_the_status_line_shows_a_connection_that_is_not_there(state, light, text):
    connection = SimpleNamespace(
        address=Address.of("ws://gpu:1"), state=state, error=PermissionError("doesn't know it\nx")
    )
    status = link_status(SimpleNamespace(asked=None, connection=connection))
    assert status.light == light
    assert text in status.text
    connection.state = "connected"
    assert link_status(SimpleNamespace(asked=None, connection=connection)) is None


def test_clicks_go_to_another_machine_and_wait_for_it(user, qtbot, tiny):
    me = user(np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8))
    here = me.segmenter

    def load(model, device, progress):
        return load_segmenter(model, device, patience=None) if is_address(device) else here

    me.controller._load = load
    choice, status = me.dock.choice, me.dock.status.text

    def choose(text):
        row = choice.device.findText(text)
        choice.device.setCurrentIndex(row)
        choice.device.activated.emit(row)

    choose("another machine…")
    assert choice.form.isVisible()
    with serving({"tiny": tiny}) as machine:
        choice.form.address.setText(machine.address)
        choice.form.token.setText(TOKEN)
        choice.form.use.click()
        qtbot.waitUntil(lambda: status.text().endswith(f"cpu at {machine.address}"))
        assert not choice.form.isVisible()
        assert not choice.form.token.text()
        assert me.controller.model == "tiny"
        me.click((30, 30))
    qtbot.waitUntil(lambda: "lost: clicks wait" in status.text())
    before = np.array(me.labels)
    me.click((10, 10), settle=False, modifier=Qt.KeyboardModifier.ShiftModifier)
    assert not me.controller.engine.wait(0.05)
    assert len(me.annotation.points.data) == 2
    with serving({"tiny": tiny}, port=machine.port):
        me.settle()
        assert not np.array_equal(me.labels, before)
        qtbot.waitUntil(lambda: status.text().startswith("Ready"))
    qtbot.waitUntil(lambda: "lost" in status.text())
    me.click((50, 40), settle=False, modifier=Qt.KeyboardModifier.ShiftModifier)
    choose("cpu")  # nothing waits for what is away
    qtbot.waitUntil(lambda: me.controller.segmenter is here)
    me.settle()
    assert me.labels[50, 40]
    qtbot.waitUntil(lambda: "lost" not in status.text())
