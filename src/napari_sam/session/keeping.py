"""Recording a session in the library while it is used, and saving it as a file."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_sam.atomic import replaced
from napari_sam.io.session_file import Json, SessionFile
from napari_sam.planes import Plane, PlaneSource
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.entry_records import EntryWriter
from napari_sam.session.journal import JournalChange
from napari_sam.session.mask_rules import MaskRules
from napari_sam.session.recorder import ReadPlane, Recorder, pack_plane

if TYPE_CHECKING:
    from napari_sam.session.interactive import Session

PRIVATE = ("source",)
"""Properties in files of the library that saved files don't have: the path of the image."""

_PACKAGES = ("napari-sam-live", "napari", "numpy", "torch")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The name, the file and the axes of an image, to be stored with a session.

    Parameters
    ----------
    name
        Name of the image, as in a list of layers; of a file without its folders.
    path
        The image's file; None if it has none.
    axes
        Names of the axes.
    pixel_size
        Pixel size along every axis, in `units`.
    units
        Unit of every axis.
    """

    name: str = ""
    path: Path | None = None
    axes: tuple[str, ...] = ()
    pixel_size: tuple[float, ...] = ()
    units: tuple[str, ...] = ()


class Keeping:
    """Records all changes of a session in a file, until :meth:`close`.

    Parameters
    ----------
    session
        The session; new, or restored from `file`.
    file
        The file, which belongs to this object from now on.
    image
        The name, the file and the axes of the image.
    notify
        As for :class:`Recorder`.
    """

    def __init__(
        self,
        session: Session,
        file: SessionFile,
        image: ImageFacts | None = None,
        notify: Callable[[], None] | None = None,
    ) -> None:
        self.recorder = Recorder(file, notify)
        self._session = session
        self._image = image or ImageFacts()
        self._canvas: LabelCanvas | None = None
        self._recorded: dict[str, Json] = {}
        self._kept_models: set[str] = set()
        self._works_with: tuple[object, object] | None = None
        self._last = file.last_number
        is_new = not file.count
        missing = [entry for entry in session.journal.entries if entry.number > self._last]
        self._update_about()
        if is_new:
            self._keep_labels()
        self._canvas = session.canvas
        if missing:
            self._record(JournalChange(tuple(missing)))
        session.journal.changed.connect(self._record)
        session.relabelled.connect(self._keep_others)
        session.journal_changed.connect(self._follow)
        session.object_changed.connect(self._follow)
        session.rules_changed.connect(self._follow)
        session.granularity_changed.connect(self._follow)
        session.model_changed.connect(self._follow)

    def save(self, path: str | Path, timeout: float | None = None) -> None:
        """Save a copy of the session as a file; see :func:`save_session`.

        This waits for the disk, and may be called in any thread.
        """
        target = Path(path)
        about = _shared(self.recorder.about, self._image, target)
        self.recorder.save_to(target, about, PRIVATE, timeout)

    def close(self, timeout: float | None = 10.0) -> bool:
        """Write unwritten changes and stop recording; return whether all are written."""
        session = self._session
        session.journal.changed.disconnect(self._record)
        session.relabelled.disconnect(self._keep_others)
        session.journal_changed.disconnect(self._follow)
        session.object_changed.disconnect(self._follow)
        session.rules_changed.disconnect(self._follow)
        session.granularity_changed.disconnect(self._follow)
        session.model_changed.disconnect(self._follow)
        self._update_about()
        return self.recorder.close(timeout)

    def _record(self, change: JournalChange) -> None:
        if self._session.canvas is not self._canvas:  # it has a mask that the other one refused
            self._keep_labels()
        entries = *change.added, *change.put_back
        self._last = max(self._last, *(entry.number for entry in entries), 0)
        self.recorder.record(change)
        if any(entry.ends_undo for entry in change.added):
            self._keep_labels()

    def _keep_others(self) -> None:
        """Store labels that replaced the stored ones, unless an entry of that did so."""
        if self._session.journal.barrier is None:
            self._keep_labels()

    def _follow(self, *_: object) -> None:
        if self._session.canvas is not self._canvas:
            self._keep_labels()
        self._update_about()

    def _update_about(self) -> None:
        """Record the properties of the session that have changed."""
        session = self._session
        now: dict[str, Json] = {"settings": about_settings(session)}
        if self._works_with != (session.source, session.segmenter):
            self._works_with = session.source, session.segmenter
            now = about_session(session, self._image)
            now |= {"source": where_it_lies(self._image.path)} if self._image.path else {}
            self._keep_models()
        changed = {key: value for key, value in now.items() if self._recorded.get(key) != value}
        if changed:
            self._recorded |= changed
            self.recorder.set_about(changed)

    def _keep_models(self) -> None:
        """Store the files of taught models, before the entries of their masks."""
        for digest, weights in taught_weights(self._session).items():
            if digest not in self._kept_models:
                self._kept_models.add(digest)
                self.recorder.keep_model(digest, weights)

    def _keep_labels(self) -> None:
        """Store labels that are only in memory, before they are changed."""
        canvas = self._canvas = self._session.canvas
        shape_of = self._session.source.plane_shape
        readers: list[tuple[Plane, ReadPlane]] = []
        if canvas is not None and not canvas.is_kept:
            for plane in canvas.planes():
                readers.append((plane, partial(_read_plane, canvas, plane, shape_of)))
        self.recorder.keep_planes(readers, self._last)


def save_session(
    session: Session,
    path: str | Path,
    image: ImageFacts | None = None,
    more: Mapping[str, Json] | None = None,
) -> None:
    """Save a session as one file, to be opened later or by others.

    It contains prompts, chosen candidates, masks, objects, labels that are only in memory, and the
    steps for undo and redo. Of the image's path it contains the file name, and the path relative
    to the session's folder if the image is in that folder.

    Parameters
    ----------
    session
        The session.
    path
        The file, by convention with the suffix ``.napari-sam``; an existing file is replaced.
    image
        The name, the file and the axes of the image.
    more
        Other properties to store, such as the image's ``identity``.

    Raises
    ------
    OSError
        If the file can't be written.
    """
    target, image = Path(path), image or ImageFacts()
    journal, writer = session.journal, EntryWriter()
    aside = [entry for group in journal.undone for entry in group]
    entries = sorted((*journal.entries, *aside), key=lambda entry: entry.number)
    about = _shared(about_session(session, image) | dict(more or {}), image, target)
    with replaced(target) as temporary:
        file = SessionFile.create(temporary, about)
        try:
            for digest, weights in taught_weights(session).items():
                file.put_model(digest, weights)
            file.append([writer.record_of(entry) for entry in entries])
            numbers = [entry.number for entry in aside]
            file.travel(numbers, (), numbers)
            _put_labels(session, file, _barrier(session))
            file.settle()
        finally:
            file.close()


def about_session(session: Session, image: ImageFacts) -> dict[str, Json]:
    """Return the properties of a session that its file stores besides the journal."""
    about: dict[str, Json] = {
        "image": about_image(session.source, image),
        "settings": about_settings(session),
        "versions": {"python": platform.python_version(), **_versions()},
    }
    segmenter = session.segmenter
    if segmenter is not None:
        about["model"] = {
            "name": segmenter.traits.name,
            "key": segmenter.model_key,
            "encoder_key": segmenter.encoder_key,
            "precision": segmenter.precision,
            "device": str(segmenter.device),
        }
    if session.models:
        about["models"] = {key: used.words() for key, used in session.models.items()}
    return about


def taught_weights(session: Session) -> dict[str, bytes]:
    """Return the files of the taught models that a session used, by their digests."""
    return {
        used.card.digest: used.weights
        for used in session.models.values()
        if used.card is not None and used.weights is not None
    }


def about_settings(session: Session) -> dict[str, Json]:
    """Return the settings of a session that its file stores."""
    return {
        "object": session.object_id,
        **MaskRules(session.overlap, session.post_processing).words(),
        "granularity": session.granularity,
        "next_prompt": session.prompts.next_id,
    }


def about_image(source: PlaneSource, image: ImageFacts) -> dict[str, Json]:
    """Return the properties of an image that a session's file stores."""
    first = source.plane_of([0] * (len(source.shape) - 2 - _has_colours(source)))
    about: dict[str, Json] = {
        "name": image.name or (image.path.name if image.path else ""),
        "shape": list(source.shape),
        "spanned": list(source.spanned),
        "channel_axis": source.channel_axis,
        "given": source.describe(first).words(),
    }
    if image.path is not None:
        about["file"] = image.path.name
    for name in ("axes", "pixel_size", "units"):
        if values := getattr(image, name):
            about[name] = [float(v) if name == "pixel_size" else str(v) for v in values]
    return about


def where_it_lies(path: Path) -> dict[str, Json]:
    """Return the path of a file, with its size and time to recognise it."""
    where: dict[str, Json] = {"path": str(path.absolute())}
    try:
        state = path.stat()
    except OSError:
        return where
    return where | {"size": state.st_size, "time": state.st_mtime_ns}


def _has_colours(source: PlaneSource) -> bool:
    return source.channel_axis is not None and source.channel_axis not in source.spanned


def _shared(about: Mapping[str, Json], image: ImageFacts, target: Path) -> dict[str, Json]:
    """Return the properties for a saved file, without folders above its own."""
    shared = {key: value for key, value in about.items() if key not in PRIVATE}
    shared["saved"] = time.time()
    if image.path is not None:
        try:
            below = image.path.resolve().relative_to(target.resolve().parent)
        except ValueError:
            return shared
        shared["image"] = {**shared["image"], "relative_path": below.as_posix()}
    return shared


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # such as napari, on a machine without a display
            continue
    return found


def _barrier(session: Session) -> int:
    numbers = [entry.number for entry in session.journal.entries if entry.ends_undo]
    return numbers[-1] if numbers else 0


def _put_labels(session: Session, file: SessionFile, since: int) -> None:
    """Store labels that are only in memory, as they were before entries changed them."""
    canvas = session.canvas
    file.begin_planes(since)
    if canvas is None or canvas.is_kept:
        return
    for plane in canvas.planes():
        labels = _read_plane(canvas, plane, session.source.plane_shape)
        if (record := pack_plane(since, plane, labels)) is not None:
            file.put_plane(record)


def _read_plane(
    canvas: LabelCanvas, plane: Plane, shape_of: Callable[[Plane], tuple[int, int]]
) -> NDArray[Any]:
    height, width = shape_of(plane)
    return canvas.read(plane, (slice(0, height), slice(0, width)))
