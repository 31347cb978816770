"""A journal made again gives the same labels, and with another model others."""

from __future__ import annotations

from functools import partial

import numpy as np
from core.fake_segmenter import FakeSegmenter
from core.journal_player import SHAPE, UNSHRUNK, Player
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sam.session import ArrayCanvas
from napari_sam.session.answers import answer, given_answer
from napari_sam.session.following_again import Follower
from napari_sam.session.replaying import replay_entries
from napari_sam.session.state import State

ACTION = st.tuples(st.integers(0, 50), st.integers(0, 999), st.integers(0, 9999))


def replayed(player: Player, models: dict[str, FakeSegmenter]) -> np.ndarray:
    labels = player.start.copy()
    state = State(ArrayCanvas(labels))

    def decode(key, group, entry, history):
        if (given := given_answer(group)) is not None:
            return given, None
        (change,) = entry.answers
        model = models[change.after.model]
        given, history = answer(
            model, model.embed(np.zeros(SHAPE)), group.steps, group.choice, history
        )
        return given, history

    find = partial(AssertionError, "nothing was found")
    source = player.session.source
    followers = {key: Follower(model, lambda given: source) for key, model in models.items()}
    latest = []

    def follow(state, entry):
        if "begin" not in entry.details:
            latest.append(entry.details["model"])
        followers[latest[-1]].follow(state, entry)

    replay_entries(player.session.journal.entries, state, source, decode, find, follow)
    return labels


@settings(max_examples=20, suppress_health_check=list(HealthCheck), phases=UNSHRUNK)
@given(st.lists(ACTION, min_size=30, max_size=30))
def test_journal_made_again_gives_the_same_labels(actions):
    player = Player()
    for action in actions:
        player.act(*action)
    models = {model.model_key: model for model in player.models}
    np.testing.assert_array_equal(replayed(player, models), player.labels)


def test_another_model_answers_the_same_prompts():
    player = Player()
    player.session.add_point(0, (10, 10))
    player.session.add_point(0, (10, 20), object_id=2)
    other = FakeSegmenter(2.0)
    labels = replayed(player, {model.model_key: other for model in player.models})
    assert np.unique(labels[0], return_counts=True)[1].tolist()[1:] == [13, 13]
