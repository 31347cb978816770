"""Teaching a model a user's objects: what it learns from, and what it leaves alone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from core.fake_segmenter import FakeSegmenter
from labelled import block
from small_models import HYBRID, VIT, segmenter

from napari_sam.examples import Example
from napari_sam.model.architecture import CheckpointError
from napari_sam.model.config import SamConfig
from napari_sam.model.dense_head import DenseOutput
from napari_sam.segmentation.cached import CachedSegmenter
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.training import pupil, rehearsal, tuning, verdict, views
from napari_sam.training.dense_loss import DenseTargets, Known, dense_loss
from napari_sam.training.examples import all_objects, held_back
from napari_sam.training.pupil import Pupil, Rehearsal
from napari_sam.training.tuned_heads import head_view
from napari_sam.training.tuning import TuneSettings, TuneStep, tune
from napari_sam.training.verdict import DECODER, HEADS
from napari_sam.training.views import ViewMaker, pick

SQUARES = [(1, np.s_[6:16, 6:18]), (2, np.s_[8:20, 40:52]), (3, np.s_[40:54, 10:20])]
SQUARES += [(4, np.s_[40:50, 40:54]), (5, np.s_[25:35, 25:35])]


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearse two kinds alone, small ones, and look at few views."""
    for name in ("_OF_EACH", "_FEWEST"):
        monkeypatch.setattr(views, name, 2)
    monkeypatch.setattr(pupil, "_FEWEST_HEAD_VIEWS", 2)
    monkeypatch.setattr(rehearsal, "KINDS", ("nuclei", "yeast"))
    monkeypatch.setattr(rehearsal, "_SIDE", 64)
    monkeypatch.setattr(rehearsal, "_OF_EACH_KIND", 1)


@pytest.fixture
def example() -> Example:
    """Five bright squares on a dark plane."""
    labels = block((60, 60), *SQUARES)
    noise = np.random.default_rng(0).normal(20, 3, labels.shape)
    return Example((noise + 100 * (labels > 0)).astype(np.uint8), labels)


@pytest.fixture(scope="module")
def hybrid() -> SamSegmenter:
    return segmenter(HYBRID)


def _run(network: SamSegmenter, example: Example, **settings: object) -> list[TuneStep]:
    return list(tune(network, [example], TuneSettings(steps=2, **settings)))  # type: ignore[arg-type]


@pytest.fixture
def always_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights get no better in two steps."""
    monkeypatch.setattr("napari_sam.training.verdict.LEAST_CHANGE", -1.0)


def test_objects_are_held_back_from_every_plane() -> None:
    labels = block((60, 60), *SQUARES)
    planes = [Example(np.zeros((60, 60), np.uint8), labels) for _ in range(3)]
    chosen = held_back(planes)
    assert len(chosen) == 3
    assert {number for number, _ in chosen} == {0, 1, 2}
    assert len(held_back(planes[:1])) == 2


def test_two_objects_are_too_few() -> None:
    labels = block((60, 60), *SQUARES[:2])
    with pytest.raises(ValueError, match="at least 3 finished objects, got 2"):
        held_back([Example(np.zeros((60, 60), np.uint8), labels)])


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels of b\.tif of the image's shape"):
        Example(np.zeros((6, 6), np.uint8), np.ones((5, 6), np.int64), name="b.tif")


@pytest.mark.parametrize("config", [HYBRID, VIT], ids=["own", "sam"])
@pytest.mark.usefixtures("always_offered")
def test_taught_model_differs_in_what_was_taught_alone(config: SamConfig, example: Example) -> None:
    network = segmenter(config)
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    last = _run(network, example)[-1]
    assert last.fraction == 1
    assert last.model is not None
    parts = {name.split(".")[0] for name in last.model.tensors}
    assert parts <= set(last.model.lesson.parts)
    assert "mask_decoder" in parts
    assert "image_encoder" not in parts
    for name, value in network.network.state_dict().items():
        assert torch.equal(value, before[name])
    taught = SamSegmenter(last.model.applied_to(network.network), "cpu", "float32")
    assert taught.encoder_key == network.encoder_key
    assert taught.model_key != network.model_key
    assert last.model.lesson.objects == 5
    assert last.model.lesson.steps == 2


@pytest.mark.usefixtures("always_offered")
def test_thorough_teaches_the_encoder(hybrid: SamSegmenter, example: Example) -> None:
    last = _run(hybrid, example, thorough=True)[-1]
    assert last.model is not None
    assert any(name.startswith("image_encoder.") for name in last.model.tensors)
    taught = SamSegmenter(last.model.applied_to(hybrid.network), "cpu", "float32")
    assert taught.encoder_key != hybrid.encoder_key


@pytest.mark.usefixtures("always_offered")
def test_same_seed_and_steps_give_the_same_weights(hybrid: SamSegmenter, example: Example) -> None:
    first, again, other = (_run(hybrid, example, seed=seed)[-1].model for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert all(torch.equal(value, again.tensors[name]) for name, value in first.tensors.items())
    assert any(not torch.equal(v, other.tensors[name]) for name, v in first.tensors.items())


def test_heads_learn_the_same_by_themselves(hybrid: SamSegmenter, example: Example) -> None:
    chosen = all_objects([example])
    pupils = []
    for parts in (DECODER + HEADS, HEADS):
        one = Pupil(hybrid, [example], chosen, parts, Rehearsal(hybrid), 0)
        list(one.embed_views())
        for _ in range(5):
            one.learn()
        pupils.append(one.average)
    both, alone = (one.state_dict() for one in pupils)
    parent = hybrid.network.state_dict()
    for name, value in alone.items():
        is_head = name.split(".")[0] in HEADS
        assert torch.equal(value, (both if is_head else parent)[name])
    assert any(not torch.equal(value, parent[name]) for name, value in alone.items())


def test_heads_are_offered_where_they_alone_are_better(
    hybrid: SamSegmenter, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "LEAST_CHANGE", 1.0)
    monkeypatch.setattr(verdict, "LEAST_FOUND", -1.0)
    last = _run(hybrid, example)[-1]
    assert last.offered
    assert last.model is not None
    assert set(last.model.lesson.parts) == set(HEADS)
    assert {name.split(".")[0] for name in last.model.tensors} <= set(HEADS)
    assert last.scores["click"].change == 0


def test_time_spent_waiting_is_not_time_spent_computing() -> None:
    watches = [tuning._Watch(device) for device in ("cpu", "cuda")]
    time.sleep(0.2)
    cpu, gpu = (watch.spent for watch in watches)
    assert 0.1 <= cpu < gpu
    assert gpu >= 0.2


def test_what_is_no_better_is_not_offered(
    hybrid: SamSegmenter, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.training.verdict.LEAST_CHANGE", 1.0)
    steps = _run(hybrid, example)
    assert steps[-1].offered is False
    assert steps[-1].model is None
    assert steps[-1].scores["click"].count == 2
    assert {step.phase for step in steps} == {"score", "learn"}


@pytest.mark.usefixtures("always_offered")
def test_taught_model_fits_no_other_parent(hybrid: SamSegmenter, example: Example) -> None:
    model = _run(hybrid, example)[-1].model
    assert model is not None
    with pytest.raises(CheckpointError, match="which was taught"):
        model.applied_to(segmenter(HYBRID, seed=4).network)


def test_views_show_whole_objects_and_hide_what_is_held_back(
    hybrid: SamSegmenter, example: Example
) -> None:
    chosen = [one for one in all_objects([example]) if one[1] != 5]
    for view in ViewMaker(hybrid, [example], chosen, 0).as_clicked():
        assert 5 not in view.labels
        for label in view.objects:
            size = np.count_nonzero(example.labels == label)
            assert np.count_nonzero(view.labels == label) >= 0.95 * size


def test_windows_show_the_object_that_was_picked(hybrid: SamSegmenter, example: Example) -> None:
    maker = ViewMaker(hybrid, [example], all_objects([example]), 0)
    rng = np.random.default_rng(0)
    for view in maker.as_clicked():
        picked = pick([(view, view.objects[0])], HYBRID, rng, 32)
        share = view.frame.reduce(
            view.labels == view.objects[0], view.frame.low_res(HYBRID.mask_stride)
        )
        assert picked.target.sum().item() == pytest.approx(share.sum(), rel=0.05)
        assert picked.features[0].shape[2] * 4 == picked.target.shape[2]


def test_unlabelled_pixels_teach_the_heads_nothing(hybrid: SamSegmenter, example: Example) -> None:
    (view,) = list(ViewMaker(hybrid, [example], [(0, 5)], 0).as_found(1, 10.0))
    seen = head_view(view, hybrid.network)
    assert hybrid.network.dense_head is not None
    said = hybrid.network.dense_head(view.features)
    parts = [part.detach().clone().requires_grad_() for part in said]
    loss = dense_loss(type(said)(*parts), seen.target, seen.cells)
    gradients = torch.autograd.grad(loss, parts)
    assert not (~seen.cells.sides).logical_and(gradients[2] != 0).any()
    assert not (~seen.cells.maps[:, None]).logical_and(gradients[0] != 0).any()
    assert gradients[2].abs().sum() > 0


def test_known_everywhere_changes_nothing() -> None:
    labels = block((64, 64), *SQUARES)[None]
    target, known = DenseTargets.of(labels), Known.of(np.ones(labels.shape, bool))
    made = torch.Generator().manual_seed(0)
    said = DenseOutput(
        torch.randn(1, 2, 32, 32, generator=made),
        torch.rand(1, 4, 16, 16, generator=made) * 20,
        torch.randn(1, 16, 16, generator=made),
    )
    plain, everywhere = dense_loss(said, target), dense_loss(said, target, known)
    assert everywhere.item() == pytest.approx(plain.item(), rel=1e-6)


def test_network_within_cache_and_tiles_is_found(hybrid: SamSegmenter, tmp_path: Path) -> None:
    assert tuning.innermost(CachedSegmenter(TiledSegmenter(hybrid), tmp_path)) is hybrid


def test_network_elsewhere_is_refused(example: Example) -> None:
    with pytest.raises(ValueError, match="weights are in this process"):
        tune(FakeSegmenter(), [example])


def test_optimizer_is_adam() -> None:
    own, other = (torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    mean = own.detach().clone()
    optimizer = pupil.Optimizer([own], [mean], 0.01)
    reference = torch.optim.Adam([other], betas=(0.9, 0.98))
    for step in range(4):
        reference.param_groups[0]["lr"] = 0.01 * (step + 1) / 10
        for weight in (own, other):
            weight.grad = 0.1 * weight.detach() ** 2 + 0.01 * step  # too small to be clipped
        optimizer.learn(step)
        reference.step()
    assert torch.allclose(own, other, rtol=0, atol=1e-6)
    assert own.grad is None
    assert 0 < (mean - own).abs().max() < 0.01


def test_long_gradients_are_clipped() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([300.0, 400.0])
    optimizer = pupil.Optimizer([weight], [torch.zeros(2)], 0.01)
    optimizer.learn(0)
    assert torch.allclose(optimizer._mean[0], torch.tensor([0.06, 0.08]), atol=1e-5)


def test_real_crops_are_labelled() -> None:
    crops = rehearsal.real_crops()
    assert len(crops) > 8
    for image, labels in crops:
        assert image.dtype == np.uint8
        assert image.shape == (*labels.shape, 3)
        assert len(np.unique(labels)) > 2


def test_damaged_rehearsal_file_is_made_anew(tmp_path: Path) -> None:
    first = rehearsal.drawn_crops(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    again = rehearsal.drawn_crops(tmp_path)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert path.stat().st_size > 100
