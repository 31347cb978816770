"""The 3-D view of an object that was followed, and back; without a window."""

from types import SimpleNamespace

import numpy as np
import pytest
from component_segmenter import ComponentSegmenter, disks
from napari.components import ViewerModel

from napari_sam.gui.follow import Follow
from napari_sam.session import ArrayCanvas, ArraySource, Session

SHAPE, NUCLEUS = (60, 80), (25, 30, 9)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def annotation(viewer):
    """A nucleus that lives on planes 2 to 9 of a stack, followed, with voxels twice as deep."""
    stack = np.stack([disks(SHAPE, *([NUCLEUS] if 2 <= z <= 9 else [])) for z in range(12)])
    source = ArraySource(stack, contrast_limits=(0, 255))
    canvas = ArrayCanvas(np.zeros(stack.shape, np.int32))
    session = Session(ComponentSegmenter(), source, canvas=canvas)
    session.add_point(4, NUCLEUS[:2])
    session.propagate()
    image = viewer.add_image(stack, scale=(2, 1, 1))
    return SimpleNamespace(image=image, session=session, click_here=lambda: None)


def test_object_is_brought_into_the_3d_view_and_the_slice_comes_back(viewer, annotation):
    follow = Follow(viewer)
    viewer.dims.set_current_step(0, 7)
    camera = viewer.scene.camera
    camera.center, camera.zoom = (0, 20, 25), 3.0
    follow.toggle_3d(annotation)
    assert follow.is_3d
    np.testing.assert_allclose(camera.center, (2 * (2 + 9) / 2, 25, 30))
    angles = camera.angles
    camera.angles = (20, 10, 80)
    follow.toggle_3d(annotation)
    assert not follow.is_3d
    assert viewer.dims.current_step[0] == 7
    assert (tuple(camera.center)[-2:], camera.zoom) == ((20, 25), 3.0)
    follow.toggle_3d(annotation)
    assert camera.angles == (20, 10, 80) != angles
