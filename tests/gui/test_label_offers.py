"""Labels of other programs that are offered as masks; without a viewer."""

import numpy as np
import pytest
from core.fake_segmenter import disk
from napari.layers import Image, Labels

from napari_sam.gui.label_offers import find_offer, labels_of, resembles_labels
from napari_sam.gui.layers import note_masks

SHAPE = (60, 80)
PLANE = (None, None)


@pytest.fixture
def nuclei():
    labels = np.zeros(SHAPE, np.uint16)
    for n, at in enumerate([(15, 15), (15, 40), (40, 20), (40, 60)], 1):
        labels[disk(SHAPE, at, 9)] = n
    return labels


@pytest.fixture
def image(rng):
    return Image(rng.integers(0, 255, SHAPE, np.uint8), name="cells")


def offered(layers, image, masks=None, declined=()):
    offer = find_offer(layers, image, PLANE, masks, lambda layer: layer in declined)
    return None if offer is None else offer.layer


def test_labels_are_distinguished_from_intensities(nuclei, rng):
    assert resembles_labels(nuclei)
    assert not resembles_labels(rng.integers(0, 255, SHAPE, np.uint8))
    shaded = (nuclei > 0) * rng.integers(100, 140, SHAPE)  # bright objects on black
    assert not resembles_labels(shaded)
    assert not resembles_labels((nuclei > 0) * 255)  # one number only
    assert not resembles_labels(nuclei.astype(int) - 1)
    assert not resembles_labels(np.zeros(SHAPE, int))


def test_image_of_labels_is_offered_until_it_is_declined(nuclei, image):
    masks = Image(nuclei, name="cells_masks")
    assert offered([image, masks], image) is masks
    assert offered([image, masks], image, declined=[masks]) is None
    assert offered([image, Image(nuclei[:, :-1])], image) is None
    assert offered([image, Image(nuclei, scale=(2, 2))], image) is None
    assert offered([image, Image(nuclei.astype(float))], image) is None


def test_image_of_labels_that_was_opened_last_is_offered_for_the_one_below(nuclei, image):
    masks = Image(nuclei, name="cells_masks")
    offer = find_offer([image, masks], masks, PLANE, None, lambda layer: False)
    assert (offer.layer, offer.image) == (masks, image)
    assert find_offer([masks], masks, PLANE, None, lambda layer: False) is None


def test_labels_that_fit_are_offered_but_not_our_own(nuclei, image):
    theirs, small, ours = Labels(nuclei), Labels(nuclei[:5]), Labels(nuclei.copy())
    note_masks(ours, image)
    assert offered([image, small, ours], image) is None
    assert offered([image, theirs, ours], image) is theirs
    assert offered([image, theirs], image, masks=theirs) is None


def test_labels_made_of_an_image_lie_on_it_with_pixels_of_their_own(nuclei):
    image = Image(nuclei, name="cells_masks", scale=(0.5, 0.5), translate=(3, 4))
    labels = labels_of(image)
    np.testing.assert_array_equal(labels.data, nuclei)
    labels.data[0, 0] = 9
    assert nuclei[0, 0] == 0
    assert (labels.name, labels.scale.tolist()) == ("cells_masks", [0.5, 0.5])
