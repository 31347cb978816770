"""SAM 2.1 behind the protocol: the library's own numbers, and what every segmenter promises."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_models import VIT
from small_models import network as own_network
from small_sam2 import (
    SIDE,
    input_of,
    masks_of,
    remembering,
    small_config,
    small_network,
    small_video,
)
from transformers import Sam2Model

from napari_sam import CachedSegmenter, Prompts, TiledSegmenter, load_segmenter
from napari_sam.model import pretrained
from napari_sam.model.checkpoint import save
from napari_sam.model.weights import CheckpointError
from napari_sam.segmentation import sam2
from napari_sam.segmentation.devices import DeviceWarning
from napari_sam.segmentation.protocol import Cancelled, PixelSegmenter
from napari_sam.segmentation.sam2 import Sam2Segmenter
from napari_sam.segmentation.traits import Traits
from napari_sam.training.tuning import tune

SHAPE = (50, 90)


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def segmenter():
    return Sam2Segmenter(small_network(), "small", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def plane():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embedding(segmenter, plane):
    return segmenter.embed(plane)


@pytest.fixture
def folder(network, tmp_path):
    network.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def disk() -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - 20) ** 2 + (columns - 40) ** 2 < 150


def xy(*points: tuple[float, float]) -> torch.Tensor:
    """Model pixels of (row, column), as the library's processor has them."""
    return torch.tensor([[c * SIDE / SHAPE[1], r * SIDE / SHAPE[0]] for r, c in points])


CLICK = Prompts([(10, 20)], [1])
KINDS = {
    "click": CLICK,
    "clicks": Prompts([(10, 20), (30, 70)], [1, 0]),
    "box": Prompts(box=(5, 10, 40, 60)),
    "box and clicks": Prompts([(20, 30), (8, 12)], [1, 0], box=(5, 10, 40, 60)),
    "mask": Prompts(mask=disk()),
    "mask and click": Prompts([(20, 40)], [1], mask=disk()),
    "mask and box": Prompts(box=(5, 25, 36, 55), mask=disk()),
}


def given(prompts: Prompts) -> dict[str, torch.Tensor]:
    """The same prompts as the library takes them."""
    facts = {}
    if len(prompts.points):
        facts["input_points"] = xy(*prompts.points)[None, None]
        facts["input_labels"] = torch.tensor(prompts.point_labels)[None, None].int()
    if prompts.box is not None:
        r0, c0, r1, c1 = prompts.box
        facts["input_boxes"] = xy((r0, c0), (r1, c1)).reshape(1, 1, 4)
    if prompts.mask is not None:
        x = torch.from_numpy(disk().astype(np.float32))[None, None]
        size = (SIDE // 4,) * 2
        x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        facts["input_masks"] = (2 * torch.nn.functional.adaptive_avg_pool2d(x, size) - 1) * 8
    return facts


def test_it_follows_the_protocol(segmenter):
    assert isinstance(segmenter, PixelSegmenter)
    assert Traits.from_json(segmenter.traits.to_json()) == segmenter.traits


@torch.no_grad()
def test_embedding_is_the_librarys(network, embedding, plane):
    expected = network(
        pixel_values=input_of(plane), input_points=torch.zeros(1, 1, 1, 2)
    ).image_embeddings
    for ours, theirs in zip(embedding.features, reversed(expected), strict=True):
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_answers_are_the_librarys(network, segmenter, embedding, plane, kind, multimask):
    prompts = KINDS[kind]
    found = segmenter.decode(embedding, prompts, multimask)
    expected = network(pixel_values=input_of(plane), multimask_output=multimask, **given(prompts))
    logits, scores = expected.pred_masks[0, 0], expected.iou_scores[0, 0]
    assert logits.std() > 0.1
    assert len(found.scores) == (3 if multimask else 1)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4 * logits.abs().max())
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4)
    assert (found.masks() != masks_of(logits, SHAPE)).mean() < 1e-3


@torch.no_grad()
def test_carried_logits_are_given_as_they_are(network, segmenter, embedding, plane):
    first = segmenter.decode(embedding, CLICK)
    found = segmenter.decode(embedding, CLICK.with_logits(first.logits[1], embedding.frame), False)
    masks = torch.from_numpy(first.logits[1])[None, None]
    expected = network(
        pixel_values=input_of(plane), multimask_output=False, input_masks=masks, **given(CLICK)
    )
    np.testing.assert_allclose(found.logits, expected.pred_masks[0, 0], rtol=1e-4, atol=1e-4)


def test_mask_of_a_part_is_that_part_of_the_whole(segmenter, embedding):
    found = segmenter.decode(embedding, CLICK)
    middle = np.median(found.logits, axis=(1, 2), keepdims=True)
    found = replace(found, logits=found.logits - middle)
    for i, whole in enumerate(found.masks()):
        assert 0 < whole.sum() < whole.size
        assert (found.region_mask(i) == whole).all()


def test_only_a_single_click_has_three_candidates(segmenter, embedding):
    counts = {kind: len(segmenter.decode(embedding, one).scores) for kind, one in KINDS.items()}
    assert counts == dict.fromkeys(KINDS, 1) | {"click": 3}


def test_objects_decoded_together_equal_objects_decoded_alone(segmenter, embedding):
    prompts = [*KINDS.values()] * 2 + [Prompts([(r, 9)], [1]) for r in range(9)]
    for one, found in zip(prompts, segmenter.decode_many(embedding, prompts), strict=True):
        alone = segmenter.decode(embedding, one)
        np.testing.assert_allclose(found.logits, alone.logits, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-4)


def test_no_prompts_and_those_of_another_plane_are_refused(segmenter, embedding):
    with pytest.raises(ValueError, match="got no prompts"):
        segmenter.decode(embedding, Prompts())
    with pytest.raises(ValueError, match="plane"):
        segmenter.decode(embedding, Prompts([(60, 20)], [1]))
    with pytest.raises(ValueError, match="window must be"):
        segmenter.decode_many(embedding, [CLICK], window=-1)


def test_embedding_of_another_model_is_refused(embedding):
    network = small_network()
    with torch.no_grad():
        network.no_memory_embedding += 1
    with pytest.raises(ValueError, match="expected an embedding of this model's encoder"):
        Sam2Segmenter(network, "other", device="cpu").decode(embedding, CLICK)


@pytest.mark.parametrize(
    ("part", "reads_the_same"),
    [
        ("vision_encoder.backbone.pos_embed", False),
        ("mask_decoder.conv_s1.bias", False),
        ("mask_decoder.iou_token.weight", True),
        ("prompt_encoder.point_embed.weight", True),
    ],
)
def test_weights_of_the_encoder_alone_decide_whose_embeddings_are_read(
    segmenter, part, reads_the_same
):
    network = small_network()
    with torch.no_grad():
        network.get_parameter(part).add_(1)
    other = Sam2Segmenter(network, "small", device="cpu")
    assert (other.encoder_key == segmenter.encoder_key) is reads_the_same
    assert other.model_key != segmenter.model_key


def test_preprocessing_belongs_to_the_encoder_and_the_name_to_nothing(segmenter):
    grey = Sam2Segmenter(small_network(), "small", (0.5,) * 3, (0.5,) * 3, device="cpu")
    renamed = Sam2Segmenter(small_network(), "renamed", device="cpu")
    assert grey.encoder_key != segmenter.encoder_key
    assert (renamed.encoder_key, renamed.model_key) == (
        segmenter.encoder_key,
        segmenter.model_key,
    )


def test_progress_rises_to_one_and_may_cancel(segmenter, plane):
    fractions: list[float] = []
    segmenter.embed(plane, progress=fractions.append)
    assert fractions == [0.2, 0.4, 0.6, 0.8, 1.0]

    def cancel(fraction: float) -> None:
        fractions.append(fraction)
        raise Cancelled

    fractions.clear()
    with pytest.raises(Cancelled):
        segmenter.embed(plane, progress=cancel)
    assert fractions == [0.2]


def test_threads_report_to_their_own_callers_alone(segmenter, plane):
    heard: list[list[float]] = [[], [], []]
    found: dict[int, torch.Tensor] = {}

    def embed(i: int) -> None:
        shown = np.roll(plane, i, axis=0)
        report = heard[i].append if i else None
        found[i] = segmenter.embed(shown, progress=report).features[0]

    threads = [threading.Thread(target=partial(embed, i)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in heard] == [0, 5, 5]
    for i, features in found.items():
        torch.testing.assert_close(features, segmenter.embed(np.roll(plane, i, axis=0)).features[0])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(segmenter, embedding, plane, precision):
    half = Sam2Segmenter(small_network(), "small", device="cpu", precision=precision)
    found = half.embed(plane)
    assert found.precision == precision
    assert (half.encoder_key, half.model_key) == (segmenter.encoder_key, segmenter.model_key)
    for narrow, wide in zip(found.features, embedding.features, strict=True):
        assert (narrow.float() - wide).norm() < 0.05 * wide.norm()
    assert half.decode(found, CLICK).logits.dtype == np.float32


def test_kept_embeddings_are_found_again(segmenter, plane, tmp_path, monkeypatch):
    first = CachedSegmenter(segmenter, tmp_path).embed(plane)
    monkeypatch.setattr(Sam2Model, "get_image_embeddings", None)
    again = CachedSegmenter(segmenter, tmp_path).embed(plane)
    assert [f.shape for f in again.features] == [(1, 32, 4, 4), (1, 8, 8, 8), (1, 4, 16, 16)]
    for one, other in zip(first.features, again.features, strict=True):
        assert torch.equal(one, other)


def test_features_distinguish_bright_from_dark(segmenter, plane):
    shown = plane // 4
    shown[:, 45:] += 150
    bright = np.broadcast_to(np.arange(SHAPE[1]) >= 45, SHAPE)
    embedding = segmenter.embed(shown)
    means = segmenter.mean_features(embedding, [bright, ~bright])
    assert means.shape == (2, 32 + 8 + 4)
    (like,) = segmenter.similarity(embedding, means[:1] - means[1:])
    middle = like.shape[1] // 2
    assert like[:, middle + 1 :].min() > like[:, :middle].max()


def test_there_are_no_proposals(segmenter, embedding):
    assert not segmenter.traits.proposes
    assert segmenter.propose(embedding) is None


def test_large_plane_becomes_tiles(segmenter):
    plane = np.random.default_rng(1).integers(0, 256, (60, 100), dtype=np.uint8)
    tiled = TiledSegmenter(segmenter)
    embedding = tiled.embed(plane)
    for centre in ((30, 20), (50, 90)):
        found = tiled.decode(embedding, Prompts([centre], [1]))
        assert found.masks().shape == (3, 60, 100)
        r, c = found.frame.origin
        part = segmenter.embed(plane[found.frame.region], (0, 255))
        alone = segmenter.decode(part, Prompts([(centre[0] - r, centre[1] - c)], [1]))
        np.testing.assert_allclose(found.logits, alone.logits, rtol=0.1, atol=0.5)
    carried = Prompts([(30, 20), (50, 60)], [1, 0])
    carried = carried.with_logits(found.logits[0], found.frame)
    assert tiled.decode(embedding, carried).masks().shape == (1, 60, 100)
    vectors = tiled.mean_features(embedding, [plane > 128])
    assert tiled.similarity(embedding, vectors).shape == (1, 4, 6)


def test_full_gpu_memory_falls_back_to_the_cpu_and_goes_on(plane, embedding, monkeypatch):
    segmenter = Sam2Segmenter(small_network(), "small", device="cpu")
    segmenter._device = torch.device("meta")  # stands for a GPU
    encode = segmenter._encode

    def full(*args):
        if segmenter.device != "cpu":
            raise torch.OutOfMemoryError("full")
        return encode(*args)

    monkeypatch.setattr(segmenter, "_encode", full)
    with pytest.warns(DeviceWarning, match="memory of meta ran out"):
        found = segmenter.embed(plane)
    assert segmenter.device == "cpu"
    assert torch.equal(found.features[0], embedding.features[0])


def test_full_memory_of_the_cpu_is_an_error(plane, monkeypatch):
    segmenter = Sam2Segmenter(small_network(), "small", device="cpu")

    def full(*args):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(segmenter, "_encode", full)
    with pytest.raises(torch.OutOfMemoryError):
        segmenter.embed(plane)


def test_it_can_not_be_taught(segmenter):
    assert not segmenter.traits.learns
    with pytest.raises(ValueError, match="small, which can't be taught"):
        next(tune(TiledSegmenter(segmenter), ()))


# Loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["", "config.json", "model.safetensors"])
def test_folder_and_any_file_in_it_are_the_model(folder, segmenter, plane, embedding, file):
    found = load_segmenter(folder / file, "cpu", "float32", tiles=False, cache=False)
    assert (found.encoder_key, found.model_key) == (segmenter.encoder_key, segmenter.model_key)
    assert torch.equal(found.embed(plane).features[0], embedding.features[0])


def test_folder_of_the_video_model_is_the_model_too(tmp_path):
    video = small_video()
    video.save_pretrained(tmp_path / "video")
    found = load_segmenter(tmp_path / "video", "cpu", "float32", tiles=False, cache=False)
    assert found.encoder_key == remembering(video).encoder_key
    assert found.traits.remembers


def test_colours_are_normalised_as_the_folder_requires(folder, segmenter):
    facts = {"image_processor": {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}}
    (folder / "processor_config.json").write_text(json.dumps(facts))
    found = load_segmenter(folder, "cpu", tiles=False, cache=False)
    assert found.encoder_key != segmenter.encoder_key


def test_missing_tensors_are_reported(network, tmp_path):
    state = network.state_dict()
    del state["mask_decoder.iou_token.weight"]
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(CheckpointError, match=r"1 are missing \(mask_decoder.iou_token.weight\)"):
        load_segmenter(tmp_path, "cpu")


def test_tensors_of_another_shape_are_reported(folder):
    config = json.loads((folder / "config.json").read_text())
    config["mask_decoder_config"]["iou_head_hidden_dim"] = 20
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="no network fits its files"):
        load_segmenter(folder, "cpu")


def test_weights_that_are_no_numbers_are_refused(network, tmp_path):
    state = dict(network.state_dict())
    state["no_memory_embedding"] = torch.full_like(state["no_memory_embedding"], torch.nan)
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(CheckpointError, match="NaN or infinity in no_memory_embedding"):
        load_segmenter(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (("vision_config", "backbone_config"), "blocks_per_stage", [10**9, 1, 1, 1]),
        (("mask_decoder_config",), "num_hidden_layers", 10**9),
        (("mask_decoder_config",), "mlp_dim", 10**9),
    ],
)
def test_network_without_measure_is_refused_before_it_is_built(folder, part, name, value):
    config = json.loads((folder / "config.json").read_text())
    there = config
    for key in part:
        there = there[key]
    there[name] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="a far larger network than its files"):
        load_segmenter(folder, "cpu")


@pytest.mark.parametrize(
    "text", ['{"model_type": "sam2", "vision_config": 7}', '{"model_type": "sam2"}']
)
def test_configuration_of_something_else_is_reported(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=str(folder)):
        load_segmenter(folder, "cpu")


def test_levels_of_another_layout_are_reported():
    config = small_config()
    config.vision_config.backbone_feature_sizes = [[16, 16], [8, 8], [8, 8]]
    with pytest.raises(CheckpointError, match="three levels of features"):
        sam2.traits_of(config, "odd")


def test_weights_that_could_run_code_are_not_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="expected weights as model"):
        load_segmenter(folder, "cpu")


def test_missing_library_is_reported_with_what_installs_it(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r'pip install "napari-sam-live\[sam2\]"'):
        load_segmenter(folder, "cpu")


def test_library_logs_as_much_as_before(folder, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_segmenter(folder, "cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_checkpoint_of_ours_beside_it_is_another_model(folder):
    save(own_network(VIT), folder / "mine.safetensors")
    found = load_segmenter(folder / "mine.safetensors", "cpu", tiles=False, cache=False)
    assert found.traits.learns


def test_model_of_the_library_is_found_by_its_folder(folder, tmp_path):
    assert pretrained.is_pretrained(folder)
    assert not pretrained.is_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert not pretrained.is_pretrained(tmp_path)
