"""Numbers tuned for a model: carried in its checkpoint, checked, and part of its key alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import safetensors
import torch
from reference import SMALL

from napari_sam.model.architecture import CheckpointError
from napari_sam.model.checkpoint import save
from napari_sam.model.config import SamConfig
from napari_sam.model.keys import encoder_key, model_key
from napari_sam.model.sam import Sam, build
from napari_sam.model.tuning import ScaleTuning, Tuning
from napari_sam.model.weights import load, path_of

TUNED = Tuning(scales=ScaleTuning(unsure=0.6, halvings=3))


def with_tuning(values: object) -> str:
    """Spell a configuration whose file says this about its tuning."""
    return json.dumps(json.loads(SMALL.to_json()) | {"tuning": values})


def test_checkpoint_carries_the_numbers_of_its_model(tmp_path):
    save(build(replace(SMALL, tuning=TUNED)), tmp_path / "tuned.safetensors")
    assert load(tmp_path / "tuned.safetensors").config.tuning == TUNED


def test_packaged_model_carries_its_numbers():
    with safetensors.safe_open(path_of("nano"), "pt") as file:
        carried = json.loads(file.metadata()["config"])["tuning"]
    assert Tuning.from_values(carried).to_values() == carried


def test_checkpoint_without_numbers_has_the_defaults():
    values = json.loads(SMALL.to_json())
    del values["tuning"]
    assert SamConfig.from_json(json.dumps(values)) == SMALL
    assert SamConfig.from_json(with_tuning({"scales": {"unsure": 0.6, "halvings": 3}})) == replace(
        SMALL, tuning=TUNED
    )


def test_defaults_never_change():
    """Checkpoints that carry none were tuned with these."""
    assert Tuning().to_values() == {
        "scales": {
            "magnified": 0.625,
            "magnified_halo": 0.15,
            "small": 0.125,
            "halvings": 2,
            "least_side": 128,
            "unsure": 0.75,
            "surer": 0.05,
            "large": 130.0,
            "largest": 120.0,
            "thinnest": 80.0,
        },
        "windows": {"click": 192, "least": 128, "room": 1.25},
        "box_fit": {"steepness": 2.0, "deepest": -1.6, "caution": 0.05},
        "tidying": {"largest_hole": 0.1, "least_part": 0.1, "turned": 1.0},
        "proposals": {
            "least_cell": 0.4,
            "same_object": 0.2,
            "same_box": 0.6,
            "same_candidate": 0.6,
            "same_candidates_box": 0.7,
            "least_judged": 0.55,
            "least_said": 0.65,
            "worth": 0.62,
            "many": 0.5,
            "window": 64,
            "diameter": 28.0,
            "overlap": 0.3,
        },
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scales": {"sharpness": 1}}, "'tuning.scales.sharpness'.*newer version"),
        ({"lenses": {}}, "'tuning.lenses'.*newer version"),
        ({"scales": {"halvings": 10**9}}, "halvings a whole number from 0 to 8, got 1000000000"),
        ({"scales": {"unsure": True}}, "unsure a number from 0 to 1, got True"),
        ({"windows": {"click": 1.5}}, "click a whole number"),
        ({"scales": {"large": float("nan")}}, "large a number"),
        ({"scales": {"large": "130"}}, "large a number"),
        ({"scales": 3}, "by name, got 3"),
        ([], "by name"),
    ],
)
def test_numbers_that_are_unknown_or_make_no_sense_are_refused(tmp_path, values, words):
    path = tmp_path / "model.safetensors"
    metadata = {"config": with_tuning(values)}
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(1)}, metadata))
    with pytest.raises(CheckpointError, match=f"model.safetensors: .*{words}"):
        load(path)


def test_numbers_belong_to_the_model_and_not_to_its_encoder():
    given = build(SMALL)
    tuned = Sam(replace(SMALL, tuning=TUNED))
    tuned.load_state_dict(given.state_dict())
    assert encoder_key(tuned) == encoder_key(given)
    assert model_key(tuned) != model_key(given)
