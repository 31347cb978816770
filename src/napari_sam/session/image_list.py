"""The list of images of a user: the progress of each, and which one is next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from napari_sam.session.library import KeptSession

ImageProgress = Literal["untouched", "begun", "done"]
"""The progress of an image: not started, started, or marked as done by the user."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a list.

    Parameters
    ----------
    path
        Its file.
    progress
        Its progress.
    objects
        Number of objects of its session.
    session
        The session in the library with which it is resumed; None if there is none.
    changed
        Time of the last change of the session, in seconds since 1970.
    """

    path: Path
    progress: ImageProgress = "untouched"
    objects: int = 0
    session: Path | None = None
    changed: float = 0.0

    def after(self, kept: KeptSession) -> ListedImage:
        """Return the image with the session with which it is resumed."""
        progress: ImageProgress = "untouched"
        if kept.is_done or kept.entries:
            progress = "done" if kept.is_done else "begun"
        return ListedImage(self.path, progress, kept.objects, kept.path, kept.changed)


@dataclass(frozen=True, slots=True)
class ImageList:
    """Images in the order in which they are annotated, each with a separate session.

    Parameters
    ----------
    images
        The images.
    at
        Index of the image that is open; None if none is.
    """

    images: tuple[ListedImage, ...] = ()
    at: int | None = None

    @property
    def current(self) -> ListedImage | None:
        """The image that is open."""
        return None if self.at is None else self.images[self.at]

    @property
    def counts(self) -> Mapping[ImageProgress, int]:
        """The number of images of each progress."""
        progress = [image.progress for image in self.images]
        return {each: progress.count(each) for each in get_args(ImageProgress)}

    @property
    def resumed(self) -> int | None:
        """Index of the image to resume: the started one changed last, or else the first not done.

        None if all are done.
        """
        open_ones = [i for i, image in enumerate(self.images) if image.progress != "done"]
        begun = [i for i in open_ones if self.images[i].progress == "begun"]
        if begun:
            return max(begun, key=lambda i: self.images[i].changed)
        return open_ones[0] if open_ones else None

    def stepped(self, step: int) -> int:
        """Return the index of the image `step` places after the open one.

        Raises
        ------
        ValueError
            If there is no such image.
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
        """Return the list with one of its images replaced."""
        if image == self.images[index]:
            return self
        return replace(self, images=(*self.images[:index], image, *self.images[index + 1 :]))


def list_images(paths: Iterable[Path], kept: Iterable[KeptSession]) -> ImageList:
    """Return a list of images, each with its most recently changed session.

    Parameters
    ----------
    paths
        Files of images.
    kept
        The library's sessions, matched by the path of their image. The session of an image that
        was moved since is found when the image is opened.
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
