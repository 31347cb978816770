"""SAM 3 behind the protocol: the library's own numbers, for clicks and for texts."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from component_segmenter import ComponentSegmenter
from serving import TOKEN, serving
from small_sam2 import masks_of
from small_sam3 import SIDE, WORDS, roi_align, small_network, write_tokenizer
from torch.nn import functional as F
from transformers import CLIPTokenizer, Sam3TrackerConfig, Sam3TrackerModel
from transformers.models.sam3 import modeling_sam3

from napari_sam import CachedSegmenter, Prompts, TiledSegmenter, load_segmenter
from napari_sam.model import pretrained
from napari_sam.model.weights import CheckpointError
from napari_sam.segmentation.concepts import Concept
from napari_sam.segmentation.own_process import ProcessSegmenter
from napari_sam.segmentation.protocol import Cancelled, ConceptSegmenter, PixelSegmenter
from napari_sam.segmentation.remote import RemoteSegmenter
from napari_sam.segmentation.sam3 import TextReader
from napari_sam.segmentation.traits import Traits

SHAPE = (50, 90)
CLICK = Prompts([(10, 20)], [1])
BOXES = ((5.0, 10.0, 25.0, 40.0), (20.0, 50.0, 45.0, 80.0))


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    where = tmp_path_factory.mktemp("sam3") / "mine"
    network.save_pretrained(where)
    write_tokenizer(where)
    return where


@pytest.fixture
def copied(folder, tmp_path):
    """A folder to damage."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def segmenter(folder):
    return load_segmenter(folder, "cpu", "float32", tiles=False, cache=False)


@pytest.fixture(scope="module")
def plane():
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embedding(segmenter, plane):
    return segmenter.embed(plane)


@pytest.fixture
def torchvision(monkeypatch):
    standing_in = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))
    monkeypatch.setattr(modeling_sam3, "torchvision", standing_in, raising=False)


def input_of(pixels: np.ndarray) -> torch.Tensor:
    """What the library's processor makes of a plane with torchvision."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)  # in uint8
    return (x.float() / 255 - 0.5) / 0.5


def detected(network, folder, plane, text, **more):
    """What the library's own model and tokenizer find, as its processor gives it to them."""
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    facts = tokenizer(text, return_tensors="pt", padding="max_length", max_length=32)
    with torch.no_grad():
        out = network.detector_model(pixel_values=input_of(plane), **facts, **more)
    scores = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
    order = torch.argsort(-scores, stable=True)
    r0, c0, r1, c1 = (out.pred_boxes[0, order][:, i] for i in (1, 0, 3, 2))
    boxes = torch.stack([r0 * SHAPE[0], c0 * SHAPE[1], r1 * SHAPE[0], c1 * SHAPE[1]], 1)
    return scores[order], boxes, masks_of(out.pred_masks[0, order], SHAPE)


def assert_same(found, expected, least=0.0):
    scores, boxes, masks = expected
    shown = (scores > least) & torch.from_numpy(masks.any((1, 2)))
    assert len(found) == shown.sum() > 1
    np.testing.assert_allclose([one.score for one in found], scores[shown], rtol=1e-4)
    np.testing.assert_allclose([one.box for one in found], boxes[shown], rtol=1e-4, atol=1e-3)
    whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    for one, mask in zip(found, masks[shown], strict=True):
        assert (one.patch.within(whole) != mask).mean() < 1e-3
        assert one.seen == (0, 0, *SHAPE)


# Clicks --------------------------------------------------------------------------------------


def test_it_follows_the_protocol(segmenter):
    assert isinstance(segmenter, PixelSegmenter)
    assert isinstance(segmenter, ConceptSegmenter)
    assert segmenter.traits.mask_stride == 3.5
    assert Traits.from_json(segmenter.traits.to_json()) == segmenter.traits


@torch.no_grad()
def test_embedding_is_that_of_the_librarys_tracker_and_of_its_model_of_videos(
    network, embedding, plane
):
    seen = network.detector_model.get_vision_features(input_of(plane))
    levels, _ = network.get_vision_features_for_tracker(seen)
    levels[2] = levels[2] + network.tracker_model.no_memory_embedding
    for ours, theirs in zip(embedding.features, levels[::-1], strict=False):
        theirs = theirs.permute(1, 2, 0).reshape(ours.shape)
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    state = embedding.features[3].flatten(2).transpose(1, 2)
    torch.testing.assert_close(state, seen.last_hidden_state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multimask", [True, False])
@torch.no_grad()
def test_clicks_boxes_and_masks_are_answered_as_by_the_library(
    network, segmenter, embedding, plane, multimask
):
    facts = network.config.tracker_config
    vision = facts.vision_config.to_dict() | {"scale_factors": [4.0, 2.0, 1.0]}
    tracker = Sam3TrackerModel(
        Sam3TrackerConfig(
            vision_config=vision,
            prompt_encoder_config=facts.prompt_encoder_config.to_dict(),
            mask_decoder_config=facts.mask_decoder_config.to_dict(),
        )
    ).eval()
    parts = {f"vision_encoder.neck.{n}": v for n, v in network.tracker_neck.state_dict().items()}
    encoder = network.detector_model.vision_encoder.backbone.state_dict()
    parts |= {f"vision_encoder.backbone.{n}": v for n, v in encoder.items()}
    parts |= network.tracker_model.state_dict()
    tracker.load_state_dict({name: parts[name] for name in tracker.state_dict()})
    scale = torch.tensor([SIDE / SHAPE[1], SIDE / SHAPE[0]])
    first = segmenter.decode(embedding, CLICK)
    given = {
        "points": (
            Prompts([(10, 20), (30, 70)], [1, 0]),
            {
                "input_points": (torch.tensor([[20.0, 10.0], [70.0, 30.0]]) * scale)[None, None],
                "input_labels": torch.tensor([[[1, 0]]]),
            },
        ),
        "box": (
            Prompts(box=(5, 10, 40, 60)),
            {
                "input_boxes": torch.tensor([10.0, 5.0, 60.0, 40.0]).reshape(1, 1, 4)
                * scale.repeat(2)
            },
        ),
        "carried": (
            CLICK.with_logits(first.logits[1], embedding.frame),
            {
                "input_points": (torch.tensor([[20.0, 10.0]]) * scale)[None, None],
                "input_labels": torch.tensor([[[1]]]),
                "input_masks": torch.from_numpy(first.logits[1])[None, None],
            },
        ),
    }
    for prompts, inputs in given.values():
        found = segmenter.decode(embedding, prompts, multimask)
        out = tracker(pixel_values=input_of(plane), multimask_output=multimask, **inputs)
        logits = out.pred_masks[0, 0]
        assert logits.shape[1:] == (16, 16)
        np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4 * logits.abs().max())
        np.testing.assert_allclose(found.scores, out.iou_scores[0, 0], rtol=1e-4)
        assert (found.masks() != masks_of(logits, SHAPE)).mean() < 1e-3


def test_plane_is_encoded_once_for_clicks_and_texts(segmenter, plane, tmp_path, monkeypatch):
    cached = CachedSegmenter(segmenter, tmp_path)
    embedding = cached.embed(plane)
    backbone = segmenter._network.vision_encoder.backbone
    assert segmenter._detector.vision_encoder.backbone is backbone
    monkeypatch.setattr(backbone, "forward", None)
    again = CachedSegmenter(segmenter, tmp_path).embed(plane)
    for one, other in zip(embedding.features, again.features, strict=True):
        assert torch.equal(one, other)
    assert len(cached.decode(again, CLICK).scores) == 3
    assert cached.find_concept(again, Concept("nuclei"), 0.0)


def test_given_mask_and_features_fit_a_grid_of_no_whole_stride(segmenter, embedding):
    mask = np.zeros(SHAPE, bool)
    mask[10:30, 30:60] = True
    assert segmenter.decode(embedding, Prompts(mask=mask)).logits.shape == (1, 16, 16)
    means = segmenter.mean_features(embedding, [mask])
    assert means.shape == (1, 32 + 8 + 4 + 32)
    assert segmenter.similarity(embedding, means).shape == (1, 2, 4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(folder, embedding, plane, precision):
    half = load_segmenter(folder, "cpu", precision, tiles=False, cache=False)
    found = half.embed(plane)
    assert (half.encoder_key, found.precision) == (embedding.encoder_key, precision)
    for narrow, wide in zip(found.features, embedding.features, strict=True):
        assert (narrow.float() - wide).norm() < 0.05 * wide.norm()
    assert half.decode(found, CLICK).logits.dtype == np.float32
    assert half.find_concept(found, Concept("nuclei"), 0.0)


# Texts and examples --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["nuclei", "bright cell"])
def test_objects_of_a_text_are_the_librarys(network, folder, segmenter, embedding, plane, text):
    found = segmenter.find_concept(embedding, Concept(text), 0.0)
    assert_same(found, detected(network, folder, plane, text))
    least = float(np.median([one.score for one in found]))
    fewer = segmenter.find_concept(embedding, Concept(f" {text} "), least)
    assert [one.score for one in fewer] == [one.score for one in found if one.score > least]


@pytest.mark.parametrize("text", ["", "nuclei"])
def test_objects_of_examples_are_the_librarys(
    network, folder, segmenter, embedding, plane, text, torchvision
):
    given = torch.tensor([BOXES]) / torch.tensor([SHAPE * 2])  # (1, N, r0 c0 r1 c1)
    r0, c0, r1, c1 = given.unbind(-1)
    boxes = torch.stack([(c0 + c1) / 2, (r0 + r1) / 2, c1 - c0, r1 - r0], -1)
    facts = {"input_boxes": boxes, "input_boxes_labels": torch.tensor([[1, 0]])}
    found = segmenter.find_concept(embedding, Concept(text, BOXES[:1], BOXES[1:]), 0.0)
    assert_same(found, detected(network, folder, plane, text or "visual", **facts))
    both = segmenter.find_concept(embedding, Concept(text, BOXES), 0.0)
    assert [one.score for one in both] != [one.score for one in found]


def test_examples_without_torchvision_name_what_to_install(segmenter, embedding):
    assert not hasattr(modeling_sam3, "torchvision")
    with pytest.raises(CheckpointError, match=r'torchvision.*pip install "napari-sam-live\[sam3\]'):
        segmenter.find_concept(embedding, Concept("", BOXES))


def test_progress_and_cancel(segmenter, embedding):
    heard: list[float] = []
    segmenter.find_concept(embedding, Concept("cell"), progress=heard.append)
    assert heard == [0.0, 1.0]

    def cancel(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.find_concept(embedding, Concept("cell"), progress=cancel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a text, or boxes"),
        (("  ",), "expected a text, or boxes"),
        (("", (), BOXES), "expected a text, or boxes"),
        (("a" * 201,), "at most 200 letters"),
        (("cell", ((1, 2, 3),)), "expected a box"),
        (("cell", ((9, 2, 3, 4),)), "expected a box"),
        (("cell", ((0, 0, float("nan"), 4),)), "expected a box"),
        (("cell", BOXES[:1] * 65), "at most 64 boxes"),
    ],
)
def test_what_is_no_concept_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Concept(*arguments)


def test_box_outside_the_plane_and_long_texts_are_refused(segmenter, embedding):
    with pytest.raises(ValueError, match="inside the plane"):
        segmenter.find_concept(embedding, Concept("cell", ((0, 0, 60, 10),)))
    with pytest.raises(ValueError, match="at most 30 tokens, about a word each, got 40"):
        segmenter.find_concept(embedding, Concept(" ".join(["cell"] * 40)))


def test_large_plane_is_read_tile_by_tile_and_for_examples_whole(segmenter, torchvision):
    plane = np.random.default_rng(1).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    tiled = TiledSegmenter(segmenter)
    embedding = tiled.embed(plane)
    heard: list[float] = []
    found = tiled.find_concept(embedding, Concept("nuclei"), 0.0, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1
    assert sorted({one.seen for one in found}) == sorted(
        {tile.outer for tile in embedding.pyramid.levels[0]}
    )
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        (tile,) = (t for t in embedding.pyramid.levels[0] if t.outer == one.seen)
        r0, c0, r1, c1 = one.patch.box
        assert tile.core[0] - 0.5 <= (r0 + r1) / 2 < tile.core[2] - 0.5
        assert tile.core[1] - 0.5 <= (c0 + c1) / 2 < tile.core[3] - 0.5
    whole = tiled.find_concept(embedding, Concept("nuclei", BOXES), 0.0)
    assert {one.seen for one in whole} == {(0, 0, 60, 100)}


def test_process_and_other_machine_find_the_same(folder, segmenter, embedding, plane):
    expected = segmenter.find_concept(embedding, Concept("nuclei"), 0.5)
    assert expected
    there = ProcessSegmenter(folder, "cpu", "float32")
    try:
        inner = there.embed(plane)
        found = there.find_concept(inner, Concept("nuclei"), 0.5)
        with pytest.raises(ValueError, match="at most 30 tokens"):
            there.find_concept(inner, Concept(" ".join(["cell"] * 40)))
    finally:
        there.close()
    with serving({"sam3": segmenter}) as machine:
        remote = RemoteSegmenter("sam3", machine.address, TOKEN, rounded=False)
        assert remote.traits.reads_text
        away = remote.find_concept(remote.embed(plane), Concept("nuclei"), 0.5)
        remote.close()
    for one, other, third in zip(expected, found, away, strict=True):
        for same in (other, third):  # on other threads, sums are of another order
            assert abs(one.patch.area - same.patch.area) <= 5
            assert one.seen == same.seen
            np.testing.assert_allclose(
                (*one.box, one.score, one.stability),
                (*same.box, same.score, same.stability),
                rtol=1e-4,
                atol=1e-3,
            )


def test_models_that_read_no_text_refuse_one():
    plain = ComponentSegmenter()
    tiled = CachedSegmenter(TiledSegmenter(plain), max_bytes=0)
    embedding = tiled.embed(np.zeros((20, 20), np.uint8))
    with pytest.raises(ValueError, match="expected a model that reads text"):
        tiled.find_concept(embedding, Concept("cell"))


# Loading -------------------------------------------------------------------------------------


def test_folder_without_a_tokenizer_answers_clicks_and_names_what_is_missing(copied, plane):
    (copied / "vocab.json").unlink()
    found = load_segmenter(copied, "cpu", tiles=False, cache=False)
    embedding = found.embed(plane)
    assert len(found.decode(embedding, CLICK).scores) == 3
    with pytest.raises(CheckpointError, match=r"found none; put tokenizer\.json, or vocab\.json"):
        found.find_concept(embedding, Concept("cell"))


def test_damaged_tokenizer_is_reported(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="expected a tokenizer"):
        TextReader(tmp_path, 32).tokens("cell")
    assert TextReader(folder, 32).tokens(WORDS[0])["attention_mask"].sum() == 3


@pytest.mark.parametrize("kind", ["sam3", "sam3_tracker", "edgetam"])
def test_folder_of_a_part_or_of_another_model_is_reported(copied, kind):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": kind}))
    with pytest.raises(CheckpointError, match=f"of the kind '{kind}'"):
        load_segmenter(copied, "cpu")


def test_missing_tensors_and_other_layouts_are_reported(network, copied):
    state = network.state_dict()
    del state["tracker_neck.fpn_layers.0.proj1.weight"]
    network.save_pretrained(copied, state_dict=state)
    with pytest.raises(CheckpointError, match=r"1 are missing \(tracker_neck.fpn_layers.0"):
        load_segmenter(copied, "cpu")


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        (("detector_config", "text_config"), "num_hidden_layers", 10**9, "far larger network"),
        (("detector_config", "detr_decoder_config"), "num_queries", 10**9, "far larger network"),
        (("tracker_config",), "image_size", 112, "expect other inputs, 56 and 112"),
        (("tracker_config", "mask_decoder_config"), "mlp_dim", 50, "no network fits its files"),
    ],
)
def test_configuration_of_another_network_is_refused(copied, part, name, value, message):
    config = json.loads((copied / "config.json").read_text())
    there = config
    for key in part:
        there = there[key]
    there[name] = value
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_segmenter(copied, "cpu")


def test_truncated_weights_are_reported(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        load_segmenter(copied, "cpu")


def test_missing_library_is_reported_with_what_installs_it(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    for model in (folder, "sam3", "facebook/sam3"):
        with pytest.raises(CheckpointError, match=r'pip install "napari-sam-live\[sam3\]"'):
            load_segmenter(model, "cpu")


def test_it_is_known_by_name():
    assert pretrained.repository_of("sam3") == "facebook/sam3"
    assert pretrained.name_of("facebook/sam3") == "sam3"
