"""What was saved from the viewer is opened again and continued from."""

import numpy as np
import pytest
from napari.layers import Image, Points, Shapes

from napari_sam.gui.saved_layers import SavedLayers, find_saved, read_saved

SHAPE = (4, 60, 80)
IMAGE = Image(np.zeros(SHAPE, np.uint8), name="cells", scale=(2, 0.5, 0.5))
AXES = (None, None)


def table(objects, candidates=None, boxes="", displayed="rows 1 columns 2"):
    count = len(objects)
    return {
        "label": ["positive"] * count,
        "object": objects,
        "id": list(range(1, count + 1)),
        "displayed": [displayed] * count,
        "candidate": candidates or [""] * count,
        "boxes": [boxes] * count,
    }


def clicks(places, objects, **options):
    return Points(places, features=table(objects, **options), name="p")


def rectangle(plane, r0, c0, r1, c1):
    return [(plane, r0, c0), (plane, r0, c1), (plane, r1, c1), (plane, r1, c0)]


def read(points=None, shapes=None, taken=(), highest=0):
    return read_saved(SavedLayers(points, shapes), IMAGE, taken, highest)


def test_coordinates_of_a_file_are_pixels_whatever_the_size_of_one():
    given = read(clicks([(1, 20, 30), (2, 5, 6)], [3, 3], candidates=["1", ""]))
    plane, other = (1, *AXES), (2, *AXES)
    assert given.prompts[3, plane].points.tolist() == [[20, 30]]
    assert given.prompts[3, other].points.tolist() == [[5, 6]]
    assert given.candidates == {(3, plane): 1}


def test_layer_that_lies_on_the_image_is_read_where_it_lies():
    layer = clicks([(1, 20, 30)], [3])
    layer.scale, layer.translate = (1, 1, 1), (0, 2, 2)
    ((_, plane),) = read(layer).prompts
    assert plane == (0, *AXES)


def test_plane_of_another_view_is_found_again():
    given = read(clicks([(3, 20, 30)], [1], displayed="rows 0 columns 2"))
    assert given.prompts[1, (None, 20, None)].points.tolist() == [[3, 30]]


def test_boxes_without_features_are_those_that_the_clicks_record():
    points = clicks([(1, 20, 30)], [1], boxes="objects 1 4")
    boxes = Shapes([rectangle(1, 5, 5, 15, 15), rectangle(2, 8, 9, 20, 30)], name="s")
    found = find_saved([IMAGE, points, boxes], IMAGE, [])
    assert found == SavedLayers(points, boxes)
    given = read(points, boxes)
    assert given.prompts[1, (1, *AXES)].box == (5, 5, 15, 15)
    assert given.prompts[4, (2, *AXES)].box == (8, 9, 20, 30)
    assert given.summary.startswith(
        "continued with 1 click and 2 boxes of 2 objects from 'p' and 's'"
    )


def test_objects_are_numbered_on_only_where_one_is_in_use():
    points = clicks([(1, 20, 30), (1, 40, 50)], [2, 5])
    assert {key[0] for key in read(points, taken=[1, 3], highest=3).prompts} == {2, 5}
    given = read(points, taken=[5], highest=7)
    assert {key[0] for key in given.prompts} == {9, 12}
    assert "numbered from 9 on" in given.summary


def test_numbers_that_napari_made_of_words_are_understood():
    points = clicks([(1, 20, 30)], np.array([2.0]), candidates=np.array([1.0]))
    assert read(points).candidates == {(2, (1, *AXES)): 1}


def test_what_is_no_prompt_is_left_out_and_reported():
    points = clicks([(1, 20, 30), (1, 400, 3), (1, 5, 5)], [1, 1, 0])
    assert read(points).summary.endswith(
        "left out: 1 outside the image, 1 that don't say their object or plane"
    )
    with pytest.raises(ValueError, match="clicks or boxes on 'cells' in 'p', got none"):
        read(clicks([(1, 400, 30)], [1]))


def test_layers_of_other_kinds_are_not_offered():
    plain, flat = Points([(1, 2, 3)]), Points([(2, 3)], features=table([1]))
    drawn, ours = Shapes([rectangle(1, 5, 5, 15, 15)]), clicks([(1, 2, 3)], [1])
    assert find_saved([IMAGE, plain, flat, drawn], IMAGE, []) is None
    assert find_saved([IMAGE, ours], IMAGE, [ours]) is None
    assert find_saved([IMAGE, ours], IMAGE, [], [ours]) is None
    assert find_saved([IMAGE, ours, drawn], IMAGE, []) == SavedLayers(ours, None)


def test_prompts_saved_by_napari_are_opened_and_continued(user, tmp_path, rng):
    data = rng.integers(0, 255, SHAPE, np.uint8)
    me = user(data, scale=(2, 0.5, 0.5))
    me.scroll_to(1)
    me.annotation.click_here()
    me.click((1, 15, 20))
    me.session.next_candidate(1)
    me.session.new_object()
    me.click((1, 40, 60))
    me.annotation.draw_box()
    me.session.new_object()
    me.drag((1, 42, 12), (1, 54, 28))
    me.settle(700)
    assert len(me.session.prompts.boxes) == 1
    before, labels = me.session.prompts.by_key(), me.labels.copy()
    me.annotation.points.save(str(tmp_path / "clicks.csv"))
    me.annotation.shapes.layer.save(str(tmp_path / "boxes.csv"))
    me.controller.choose_image(me.viewer.add_image(data, scale=(2, 0.5, 0.5), name="again"))
    me.settle(100)
    opened = me.viewer.open([tmp_path / "clicks.csv", tmp_path / "boxes.csv"])
    assert me.annotation.image.name == "again"
    me.settle(100)
    section = me.dock.prompts
    assert section.go_on.isVisibleTo(section)
    assert section.saved.text() == "Prompts of an earlier session in 'clicks' and 'boxes'"
    section.go_on.click()
    me.settle(200)
    after = me.session.prompts.by_key()
    assert {key: (g.prompts.box, g.candidate) for key, g in after.items()} == {
        key: (g.prompts.box, g.candidate) for key, g in before.items()
    }
    for key, group in after.items():
        np.testing.assert_allclose(group.prompts.points, before[key].prompts.points)
    np.testing.assert_array_equal(me.labels, labels)
    assert section.shown.saved is None, [x.name for x in section.shown.saved.layers]
    assert not section.go_on.isVisibleTo(section)
    assert [layer.visible for layer in opened] == [False, False]
    me.session.undo()
    me.settle(100)
    assert not me.session.prompts.keys
