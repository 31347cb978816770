"""Importing the package is cheap and brings in nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_sam


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_brings_in_neither_torch_nor_napari_nor_qt():
    heavy = "'torch', 'numpy', 'scipy', 'napari', 'qtpy', 'superqt', 'magicgui', 'PyQt6'"
    code = f"import sys, napari_sam; print([m for m in ({heavy},) if m in sys.modules])"
    assert run(code) == "[]"


def test_import_takes_less_than_a_tenth_of_a_second():
    code = "import time; t = time.process_time(); import napari_sam; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_nothing_headless_brings_in_napari_or_qt():
    code = (
        "import sys, napari_sam, napari_sam.cli, napari_sam.batch, napari_sam.batch.demo\n"
        "[getattr(napari_sam, name) for name in napari_sam.__all__]\n"
        "print([m for m in ('napari', 'qtpy', 'superqt', 'magicgui') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_command_line_answers_help_without_torch():
    code = "import sys, napari_sam.cli; print('torch' in sys.modules)"
    assert run(code) == "False"


def test_dock_is_there_before_torch():
    code = "import sys, napari_sam.gui.widget; print('torch' in sys.modules)"
    assert run(code) == "False"


def test_a_session_brings_in_what_links_objects_when_it_is_needed():
    code = (
        "import sys, napari_sam.session\n"
        "print([m for m in ('scipy.sparse', 'scipy.optimize') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_finding_everything_brings_in_its_solver_when_it_is_needed():
    code = "import sys, napari_sam.automask; print('scipy.optimize' in sys.modules)"
    assert run(code) == "False"


def test_loading_the_packaged_model_brings_in_nothing_for_the_network():
    code = (
        "import sys, napari_sam; napari_sam.load_segmenter('nano', device='cpu')\n"
        "print([m for m in ('requests', 'filelock', 'urllib3') if m in sys.modules])"
    )
    assert run(code) == "[]"


@pytest.mark.parametrize("name", napari_sam.__all__)
def test_every_public_name_is_there(name):
    assert getattr(napari_sam, name) is not None
    assert name in dir(napari_sam)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'segment'"):
        napari_sam.segment  # noqa: B018


def test_module_does_not_hide_the_function_of_its_name():
    code = (
        "from napari_sam.propagate import PropagationStep\n"
        "from napari_sam import propagate\n"
        "print(callable(propagate), PropagationStep.__name__)"
    )
    assert run(code) == "True PropagationStep"
