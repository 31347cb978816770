"""What the model sees of a plane: the very picture that its encoder is given."""

import numpy as np
import pytest
from core.fake_segmenter import FakeSegmenter
from small_models import HYBRID, VIT, segmenter

from napari_sam.image import resize_pixels
from napari_sam.planes import ArraySource
from napari_sam.prompts import Prompts
from napari_sam.segmentation.encoder_input import encoder_input
from napari_sam.segmentation.tiled import TiledSegmenter
from napari_sam.session import Session
from napari_sam.session.seen import seen_of


class Encoder:
    """Notes what the encoder is given."""

    def __init__(self, inner):
        self.inner, self.given = inner, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def embed_pixels(self, pixels, frame=None, progress=None):
        embedding = self.inner.embed_pixels(pixels, frame, progress)
        self.given.append((embedding.frame, resize_pixels(pixels, embedding.frame.scaled)))
        return embedding


@pytest.mark.parametrize(("shape", "config"), [((90, 70), HYBRID), ((300, 250), VIT)])
def test_picture_is_what_the_encoder_is_given_for_a_click(rng, shape, config):
    encoder = Encoder(segmenter(config))
    tiled = TiledSegmenter(encoder, rescale=False)
    plane = rng.integers(0, 4000, shape, np.uint16)
    place = (shape[0] * 0.8, shape[1] * 0.8)
    embedding = tiled.embed(plane, (100, 3000))
    shown = encoder_input(embedding, plane, (100, 3000), place)
    tiled.decode(embedding, Prompts([place], [1]))
    given = [pixels for frame, pixels in encoder.given if frame == shown.frame]
    if given:
        np.testing.assert_array_equal(shown.pixels, given[0])
    else:  # a plane in one piece is encoded by the network itself
        assert shown.frame.is_whole
        assert shown.pixels.shape[:2] == shown.frame.scaled
    assert shown.frame.region[0].start <= place[0] < shown.frame.region[0].stop


def test_tile_is_named_where_there_are_several(rng):
    tiled = TiledSegmenter(segmenter(VIT), rescale=False)
    side = tiled.tile
    plane = rng.integers(0, 255, (2 * side, 2 * side), np.uint8)
    shown = encoder_input(tiled.embed(plane), None, None, (2 * side - 1, 2 * side - 1))
    assert shown.tiles > 1
    assert shown.tile == shown.tiles
    assert not shown.frame.is_whole


def test_embedding_in_one_piece_needs_its_plane():
    small = segmenter(VIT)
    embedding = small.embed(np.zeros((20, 30), np.uint8))
    with pytest.raises(ValueError, match="expected the plane of shape"):
        encoder_input(embedding, None, None, (3, 3))


def test_facts_state_contrast_part_and_scale(rng):
    source = ArraySource(rng.integers(0, 4000, (60, 80), np.uint16), contrast_limits=(100, 3000))
    session = Session(segmenter(VIT), source)
    session.show(())
    plane = source.plane_of(())
    embedding = session.embeddings.get(plane)
    given = session.embeddings.input_of(embedding)
    seen = seen_of(embedding, given, source, plane, (10, 10), lambda fraction: None)
    contrast, part, scale = seen.facts
    assert contrast == "contrast: 100 to 3000"
    assert part == "the whole plane"
    assert scale.startswith("60 × 80 pixels as ")


def test_masks_of_another_contrast_are_reported_until_the_next_prompt(rng):
    data = rng.integers(0, 255, (40, 50), np.uint8)
    session = Session(FakeSegmenter(), ArraySource(data, contrast_limits=(0, 255)))
    session.add_point((), (10, 10))
    session.add_point((), (30, 30), object_id=2)
    assert session.made_of_other_input(()) == ()
    session.source = ArraySource(data, contrast_limits=(0, 100))
    session.show(())
    assert session.made_of_other_input(()) == (1, 2)
    session.add_point((), (12, 10), object_id=1)
    assert session.made_of_other_input(()) == (2,)
