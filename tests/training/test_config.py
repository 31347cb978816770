"""Run configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_sam.training.config import PARTS, read_config

GOOD = 'model = "nano"\ndata = "d"\noutput = "o"\n'


def test_the_kept_configurations_can_be_read() -> None:
    for path in sorted(Path(__file__).parents[2].glob("configs/*.toml")):
        assert read_config(path).iterations > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "learnig_rate = 1.0\n", "learnig_rate"),
        ('model = "nano"\n', "data"),
        (GOOD.replace("nano", "nanu"), "nanu"),
        (GOOD + "crop = 100\n", "multiple of 32"),
        (GOOD + 'precision = "float8"\n', "float8"),
        (GOOD + 'freeze = ["encoder"]\n', "image_encoder.*got .'encoder'"),
        (GOOD + 'freeze = "image_encoder"\n', "expected a list"),
        (GOOD + f"freeze = {list(PARTS)}\n", "some of"),
        (GOOD + 'iterations = "many"\n', "iterations of type int.*'many'"),
        (GOOD + "iterations = 1.5\n", "iterations of type int"),
        (GOOD + "compile = 1\n", "compile of type bool"),
        (GOOD + "learning_rate = nan\n", "learning_rate of type float"),
        (GOOD + "scale = [1.0]\n", "scale of type tuple"),
        (GOOD + "rounds = 1.0\n", "rounds of type tuple"),
        (GOOD + 'sources = {a = "b"}\n', "sources of type dict"),
        (GOOD.replace('"nano"', "[1]"), "a model among"),
        (GOOD + "a = ", "as TOML"),
        (GOOD + "a = " + "[" * 20_000, "nested too deeply"),
        (GOOD + "#" * 100_000, "at most 65536 bytes"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(path)
