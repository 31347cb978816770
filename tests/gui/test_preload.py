"""Torch is imported while a user looks at the sample just opened."""

import subprocess
import sys


def test_opening_a_sample_has_torch_imported_and_the_interpreter_ends_cleanly():
    code = (
        "import sys, threading\n"
        "from napari_sam.gui import sample_data\n"
        "sample_data.nuclei()\n"
        "(thread,) = [t for t in threading.enumerate() if t.name == 'napari-sam preload']\n"
        "print('torch' in sys.modules or thread.is_alive())\n"
        "sample_data.nuclei()\n"
        "print(sum(t.name == 'napari-sam preload' for t in threading.enumerate()) <= 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]
