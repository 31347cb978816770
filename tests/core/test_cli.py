"""The command line: results, exit codes, one clear line for what went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from small_models import HYBRID, VIT, network
from taught_models import teach
from typer.testing import CliRunner

from napari_sam import cli
from napari_sam.io import read_image, write_labels, write_prompts
from napari_sam.model import taught_library
from napari_sam.model.checkpoint import save
from napari_sam.model.registry import models_folder
from napari_sam.prompts import Prompts


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, config in (("hybrid", HYBRID), ("vit", VIT)):
        save(network(config), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def model(checkpoints):
    return ["--model", str(checkpoints / "hybrid.safetensors"), "--device", "cpu"]


@pytest.fixture
def image(tmp_path, rng):
    write_labels(tmp_path / "cells.tif", rng.integers(0, 200, (60, 50), dtype=np.uint8))
    write_prompts(tmp_path / "cells.csv", {((), 4): Prompts([(30, 20)], [1])})
    return tmp_path / "cells.tif"


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def assert_refused(result, code, *words):
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for command in (
        "segment",
        "auto",
        "track",
        "replay",
        "tune",
        "embed",
        "models",
        "demo",
        "train",
        "info",
    ):
        assert command in result.output


@pytest.mark.parametrize("command", ["segment", "auto", "track", "embed", "demo", "train"])
def test_every_command_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: napari-sam {command}" in result.output


def test_segment_writes_labels(image, tmp_path, model):
    out = tmp_path / "labels.tif"
    result = run("segment", image, "--prompts", image.with_suffix(".csv"), "-o", out, *model)
    assert result.exit_code == 0, result.output
    assert "1 done" in result.stdout
    assert set(np.unique(np.asarray(read_image(out).data))) <= {0, 4}


def test_embeddings_are_kept_for_the_next_run_unless_unwanted(image, tmp_path, model, private_home):
    kept = private_home / "embeddings"
    assert run("segment", image, "-o", tmp_path / "a.tif", "--no-cache", *model).exit_code == 0
    assert not kept.exists()
    assert run("segment", image, "-o", tmp_path / "b.tif", *model).exit_code == 0
    assert len(list(kept.glob("??/*.safetensors"))) == 1


def test_long_run_reports_how_much_it_decodes_before_it_starts(image, tmp_path):
    few = run("segment", image, "-o", tmp_path / "a.tif", "--model", "no such model")
    assert "clicks" not in few.stderr
    rows = "".join(f"{i % 60},{i % 50},positive,{i % 400 + 1}\n" for i in range(1200))
    image.with_suffix(".csv").write_text(f"axis-0,axis-1,label,object\n{rows}")
    many = run("segment", image, "-o", tmp_path / "a.tif", "--model", "no such model")
    assert "note: 1,200 clicks to decode (objects: 400, planes: 1)" in many.stderr
    assert many.exit_code == 2  # told before the model is asked for


def test_segment_of_a_folder_is_resumed(image, tmp_path, model):
    arguments = ("segment", image, "-o", tmp_path / "out", "--overlay", *model)
    assert run(*arguments).exit_code == 0
    assert (tmp_path / "out" / "cells_overlay.png").exists()
    assert "1 unchanged since last time" in run(*arguments).stdout


def test_auto_labels_everything(image, tmp_path, model):
    arguments = ("auto", image, "-o", tmp_path / "out", "--min-score", "-9", *model)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    labels = np.asarray(read_image(tmp_path / "out/cells_labels.tif").data)
    assert labels.max() > 0


def test_auto_takes_a_grid_for_models_without_a_head(image, tmp_path, checkpoints):
    model = ["--model", checkpoints / "vit.safetensors", "--points-per-side", 4]
    result = run("auto", image, "-o", tmp_path / "out", *model)
    assert result.exit_code == 0, result.output


def test_embed_fills_the_cache(image, model, private_home):
    assert run("embed", image, *model).exit_code == 0
    assert len(list((private_home / "embeddings").glob("??/*.safetensors"))) == 1


def test_broken_files_are_listed_and_change_the_exit_code(image, tmp_path, model):
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing more")
    result = run("auto", tmp_path, "-o", tmp_path / "out", *model)
    assert result.exit_code == 1
    assert "1 done, 1 failed" in result.stdout
    assert "broken.tif" in result.stderr
    assert "Traceback" not in result.output


def test_missing_image_is_refused_before_a_model_is_loaded(tmp_path):
    result = run("segment", tmp_path / "none.tif", "-o", tmp_path, "--model", "no such model")
    assert_refused(result, 2, "none.tif", "nothing there")


def folder_that_is_a_file(image):
    return "-o", image.with_suffix(".csv")


def two_formats(image):
    return "-o", image.parent / "out", "--suffix", ".png"


def missing_prompts(image):
    return "-o", image.parent / "out", "--prompts", image.parent / "none.csv"


def no_prompts_beside(image):
    image.with_suffix(".csv").unlink()
    return "-o", image.parent / "out"


def missing_checkpoint(image):
    return "-o", image.parent / "out", "--model", image.parent / "none.pth"


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (folder_that_is_a_file, "cells.csv"),
        (two_formats, ".png"),
        (missing_prompts, "none.csv"),
        (no_prompts_beside, "cells.csv"),
        (missing_checkpoint, "none.pth"),
    ],
)
def test_wrong_path_is_reported_before_anything_is_imported_for_a_model(image, make, word):
    arguments = ["segment", image, *make(image)]
    code = (
        "import sys\nfrom napari_sam.cli import app\n"
        "try:\n    app()\nfinally:\n    print([m for m in ('torch',) if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr.replace("\n", "")
    assert done.stdout.strip() == "[]"
    assert not (image.parent / "out").exists()


def test_place_that_cannot_be_written_is_refused(image, tmp_path, model, monkeypatch):
    monkeypatch.setattr("napari_sam.batch.inputs.os.access", lambda *_: False)
    result = run("auto", image, "-o", tmp_path / "deep" / "out", *model)
    assert_refused(result, 1, str(tmp_path), "can't be written")


def test_nothing_done_names_no_labels(tmp_path, model):
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing more")
    result = run("auto", tmp_path / "broken.tif", "-o", tmp_path / "labels.tif", *model)
    assert result.exit_code == 1
    assert "0 done, 1 failed; nothing was written" in result.stdout
    assert "labels.tif" not in result.stdout


def test_unknown_model_is_refused(image, tmp_path):
    result = run("auto", image, "-o", tmp_path / "out", "--model", "vit_x")
    assert_refused(result, 2, "vit_x", "nano")


def test_absent_device_is_refused(image, tmp_path, model):
    result = run("auto", image, "-o", tmp_path / "out", *model, "--device", "cuda:77")
    assert_refused(result, 2, "cuda:77", "'cpu'")


def test_broken_prompts_are_refused_with_their_line(image, tmp_path, model):
    (tmp_path / "bad.csv").write_text("axis-0,axis-1,label,object\n3,4,maybe,1\n")
    result = run("segment", image, "-p", tmp_path / "bad.csv", "-o", tmp_path / "out", *model)
    assert_refused(result, 2, "line 2", "maybe")


def test_missing_option_is_a_usage_error(image):
    assert run("segment", image).exit_code == 2


def test_failing_disk_is_a_failure_not_bad_input(image, tmp_path, model, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_sam.segmentation.loading.load_segmenter", full)
    assert_refused(run("auto", image, "-o", tmp_path / "out", *model), 1, "No space left")


def test_defect_keeps_its_traceback(image, tmp_path, model, monkeypatch):
    def broken(*_, **__):
        raise AssertionError("a defect of ours")

    monkeypatch.setattr("napari_sam.segmentation.loading.load_segmenter", broken)
    result = run("auto", image, "-o", tmp_path / "out", *model)
    assert isinstance(result.exception, AssertionError)


def test_warning_becomes_a_note(tmp_path, model):
    plane = np.zeros((40, 40), np.float32)
    plane[3, 3] = np.nan
    np.save(tmp_path / "nan.npy", plane)
    result = run("auto", tmp_path / "nan.npy", "-o", tmp_path / "out", *model)
    assert result.exit_code == 0, result.output
    assert "note: 1 pixels are NaN" in result.stderr


@pytest.mark.parametrize("arguments", [["models"], ["models", "list"]])
def test_models_are_listed(arguments):
    result = run(*arguments)
    assert result.exit_code == 0
    for name in ("nano", "vit_t", "vit_b", "vit_b_em_organelles"):
        assert name in result.stdout
    assert str(models_folder()) in result.stdout
    sizes = ["14 MB", "41 MB", "375 MB", "1,249 MB", "2,564 MB"]
    assert all(size in result.stdout for size in sizes)
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    assert all(size in page for size in sizes)
    assert "GB" not in result.stdout + page


def test_verify_distinguishes_good_files_from_bad(checkpoints, tmp_path):
    good = run("models", "verify", checkpoints / "hybrid.safetensors")
    assert good.exit_code == 0
    assert "sha256:" in good.stdout
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    assert_refused(run("models", "verify", tmp_path / "bad.pth"), 2, "bad.pth")


def test_download_of_an_unknown_model_is_refused():
    assert_refused(run("models", "download", "vit_x"), 2, "vit_x", "vit_b")


@pytest.fixture
def taught(private_home):
    """A taught model called "coli", whose parent is among the models."""
    parent = network(HYBRID)
    save(parent, private_home / "models" / "parent.safetensors", half=False)
    return taught_library.keep(teach(parent), "coli")


def test_taught_models_are_listed_and_removed(taught):
    listed = run("models", "list").stdout
    for word in ("coli", "parent.safetensors", "5 objects of 2 planes"):
        assert word in listed
    assert run("models", "verify", "coli").exit_code == 0
    assert_refused(run("models", "download", "coli"), 2, "coli", "taught", "nothing to download")
    assert_refused(run("models", "remove", "coli", "colli"), 2, "(coli)", "colli")
    assert taught.path.exists()
    assert run("models", "remove", "coli").exit_code == 0
    assert not taught.path.exists()
    assert "coli" not in run("models", "list").stdout


def test_damaged_taught_model_does_not_spoil_the_list(taught):
    taught.path.write_bytes(b"junk")
    result = run("models", "list")
    assert "can't be read" in result.stdout
    assert "expected a taught model" in result.stderr


@pytest.mark.parametrize("by", ["name", "path"])
def test_info_shows_what_a_model_was_taught(taught, by):
    shown = run("info", "coli" if by == "name" else taught.path).stdout
    for word in ("parent.safetensors", "5 objects of 2 planes", "0.57 → 0.86", "0.40 → 0.50"):
        assert word in shown
    assert "2 objects held back: little to go by" in shown
    assert_refused(run("info", taught.path, "--methods"), 2, "expected a session")


def test_info_names_the_files_that_it_describes_for_another_file(tmp_path):
    (damaged := tmp_path / "damaged.safetensors").touch()
    assert_refused(run("info", damaged), 2, "expected a taught model, got another checkpoint")
    assert_refused(run("info", tmp_path / "none.safetensors"), 2, "nothing there")


def test_taught_model_segments_by_its_name(image, tmp_path, taught):
    result = run("segment", image, "-o", tmp_path / "a.tif", "-m", "coli", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert_refused(run("segment", image, "-o", tmp_path / "a.tif", "-m", "colli"), 2, "(coli)")


def test_train_refuses_a_missing_configuration(tmp_path):
    assert_refused(run("train", tmp_path / "none.toml"), 2, "none.toml")


def test_info_shows_where_files_are(private_home):
    result = run("info")
    assert result.exit_code == 0
    assert "napari-sam-live" in result.stdout
    assert "torch" in result.stdout


def test_demo_shows_times_and_names_the_folder(tmp_path, model, monkeypatch):
    monkeypatch.setattr("napari_sam.samples.NAMES", ("ovule_3d",))
    monkeypatch.setattr("napari_sam.batch.demo._REPETITIONS", 1)
    result = run("demo", "-o", tmp_path / "demo", *model)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "demo" / "ovule_3d_labels.tif").exists()
    for word in ("ovule_3d", "ms", "in float32", "demo"):
        assert word in result.stdout


@pytest.mark.parametrize("command", ["segment", "auto", "embed"])
def test_axes_and_channel_are_taken_as_in_python(command, tmp_path, rng, model):
    pixels = rng.integers(0, 200, (60, 50, 2), dtype=np.uint8)
    np.save(tmp_path / "cells.npy", pixels)
    write_prompts(tmp_path / "cells.csv", {((), 4): Prompts([(30, 20)], [1])})
    output = [] if command == "embed" else ["-o", tmp_path / "out"]
    arguments = (command, tmp_path / "cells.npy", *output, *model)
    result = run(*arguments, "--axes", "YXC", "--channel", 1)
    assert result.exit_code == 0, result.output
    if output:
        assert read_image(tmp_path / "out/cells_labels.tif").axes == "YX"
    result = run(*arguments, "--axes", "ZYX", "--channel", 1)
    assert result.exit_code == cli.console.FAILURE
    assert "expected an image with channels" in result.stderr


def test_what_is_not_read_of_a_file_is_noted(tmp_path, model, rng):
    tifffile.imwrite(
        tmp_path / "a.tif",
        rng.integers(0, 255, (20, 30, 4), dtype=np.uint8),
        photometric="separated",
    )
    result = run("auto", tmp_path / "a.tif", "-o", tmp_path / "out", *model)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("note:") == 1
    assert "CMYK" in result.stderr
