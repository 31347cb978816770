"""Images that are worked on one after the other, as far as the library knows them."""

from pathlib import Path

import numpy as np
import pytest

from napari_sam.session.image_identity import ImageContent
from napari_sam.session.image_list import ImageList, ListedImage, list_images
from napari_sam.session.library import KeptSession, Library


def kept(name, source, changed=1.0, entries=3, objects=2, is_done=False, error=""):
    path = Path(f"/kept/{name}.napari-sam")
    reported = path, name, changed, entries, objects, 100
    return KeptSession(*reported, error=error, source=str(source), is_done=is_done)


def progress_of(images):
    return [image.progress for image in images.images]


def test_image_goes_on_with_the_session_changed_last(tmp_path):
    paths = [tmp_path / name for name in ("a.tif", "b.tif", "c.tif")]
    images = list_images(
        paths,
        [
            kept("old", paths[0], changed=1, is_done=True),
            kept("new", paths[0], changed=2, objects=5),
            kept("other", tmp_path / "elsewhere" / "b.tif"),
            kept("empty", paths[2], entries=0, objects=0, is_done=True),
        ],
    )
    assert progress_of(images) == ["begun", "untouched", "done"]
    assert images.images[0].objects == 5
    assert [x.session and x.session.stem for x in images.images] == ["new", None, "empty"]
    assert images.counts == {"untouched": 1, "begun": 1, "done": 1}


def test_damaged_session_counts_for_nothing(tmp_path):
    (image,) = list_images([tmp_path / "a.tif"], [kept("x", tmp_path / "a.tif", error="no")]).images
    assert image.session is None


def test_list_goes_on_with_what_was_begun_last():
    def of(*states):
        return ImageList(tuple(ListedImage(Path(s), s, changed=i) for i, s in enumerate(states)))

    assert of("done", "begun", "untouched", "begun", "done").resumed == 3
    assert of("done", "untouched", "untouched").resumed == 1
    assert of("done", "done").resumed is None


def test_steps_end_with_the_list():
    images = ImageList((ListedImage(Path("a")), ListedImage(Path("b")))).going_to(0)
    assert images.stepped(1) == 1
    with pytest.raises(ValueError, match="got the first of 2"):
        images.stepped(-1)
    with pytest.raises(ValueError, match="got the last of 2"):
        images.going_to(1).stepped(1)
    with pytest.raises(ValueError, match="expected a list of images, got none"):
        ImageList().stepped(1)


def test_library_knows_where_an_image_lay_and_that_it_is_done(tmp_path):
    library = Library(tmp_path / "library")
    image = tmp_path / "cells.tif"
    image.write_bytes(b"x")
    content = ImageContent(np.eye(4), layer="cells", path=image)
    file = library.begin(content.identity())
    file.set_about({"done": True})
    file.close()
    (listed,) = list_images([image], library.sessions()).images
    assert (listed.progress, listed.session, listed.objects) == ("done", file.path, 0)
    assert listed.session is not None
    assert library.describe(listed.session).is_done
