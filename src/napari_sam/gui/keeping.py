"""The files of sessions: found again for an image, resumed, kept up to date, saved, exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.gui.exchange import export_chore, import_file
from napari_sam.gui.placement import finest
from napari_sam.gui.planes import source_of
from napari_sam.gui.wording import object_count_text, time_text
from napari_sam.io.session_file import SUFFIX, SessionFile
from napari_sam.planes import PlaneSource
from napari_sam.session.image_identity import ImageContent, read_identity
from napari_sam.session.keeping import ImageFacts, Keeping, about_session, save_session
from napari_sam.session.library import KeptSession, Library
from napari_sam.session.methods import methods_text
from napari_sam.session.saved import SavedSession, read_session

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation
    from napari_sam.gui.controller import Controller


@dataclass(frozen=True, slots=True)
class Question:
    """A question in the dock that a user answers when it suits them.

    Parameters
    ----------
    text
        The question.
    yes, no
        Texts of the two buttons.
    yes_tip, no_tip
        Tooltips of the buttons.
    """

    text: str = ""
    yes: str = ""
    no: str = ""
    yes_tip: str = ""
    no_tip: str = ""


@dataclass(slots=True, eq=False)
class _Record:
    """The earlier session found for an annotation, and the file that keeps the present one."""

    annotation: Annotation
    found: KeptSession | None = None
    keeping: Keeping | None = None
    is_busy: bool = False  # a file is being made or opened
    has_warned: bool = False  # that no file can be made
    is_done: bool = False  # as marked by the user
    goes_on: bool = False  # with an earlier session: none has to be offered any more

    @property
    def facts(self) -> ImageFacts:
        return facts_of(self.annotation.image)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has happened yet."""
        session = self.annotation.session
        return self.keeping is None and not len(session.journal) and not session.can_redo


class SessionFiles:
    """The files of a viewer's sessions: one for each image with prompts, masks or other changes.

    Slow work runs as a chore of the executor.

    Parameters
    ----------
    controller
        The images and their annotations.
    executor
        Runs the search, reading and writing of files.
    notify
        Called on any thread when :meth:`drain` has errors to report.
    library
        The folder of sessions; in the user's data folder by default.

    Attributes
    ----------
    changed
        Signal: the question, the list of sessions, the text for a paper or the work in progress
        changed.
    kept
        The sessions in the library, as of the last :meth:`list_sessions`.
    busy
        What is being done with a file, such as ``Saving cells.napari-sam…``; empty if nothing.
    methods
        The paragraph for a paper that :meth:`write_methods` wrote; empty before.
    """

    changed = Signal()

    def __init__(
        self,
        controller: Controller,
        executor: Executor,
        notify: Callable[[], None],
        library: Library | None = None,
    ) -> None:
        self._controller = controller
        self._executor = executor
        self._notify = notify
        self._library = library or Library()
        self._records: dict[int, _Record] = {}
        self.kept: tuple[KeptSession, ...] = ()
        self.busy = ""
        self.methods = ""

    # What the dock shows

    @property
    def path(self) -> Path | None:
        """The file that keeps the chosen image's session; None before anything was done."""
        record = self._record
        return record.keeping.recorder.path if record and record.keeping else None

    @property
    def library(self) -> Library:
        """The folder of sessions."""
        return self._library

    @property
    def is_done(self) -> bool:
        """Whether the user has marked the chosen image as done."""
        record = self._record
        return record is not None and record.is_done

    @property
    def found(self) -> KeptSession | None:
        """An unfinished session of the chosen image that can be resumed; None if there is none."""
        record = self._record
        return record.found if record else None

    @property
    def question(self) -> Question | None:
        """The question whether to resume a session of the chosen image; None if there is none."""
        return question_of(self.found) if self.found else None

    @property
    def proposed_name(self) -> str:
        """A name for the file to save to, made from the image's name."""
        image = self._controller.image
        return f"{Path(image.name).stem if image else 'session'}{SUFFIX}"

    # What a user can do

    def answer(self, yes: bool) -> None:
        """Resume the unfinished session of the chosen image, or leave it where it is."""
        record = self._record
        if record is None or record.found is None:
            return
        found, record.found = record.found, None
        if yes:
            self.open(found.path)
        self.changed.emit()

    def open(self, path: Path) -> None:
        """Resume a session on the image of the viewer that it was made on.

        What was done before on that image stays in its layers, and in its file.
        """
        chosen = self._controller.image
        images = sorted(self._controller.images(), key=lambda image: image is not chosen)
        candidates = [one for image in images if (one := _candidate(image)) is not None]
        self._run(
            f"Opening {path.name}…",
            partial(_take, self._library, path, candidates),
            self._opened,
        )

    def save(self, path: Path) -> None:
        """Write the session of the chosen image to a file; an existing file is replaced."""
        record = self._record
        if record is None:
            raise ValueError("expected an image whose session to save, got none; choose one")
        target = path if path.suffix else path.with_suffix(SUFFIX)
        keeping = record.keeping
        if keeping is None:  # the library can't be written to: save from memory, on this thread
            save_session(record.annotation.session, target, record.facts)
            return
        self._run(
            f"Saving {target.name}…",
            lambda report: keeping.save(target),
            partial(self._saved, target),
        )

    def export(self, to: str, path: Path, only_accepted: bool = False) -> None:
        """Write the objects of the chosen image in a format; an existing file is replaced.

        Parameters
        ----------
        to, path
            The format, one of :data:`~napari_sam.io.exports.FORMATS`, and its file.
        only_accepted
            Whether objects that are only proposed are left out.
        """
        from napari_sam.io.exports import check_target, format_of

        record = self._record
        if record is None or record.keeping is None:
            raise ValueError("expected an image with objects to export, got none; choose one")
        form = format_of(to)
        target = path if path.suffix or not form.suffixes else path.with_suffix(form.suffixes[0])
        check_target(form, target, overwrite=True)
        annotation = record.annotation
        write = export_chore(
            record.keeping.save, annotation.session, annotation.image, form, target, only_accepted
        )
        self._run(f"Exporting {target.name}…", write, partial(self._exported, target))

    def bring(self, path: Path) -> None:
        """Write objects of a file into the labels of the chosen image."""
        record = self._record
        if record is None:
            raise ValueError(
                f"expected the image that the objects in {path.name} are of, got none; open it"
            )
        import_file(record.annotation.session, record.annotation.image, path)

    def mark_done(self, done: bool) -> None:
        """Record in the session of the chosen image whether the image is done.

        Raises
        ------
        ValueError
            If no image is chosen.
        """
        record = self._record
        if record is None:
            raise ValueError("expected an image to mark as done, got none; choose one")
        record.is_done = done
        if record.keeping is not None:
            record.keeping.recorder.set_about({"done": done})
        elif done:  # an image without objects can be done too
            self._make_file(record)
        self.changed.emit()

    def write_methods(self) -> None:
        """Write a paragraph for a paper about the session of the chosen image."""
        record = self._record
        if record is not None:
            session = record.annotation.session
            about = about_session(session, record.facts)
            self.methods = methods_text(about, session.journal.entries)
            self.changed.emit()

    def remove(self, path: Path) -> None:
        """Delete a session in the library for good."""
        for record in self._records.values():
            if record.found is not None and record.found.path == path:
                record.found = None
        self._executor.chore(
            ("remove session", path), lambda report: self._library.remove(path), self._removed
        )

    def list_sessions(self) -> None:
        """Read which sessions are in the library, in the background."""
        self._executor.chore(
            ("kept sessions", self),
            lambda report: tuple(self._library.sessions()),
            self._listed,
            awaited=False,
        )

    # Lifetime

    def begin(self, annotation: Annotation) -> None:
        """Keep a session in a file from now on, and search for an earlier one to resume."""
        record = self._records[id(annotation)] = _Record(annotation)
        annotation.session.journal_changed.connect(self._keep_all)
        self._executor.chore(
            ("unfinished session", record),
            partial(_find, self._library, content_of(annotation.image)),
            partial(self._found, record),
            awaited=False,
        )

    def end(self, annotation: Annotation) -> None:
        """Close the file of a session that is over."""
        record = self._records.pop(id(annotation), None)
        if record is None:
            return
        annotation.session.journal_changed.disconnect(self._keep_all)
        if record.keeping is not None:
            record.keeping.close()

    @property
    def is_making_file(self) -> bool:
        """Whether a file is being made or opened for the chosen image's session."""
        record = self._record
        return record is not None and record.is_busy

    def flusher(self, timeout: float) -> Callable[[], None]:
        """Return a function that waits until all that was done on the image is in its file.

        It may be called on any thread, and raises OSError if that takes over `timeout` seconds.

        Raises
        ------
        OSError
            If something was done on the image, but no file could be made for it.
        """
        record = self._record
        keeping = record.keeping if record else None
        if record is not None and keeping is None and not record.is_fresh:
            raise OSError(
                f"expected what was done on '{record.annotation.image.name}' to be kept in "
                f"{self._library.folder}, which can't be written to; save the session elsewhere "
                "and remove the image yourself"
            )

        def flush() -> None:
            if keeping is not None and not keeping.recorder.flush(timeout):
                raise OSError(
                    f"expected to write {keeping.recorder.path} in {timeout:.0f} s, got "
                    f"{keeping.recorder.error or 'a slow disk'}; the image stays open: save its "
                    "session elsewhere"
                )

        return flush

    def drain(self) -> None:
        """Report errors that occurred while files were written."""
        for record in list(self._records.values()):
            if record.keeping is not None:
                record.keeping.recorder.drain()

    def close(self) -> None:
        """Close every file."""
        for record in list(self._records.values()):
            self.end(record.annotation)

    # Chores and their results

    @property
    def _record(self) -> _Record | None:
        annotation = self._controller.annotation
        return self._records.get(id(annotation)) if annotation is not None else None

    def _run(
        self,
        description: str,
        task: Callable[[Report], object],
        done: Callable[[Outcome], None],
    ) -> None:
        self.busy = description

        def ended(outcome: Outcome) -> None:
            self.busy = ""
            if outcome.error is not None and not outcome.cancelled:
                self._refuse(outcome.error)
            elif outcome.error is None:
                try:
                    done(outcome)
                except (ValueError, OSError, MemoryError) as error:
                    self._refuse(error)
            self.changed.emit()

        self._executor.chore(("session file", self), task, ended)
        self.changed.emit()

    def _found(self, record: _Record, outcome: Outcome) -> None:
        if outcome.cancelled or record.goes_on or not self._is_known(record):
            return
        if outcome.error is not None:
            self._refuse(outcome.error)
        else:
            record.found = next(iter(outcome.value), None)
            self.changed.emit()

    def _is_known(self, record: _Record) -> bool:
        return self._records.get(id(record.annotation)) is record

    def _keep_all(self) -> None:
        """Make a file for every session in which something has happened."""
        for record in self._records.values():
            if not record.is_fresh:
                self._make_file(record)

    def _make_file(self, record: _Record) -> None:
        """Make the file that a session is kept in, if it has none yet."""
        if record.keeping is not None or record.is_busy:
            return
        record.is_busy = True
        self._executor.chore(
            ("new session", record),
            partial(_begin, self._library, content_of(record.annotation.image)),
            partial(self._made, record),
        )

    def _made(self, record: _Record, outcome: Outcome) -> None:
        record.is_busy = False
        if outcome.error is None:
            self._record_into(record, outcome.value)
        elif not outcome.cancelled and not record.has_warned:
            record.has_warned = True
            self._refuse(outcome.error)

    def _record_into(self, record: _Record, file: SessionFile) -> None:
        session = record.annotation.session
        record.keeping = Keeping(session, file, record.facts, self._notify)
        record.keeping.recorder.failed.connect(self._refuse)
        if record.is_done:
            record.keeping.recorder.set_about({"done": True})
        if not self._is_known(record):  # its image was closed meanwhile
            record.keeping.close()
        self.changed.emit()

    def _opened(self, outcome: Outcome) -> None:
        image, saved, file = outcome.value
        try:
            record = self._fresh_record(image)
            record.is_busy = True
            try:
                record.annotation.session.restore(saved)
            finally:
                record.is_busy = False
        except BaseException:
            file.close()
            raise
        record.found, record.goes_on = None, True
        record.is_done = file.about.get("done") is True
        self._record_into(record, file)
        record.annotation.click_here()
        self._report_other_model(saved)

    def _fresh_record(self, image: Image) -> _Record:
        """Choose an image, with a session in which nothing has happened yet."""
        controller = self._controller
        controller.choose_image(image)
        record = self._record
        if record is not None and not record.is_fresh:
            controller.begin_anew()
            record = self._record
        if record is None:
            raise ValueError(f"expected '{image.name}' to be chosen, got none; choose it again")
        self._executor.cancel(("unfinished session", record))
        return record

    def _report_other_model(self, saved: SavedSession) -> None:
        recorded, segmenter = saved.about.get("model"), self._controller.segmenter
        if not isinstance(recorded, dict) or segmenter is None:
            return
        if recorded.get("key") == segmenter.model_key:
            return
        used = saved.model
        if used is not None and used.card is not None and self._controller.use_model_of(used):
            self._controller.noticed.emit(
                f"The session was made with {used.name}, which came with it and is in the list of "
                "models; it answers the next prompts as soon as it is loaded"
            )
            return
        self._controller.noticed.emit(
            f"The session was made with {recorded.get('name')}; its masks stay as they are, "
            f"the next prompts are answered by {self._controller.model}"
        )

    def _saved(self, target: Path, outcome: Outcome) -> None:
        self._controller.noticed.emit(f"Session saved to {target}")

    def _exported(self, target: Path, outcome: Outcome) -> None:
        self._controller.noticed.emit(f"Objects exported to {target}")

    def _refuse(self, error: Exception) -> None:
        self._controller.refused.emit(error)

    def _removed(self, outcome: Outcome) -> None:
        if outcome.error is not None and not outcome.cancelled:
            self._refuse(outcome.error)
        self.list_sessions()

    def _listed(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self.kept = outcome.value
            self.changed.emit()
        elif not outcome.cancelled:
            self._refuse(outcome.error)


def facts_of(image: Image) -> ImageFacts:
    """Return what a session file records of an image layer."""
    path = image.source.path
    return ImageFacts(
        image.name,
        Path(path) if path else None,
        tuple(image.axis_labels),
        tuple(float(x) for x in image.scale),
        tuple(str(unit) for unit in image.units),
    )


def content_of(image: Image) -> ImageContent:
    """Return what an image layer is recognised by: its data, name and path."""
    path = image.source.path
    return ImageContent(finest(image), image.rgb, image.name, Path(path) if path else None)


def question_of(found: KeptSession) -> Question:
    """Return the question whether to resume a session, with its contents and last change."""
    last = f" · last: “{found.last}”" if found.last else ""
    return Question(
        f"Unfinished session of this image, {time_text(found.changed)}\n"
        f"{object_count_text(found.objects)}{last}",
        "Continue",
        "Start anew",
        "bring back its prompts, objects, masks and undo",
        "leave it where it is; it stays in the list under Session",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """An image that a session may have been made on."""

    image: Image
    source: PlaneSource
    content: ImageContent


def _candidate(image: Image) -> _Candidate | None:
    try:
        return _Candidate(image, source_of(image), content_of(image))
    except ValueError:  # it has no planes
        return None


def _find(library: Library, content: ImageContent, report: Report) -> list[KeptSession]:
    return library.find(content)


def _begin(library: Library, content: ImageContent, report: Report) -> SessionFile:
    return library.begin(content.identity())


def _take(
    library: Library, path: Path, candidates: Sequence[_Candidate], report: Report
) -> tuple[Image, SavedSession, SessionFile]:
    """Read a session for the image it was made on, and open the file in which to continue it."""
    if path.parent.resolve() != library.folder.resolve():
        one = _image_of(path, candidates)
        saved = read_session(path, one.source)
        return one.image, saved, library.adopt(path, one.content.identity())
    file = library.resume(path)
    if file is None:
        raise ValueError(
            f"expected a session that is not open, got {path.name}; close it in the other viewer"
        )
    try:
        one = _image_of(path, candidates)
        return one.image, read_session(path, one.source), file
    except BaseException:
        file.close()
        raise


def _image_of(path: Path, candidates: Sequence[_Candidate]) -> _Candidate:
    """Find the image of a session: by its content, or by its shape if no content is recorded."""
    file = SessionFile.open(path)
    try:
        about = file.about
    finally:
        file.close()
    image = about.get("image")
    name, shape = (
        (image.get("name"), image.get("shape")) if isinstance(image, dict) else (None,) * 2
    )
    for one in candidates:
        if "identity" in about:
            is_it = one.content.is_image_of(read_identity(about["identity"]))
        else:
            is_it = list(one.source.shape) == shape
        if is_it:
            return one
    raise ValueError(
        f"expected the image of this session, '{name}' of shape {shape}, among the layers, got "
        f"{', '.join(repr(one.image.name) for one in candidates) or 'none'}; open it first"
    )
