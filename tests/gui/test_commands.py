"""The manifest's commands: without a viewer by paths, with one by a form."""

import subprocess
import sys
import textwrap
from contextlib import contextmanager

import npe2
import numpy as np
import pytest
import tifffile
from core.fake_segmenter import FakeSegmenter
from napari._app_model import get_app_model
from napari.settings import get_plugin_settings
from npe2.manifest.utils import import_python_name

from napari_sam import batch, samples
from napari_sam.gui import commands, current_session, models, sample_data, widget
from napari_sam.gui.batch_dialog import BatchDialog, time_left
from napari_sam.gui.controller import controller_of
from napari_sam.gui.settings import Preferences, preferences
from napari_sam.segmentation.protocol import Cancelled


@pytest.fixture
def fake_models(monkeypatch):
    monkeypatch.setattr(models, "load_for_viewer", lambda size: lambda *about: FakeSegmenter())


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(0, 255, (40, 50), np.uint8))
        clicks = "index,axis-0,axis-1,label,object\n0,20,30,positive,3\n"
        (tmp_path / f"{name}.csv").write_text(clicks)
    return tmp_path


def test_every_command_of_the_manifest_is_there():
    manifest = npe2.PluginManifest.from_distribution("napari-sam-live")
    for command in manifest.contributions.commands:
        assert callable(import_python_name(command.python_name))


@pytest.mark.parametrize("name", samples.NAMES)
def test_sample_opens_with_its_geometry(name):
    ((data, about, kind),) = getattr(sample_data, name)()
    assert kind == "image"
    assert len(about["scale"]) == data.ndim - about["rgb"]
    assert about["metadata"]["licence"]


def test_files_are_segmented_by_paths(fake_models, folder, tmp_path):
    fractions = []
    summary = commands.segment_files(
        folder, tmp_path / "out", progress=lambda image, fraction: fractions.append(fraction)
    )
    assert len(summary.done) == 2
    assert tifffile.imread(tmp_path / "out" / "a_labels.tif")[20, 30] == 3
    assert fractions[-1] == 1.0


def test_files_are_segmented_as_given_in_the_form(monkeypatch, folder, tmp_path):
    asked = []

    @contextmanager
    def on_cluster(model, device, **where):
        asked.append((model, where))
        yield FakeSegmenter()

    monkeypatch.setattr(batch, "on_cluster", on_cluster)
    summary = commands.segment_files(folder, tmp_path / "out", workers=2, scheduler="")
    assert len(summary.done) == 2
    commands.embed_files(folder, workers=0, scheduler="tcp://a:1")
    assert asked == [
        ("nano", {"workers": 2, "scheduler": None}),
        ("nano", {"workers": None, "scheduler": "tcp://a:1"}),
    ]


def test_download_of_a_batchs_model_can_be_cancelled(monkeypatch, folder, tmp_path):
    def load(model, device, progress):
        while True:
            progress(0.1)

    def cancel(image, fraction):
        assert (image.name, fraction) == ("vit_b", 0.0)
        raise Cancelled

    monkeypatch.setattr(models, "load_for_viewer", lambda size: load)
    with pytest.raises(Cancelled):
        commands.segment_files(folder, tmp_path / "out", model="vit_b", progress=cancel)
    with pytest.raises(Cancelled):
        commands.embed_files(folder, model="vit_b", progress=cancel)


@pytest.mark.parametrize("command", [commands.segment_files, commands.segment_all_files])
def test_wrong_path_is_reported_before_a_model_is_loaded(monkeypatch, folder, tmp_path, command):
    loaded = []
    monkeypatch.setattr(models, "load_for_viewer", lambda size: lambda *about: loaded.append(about))
    with pytest.raises(FileNotFoundError, match="none"):
        command(tmp_path / "none.tif", tmp_path / "out")
    with pytest.raises(NotADirectoryError, match=r"a\.csv"):
        command(folder, folder / "a.csv")
    with pytest.raises(FileNotFoundError, match="none"):
        commands.embed_files(tmp_path / "none.tif")
    with pytest.raises(FileNotFoundError, match="none"):
        commands.segment_files(folder, tmp_path / "out", tmp_path / "none.csv")
    assert loaded == []


def test_command_runs_without_importing_napari(folder, tmp_path):
    script = f"""
        import sys
        import npe2
        manager = npe2.PluginManager.instance()
        manager.discover()
        from napari_sam.gui import models
        sys.path.insert(0, "tests")
        from core.fake_segmenter import FakeSegmenter
        models.load_for_viewer = lambda size: lambda *about: FakeSegmenter()
        about = dict(images={str(folder)!r}, output={str(tmp_path / "out")!r})
        done = manager.commands.execute("napari-sam-live.segment_files", kwargs=about).done
        assert len(done) == 2, done
        assert "napari" not in sys.modules
        assert "qtpy" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_command_without_images_or_viewer_reports_what_it_needs():
    with pytest.raises(ValueError, match="expected images for embed_files"):
        commands.embed_files()


def test_form_runs_the_command_and_sums_up(fake_models, folder, tmp_path, qtbot):
    title, run, fields = commands.COMMANDS["segment_files"]
    form = BatchDialog(title, run, fields)
    qtbot.addWidget(form)
    form.start.click()
    assert form.message.text() == "Choose images and output first."
    form.fields["images"].value = folder
    form.fields["output"].value = tmp_path / "out"
    form.start.click()
    qtbot.waitUntil(form.start.isEnabled, timeout=10_000)
    first, *notes = form.message.text().splitlines()
    assert first == "2 done, 0 already there"
    assert [note.partition(":")[0] for note in notes] == ["a.tif", "b.tif"]
    assert all("don't say the contrast limits of object 3" in note for note in notes)
    assert (tmp_path / "out" / "b_overlay.png").exists()


@pytest.mark.parametrize(
    ("elapsed", "fraction", "text"),
    [
        (1, 0.5, ""),
        (10, 0.0, ""),
        (10, 0.5, "about 10 s left"),
        (60, 0.1, "about 9 min left"),
        (60, 1.0, ""),
    ],
)
def test_form_shows_the_remaining_time(elapsed, fraction, text):
    assert time_left(elapsed, fraction) == text


def test_command_opens_its_form_in_the_viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    commands.segment_all_files()
    assert "Segment everything in files" in viewer.window.dock_widgets


def test_preferences_page_sets_what_a_dock_starts_with():
    assert preferences() == Preferences(disk_bytes=8 * 10**9, memory_bytes=2 * 10**9)
    page = get_plugin_settings("napari-sam-live")
    page.embeddings.prefetch = 3
    try:
        assert preferences().prefetch == 3
    finally:
        page.reset()


def test_dock_can_be_driven_from_the_command_palette(open_viewer, rng, monkeypatch):
    monkeypatch.setattr(widget, "load_for_viewer", lambda size: lambda *about: FakeSegmenter())
    npe2.PluginManager.instance().discover()
    viewer = open_viewer(rng.integers(0, 255, (40, 50), np.uint8))

    def execute(name, wait=True):
        get_app_model().commands.execute_command(f"napari-sam-live.{name}").result()
        assert not wait or current_session(viewer).wait(10)

    execute("click")
    session, annotation = current_session(viewer), controller_of(viewer).annotation
    assert viewer.layers.selection.active is annotation.points
    session.add_point((), (20, 30))
    assert session.wait(10)
    execute("next_candidate")
    assert session.candidate(1, ()) == 2  # the whole
    execute("new_object")
    assert session.object_id == 2
    execute("previous_object")
    assert session.object_id == 1
    execute("swap_buttons")
    assert annotation.sign == 0
    execute("draw_box")
    assert viewer.layers.selection.active is annotation.shapes.layer
    execute("undo")
    assert session.candidate(1, ()) == 0
    execute("redo")
    assert session.candidate(1, ()) == 2  # the whole
    execute("lock_object")
    assert session.facts(1).locked
    execute("lock_object")
    execute("start_over")
    assert not session.prompts.clicks
    execute("undo")
    assert session.prompts.clicks
    execute("delete_object")
    assert not session.prompts.clicks
    session.segmenter.may_embed.clear()
    execute("find_all", wait=False)
    assert controller_of(viewer).everything.fraction is not None
    execute("cancel", wait=False)
    session.segmenter.may_embed.set()
    assert controller_of(viewer).everything.fraction is None
    assert session.is_stopped
