"""The log of a run as a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from napari_sam.training.plot import _smooth, draw_log

LOG = """iteration,mask,iou,dense,norm,seconds,score
1,2.0,0.5,0.4,1,1,
2,1.5,0.4,0.3,1,1,0.4
3,1.0,0.3,0.2,1,1,
2,1.4,0.4,0.3,1,1,0.5
3,0.9,0.3,0.2,1,1,
"""


def test_log_is_drawn(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    draw_log(tmp_path / "log.csv", tmp_path / "log.png")
    picture = np.asarray(Image.open(tmp_path / "log.png").convert("L"))
    assert picture.shape == (600, 800)
    assert np.count_nonzero(picture < 250) > 1000


def test_curve_is_the_mean_of_what_came_before():
    assert _smooth(np.array([2.0, 4.0, 6.0])).tolist() == [2.0, 3.0, 4.0]
    assert np.allclose(_smooth(np.arange(200.0))[199], np.arange(150, 200).mean())
