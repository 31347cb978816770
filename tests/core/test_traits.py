"""What callers may rely on of a model: told without its network, and sent to another process."""

from __future__ import annotations

import json

import pytest
from small_models import HYBRID, VIT

from napari_sam.geometry import Geometry, fit_frame
from napari_sam.model.config import PRESETS
from napari_sam.segmentation.traits import Traits


@pytest.mark.parametrize("config", [HYBRID, VIT, *PRESETS.values()], ids=lambda one: one.name)
def test_traits_survive_the_way(config):
    traits = Traits.of(config)
    assert Traits.from_json(traits.to_json()) == traits


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 5000, "1" * 20_000, '{"geometry": 1}']
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="expected a model's traits"):
        Traits.from_json(text)


def test_numbers_beyond_measure_are_refused():
    data = json.loads(Traits.of(HYBRID).to_json())
    data["tuning"]["proposals"]["diameter"] = -1.0
    with pytest.raises(ValueError, match=r"diameter"):
        Traits.from_json(json.dumps(data))


def test_each_policy_of_nano_and_of_sam_has_a_name():
    nano, sam = Traits.of(PRESETS["nano"]), Traits.of(PRESETS["vit_b"])
    assert (nano.proposes, nano.judges, nano.refines_first_click, nano.decodes_windows) == (
        True,
    ) * 4
    assert (sam.proposes, sam.judges, sam.refines_first_click, sam.decodes_windows) == (False,) * 4
    assert (nano.tidies, nano.gains_in_half) == (True, False)
    assert (sam.tidies, sam.gains_in_half) == (False, True)
    assert nano.geometry.has_choice
    assert not sam.geometry.has_choice
    assert sam.levels == ((256, 1),)
    assert nano.levels == ((128, 1), (32, 2), (16, 4))


def test_plane_may_be_stretched_to_a_square():
    frame = fit_frame((30, 60), Geometry(128, keeps_aspect=False))
    assert frame.scaled == frame.canvas == (128, 128)
    assert frame.to_model([[30, 60]]).tolist() == [[128, 128]]
    assert frame.to_plane([[64, 64]]).tolist() == [[15, 30]]
