"""The log of a run, and its picture."""

from __future__ import annotations

import csv

import numpy as np
import torch
from PIL import Image

from napari_sam.training.log import LogRows, _smooth, draw_log

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


def test_rows_are_written_together_and_a_log_goes_on(tmp_path):
    path = tmp_path / "log.csv"
    for start in (1, 3):
        rows = LogRows(path)
        rows.add(start, {"mask": torch.tensor(0.5), "other": 1.0})
        assert len(path.read_text().splitlines() if path.exists() else []) == start - (start == 1)
        rows.add(start + 1, {"mask": 0.25, "score": 0.75})
        rows.write()
    with path.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in read] == [1, 2, 3, 4]
    assert [row["mask"] for row in read] == ["0.5", "0.25"] * 2
    assert [row["score"] for row in read] == ["", "0.75"] * 2
    assert all(float(row["seconds"]) >= 0 for row in read)


def test_rows_dont_wait_for_the_end(tmp_path):
    rows = LogRows(tmp_path / "log.csv")
    for iteration in range(25):
        rows.add(iteration, {"mask": 1.0})
    assert len((tmp_path / "log.csv").read_text().splitlines()) > 10
