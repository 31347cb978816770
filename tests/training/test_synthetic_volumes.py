"""The procedural stacks: exact labels, reproducible, and as hard as they are meant to be."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label as connected_components

from napari_sam.training.synthetic.solids import noise
from napari_sam.training.synthetic.volumes import VOLUME_KINDS, Volume, generate_volume

_SHAPE = (16, 64, 64)


def _draw(kind: str, seed: int = 3) -> Volume:
    return generate_volume(np.random.default_rng(seed), _SHAPE, kind)


@pytest.mark.parametrize("kind", VOLUME_KINDS)
def test_same_seed_draws_the_same_stack(kind: str) -> None:
    first, again, other = _draw(kind), _draw(kind), _draw(kind, seed=4)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.step == again.step
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", VOLUME_KINDS)
def test_stack_has_the_promised_form(kind: str) -> None:
    volume = _draw(kind)
    assert volume.kind == kind
    assert volume.image.shape == volume.labels.shape == _SHAPE
    assert (volume.image.dtype, volume.labels.dtype) == (np.uint8, np.int32)
    assert volume.step >= 1
    assert volume.image.std() > 2


@pytest.mark.parametrize("kind", VOLUME_KINDS)
def test_every_object_of_a_stack_is_one_piece(kind: str) -> None:
    labels = _draw(kind).labels
    sizes = np.bincount(labels.ravel())[1:]
    assert len(sizes) >= 2
    assert np.all(sizes >= 60)
    assert connected_components(labels, connectivity=1, background=0).max() == len(sizes)


@pytest.mark.parametrize("kind", ["nuclei", "stacked_nuclei", "cells", "walls", "tubes"])
def test_objects_begin_and_end_within_the_stack(kind: str) -> None:
    volume = generate_volume(np.random.default_rng(3), (32, 64, 64), kind)
    on = [(volume.labels == i).any((1, 2)) for i in range(1, volume.labels.max() + 1)]
    assert any(not one[0] and not one[-1] for one in on)


def test_stacked_nuclei_lie_above_each_other() -> None:
    labels = _draw("stacked_nuclei", seed=5).labels
    columns = labels.reshape(len(labels), -1).T
    assert max(len(set(c[c > 0].tolist())) for c in columns) >= 2


def test_a_forked_tube_is_one_object_in_several_pieces_of_a_plane() -> None:
    pieces = 0
    for seed in range(3):
        for plane in _draw("tubes", seed).labels:
            for i in np.unique(plane[plane > 0]).tolist():
                pieces = max(pieces, connected_components(plane == i, connectivity=2).max())
    assert pieces >= 2


def test_noise_is_as_smooth_as_asked_along_each_axis() -> None:
    field = noise(np.random.default_rng(0), (32, 48, 48), (1, 4, 4))
    assert abs(field.std() - 1) < 0.01
    along, within = (np.abs(np.diff(field, axis=axis)).mean() for axis in (0, 1))
    assert along > 2 * within


def test_what_cannot_be_drawn_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="expected kind to be one of nuclei"):
        generate_volume(rng, kind="no such")
    with pytest.raises(ValueError, match="expected a shape"):
        generate_volume(rng, (2, 64, 64))
    with pytest.raises(ValueError, match="expected a shape"):
        generate_volume(rng, (16, 64, 48))
