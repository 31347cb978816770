"""Images that are worked on one after the other: how far each is, and which is next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from napari_sam.session.library import KeptSession

ImageProgress = Literal["untouched", "begun", "done"]
"""How far an image is: nothing was done on it, something was, or its user says that is all."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a list.

    Parameters
    ----------
    path
        Its file.
    progress
        How far it is.
    objects
        How many objects its session has.
    session
        The kept session that it goes on with; None if there is none.
    changed
        When that was last changed, in seconds since 1970.
    """

    path: Path
    progress: ImageProgress = "untouched"
    objects: int = 0
    session: Path | None = None
    changed: float = 0.0

    def after(self, kept: KeptSession) -> ListedImage:
        """Return the image with the session that it goes on with."""
        progress: ImageProgress = "untouched"
        if kept.is_done or kept.entries:
            progress = "done" if kept.is_done else "begun"
        return ListedImage(self.path, progress, kept.objects, kept.path, kept.changed)


@dataclass(frozen=True, slots=True)
class ImageList:
    """Images in the order in which they are worked on, each with a session of its own.

    Parameters
    ----------
    images
        The images.
    at
        Index of the one that is open; None before any is.
    """

    images: tuple[ListedImage, ...] = ()
    at: int | None = None

    @property
    def current(self) -> ListedImage | None:
        """The image that is open."""
        return None if self.at is None else self.images[self.at]

    @property
    def counts(self) -> Mapping[ImageProgress, int]:
        """How many images are untouched, begun and done."""
        progress = [image.progress for image in self.images]
        return {each: progress.count(each) for each in get_args(ImageProgress)}

    @property
    def resumed(self) -> int | None:
        """Index of the image to go on with: begun and changed last, or else the first to begin.

        None where all are done.
        """
        open_ones = [i for i, image in enumerate(self.images) if image.progress != "done"]
        begun = [i for i in open_ones if self.images[i].progress == "begun"]
        if begun:
            return max(begun, key=lambda i: self.images[i].changed)
        return open_ones[0] if open_ones else None

    def stepped(self, step: int) -> int:
        """Return the index of the image so many after the open one, or before it.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.at is None or not 0 <= self.at + step < len(self.images):
            which = "after" if step > 0 else "before"
            raise ValueError(
                f"expected an image {which} this one, got the {'last' if step > 0 else 'first'} "
                f"of {len(self.images)}; open another folder or list"
                if self.images
                else "expected a list of images, got none; open a folder under Images in the dock"
            )
        return self.at + step

    def going_to(self, index: int) -> ImageList:
        """Return the list with another image open."""
        return replace(self, at=index)

    def with_image(self, index: int, image: ListedImage) -> ImageList:
        """Return the list with what is known of one of its images now."""
        if image == self.images[index]:
            return self
        return replace(self, images=(*self.images[:index], image, *self.images[index + 1 :]))


def list_images(paths: Iterable[Path], kept: Iterable[KeptSession]) -> ImageList:
    """Make a list of images, each with the session of it that was changed last.

    Parameters
    ----------
    paths
        Files of images.
    kept
        The library's sessions. They are found by where their image lay; one that was moved since
        is found by its content when it is opened.
    """
    newest: dict[Path, KeptSession] = {}
    for one in kept:
        if one.source and not one.error:
            place = _place(Path(one.source))
            if place not in newest or newest[place].changed < one.changed:
                newest[place] = one
    images = []
    for path in paths:
        session = newest.get(_place(path))
        image = ListedImage(path)
        images.append(image if session is None else image.after(session))
    return ImageList(tuple(images))


def _place(path: Path) -> Path:
    try:
        return path.resolve()
    except OSError:  # a loop of links
        return path.absolute()
