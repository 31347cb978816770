"""Teaches the model the objects of an image in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_sam.engine import Executor, Outcome, Report
from napari_sam.gui.annotation import Annotation
from napari_sam.model import pretrained, taught_library
from napari_sam.model.lesson import HeldBack
from napari_sam.model.registry import REGISTRY, models_folder
from napari_sam.model.taught_library import TaughtFile
from napari_sam.session import Session
from napari_sam.session.teaching import TeachingObjects

if TYPE_CHECKING:
    from napari_sam.examples import Example
    from napari_sam.gui.controller import Controller
    from napari_sam.model.taught import TaughtModel
    from napari_sam.training.tuning import TuneStep

LEAST = 3
"""Number of objects that teaching needs; two of them are held back."""

ENOUGH, MANY_CORRECTIONS = 5, 1.0
"""Number of finished objects, and corrections per object, above which teaching is suggested."""

_TEACHING, _KEEPING = "teaching", "taught model"  # chores


@dataclass(frozen=True, slots=True)
class Wishes:
    """Options for teaching.

    Parameters
    ----------
    thorough
        Whether the encoder is taught, too.
    everything
        Whether finding all objects is taught, too.
    anew
        Whether to start from the model that a taught model in use was taught from.
    """

    thorough: bool = False
    everything: bool = True
    anew: bool = True

    @property
    def seconds(self) -> float:
        """Usual time in seconds until the objects held back are scored."""
        return 120.0 if self.thorough else 30.0


class Teacher(Protocol):
    """Teaches a model; runs on a worker thread."""

    def __call__(
        self,
        model: str,
        examples: tuple[Example, ...],
        wishes: Wishes,
        progress: Callable[[TuneStep], None],
    ) -> TuneStep:
        """Teach a model by its name or path; `progress` may raise to stop."""
        ...


@dataclass(frozen=True, slots=True)
class Lecture:
    """The progress of teaching.

    Parameters
    ----------
    model, count
        Name of the model, and the number of objects.
    phase
        ``"read"`` while the objects are read; otherwise as for
        :class:`~napari_sam.training.tuning.TuneStep`.
    fraction, seconds_left
        As for :class:`~napari_sam.training.tuning.TuneStep`.
    """

    model: str
    count: int
    phase: str = "read"
    fraction: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """The result of teaching.

    Parameters
    ----------
    model
        Name of the model that was taught.
    count
        Number of objects.
    scores
        Scores on the objects held back, by name.
    is_better
        Whether the taught model is sufficiently better.
    name
        Proposed name of the taught model.
    """

    model: str
    count: int
    scores: Mapping[str, HeldBack]
    is_better: bool
    name: str = ""


@dataclass(frozen=True, slots=True)
class Complete:
    """What is marked as completely labelled on the plane on screen.

    Parameters
    ----------
    is_plane
        Whether the whole plane is.
    regions
        Number of regions that are, if the whole plane isn't.
    """

    is_plane: bool = False
    regions: int = 0


class Teaching:
    """Teaches one model at a time, and offers the result.

    The model in use when teaching begins learns the objects that are finished then. The result is
    offered whatever happens to the image, its session and the model in use meanwhile: a taught
    model is independent of the one that it was taught from.

    Parameters
    ----------
    controller
        The controller of the viewer, which loads the taught model.
    executor
        Waits for the process that teaches, in the background.
    teach
        Function that teaches a model.

    Attributes
    ----------
    lecture
        Progress of teaching; None while nothing is taught.
    offer
        The result of teaching, until the user uses or declines it.
    wishes
        Options for the next teaching.
    naming
        The name under which the user has chosen to use the result; None before.
    changed
        Signal: teaching began, progressed or ended, or it is suggested.
    refused
        Signal: teaching failed or isn't possible; emits the error.
    """

    changed = Signal()
    refused = Signal(object)

    def __init__(self, controller: Controller, executor: Executor, teach: Teacher) -> None:
        self.lecture: Lecture | None = None
        self.offer: Offer | None = None
        self._suggested: tuple[int, int] | None = None  # id of the session, number of objects
        self.wishes = Wishes()
        self.naming: str | None = None
        self._controller, self._executor, self._teach = controller, executor, teach
        self._latest: TuneStep | None = None
        self._taught: TaughtModel | None = None
        self._next_suggestion: WeakKeyDictionary[Session, int] = WeakKeyDictionary()

    def watch(self, annotation: Annotation) -> None:
        """Suggest teaching when enough objects of an image took many corrections."""
        session = annotation.session
        session.object_changed.connect(partial(self._consider, annotation))

    def suggested(self, annotation: Annotation | None) -> int | None:
        """Return the number of objects of which teaching is suggested; None if it isn't."""
        if annotation is None or self._suggested is None:
            return None
        session, count = self._suggested
        return count if session == id(annotation.session) else None

    def objects_of(self, annotation: Annotation) -> TeachingObjects:
        """Return the objects of an image for teaching.

        Raises
        ------
        ValueError
            If there are too few finished objects, or the image has no masks.
        """
        session = annotation.session
        if annotation.labels is None or session.finished_count < LEAST:
            raise ValueError(
                f"expected at least {LEAST} finished objects, got {session.finished_count}; click "
                "more, and begin a new object after each (N)"
            )
        return session.teaching_objects()

    def start(self, annotation: Annotation) -> None:
        """Teach the model in use the finished objects of an image, or report why it can't be."""
        controller = self._controller
        if self.lecture is not None:
            return
        try:
            if controller.segmenter is None:
                raise ValueError("expected a model to teach, got none yet; wait until it is loaded")
            pretrained.refuse_to_teach(controller.model)
            if (connection := controller.machines.connection) is not None:
                raise ValueError(
                    "expected a model on this machine to teach, got one at "
                    f"{connection.address}, whose weights stay there; choose a device of this "
                    "machine first"
                )
            objects = self.objects_of(annotation)
            _check_found_again(controller.model)
        except ValueError as error:
            self.refused.emit(error)
            return
        self.offer = self._suggested = self.naming = None
        self._latest = self._taught = None
        self._next_suggestion[annotation.session] = 2 * max(objects.count, ENOUGH)
        parent, name = controller.model_name, annotation.image.name
        self.lecture = Lecture(parent, objects.count)
        self._executor.chore(
            _TEACHING,
            partial(self._work, controller.model, objects, self.wishes),
            partial(self._ended, name),
            partial(self._went_on, name),
            awaited=False,
        )
        self.changed.emit()

    def cancel(self) -> None:
        """Stop teaching; nothing changes."""
        if self.lecture is not None:
            self._executor.cancel(_TEACHING)
            self.lecture = self.offer = self.naming = None
            self.changed.emit()

    def use(self, name: str) -> None:
        """Save the taught model under a name, and use it.

        If not all objects are taught yet, this is done as soon as they are.

        Raises
        ------
        ValueError
            If the name is invalid or taken.
        """
        if self.offer is None or not self.offer.is_better:
            return
        name = name.strip()
        taught_library.check_free(name)
        self.naming = name
        if self._taught is not None:
            self._keep()
        self.changed.emit()

    def decline(self) -> None:
        """Discard the result, and stop teaching if it is still running."""
        if self.lecture is not None:
            self.cancel()
        self.offer = self._suggested = self.naming = self._taught = None
        self.changed.emit()

    def _work(
        self, model: str, objects: TeachingObjects, wishes: Wishes, report: Report
    ) -> TuneStep:
        examples = objects.read(lambda fraction: report(0.0))

        def progressed(step: TuneStep) -> None:
            self._latest = step
            report(step.fraction)

        return self._teach(model, examples, wishes, progressed)

    def _went_on(self, name: str, fraction: float) -> None:
        step, lecture = self._latest, self.lecture
        if step is None or lecture is None:
            return
        phase = "again" if step.offered else step.phase  # after the offer, all objects are learned
        self.lecture = Lecture(
            lecture.model, lecture.count, phase, step.fraction, step.seconds_left
        )
        if step.offered is not None and self.offer is None:
            self._offer(step, name)
        self.changed.emit()

    def _ended(self, name: str, outcome: Outcome) -> None:
        if self.lecture is None or outcome.cancelled:
            return
        if outcome.error is not None:
            self.lecture = self.offer = self.naming = None
            self.refused.emit(outcome.error)
            self.changed.emit()
            return
        step: TuneStep = outcome.value
        if self.offer is None:
            self._offer(step, name)
        self.lecture, self._taught = None, step.model
        if self.naming is not None and self._taught is not None:
            self._keep()
        self.changed.emit()

    def _offer(self, step: TuneStep, name: str) -> None:
        lecture, better = self.lecture, bool(step.offered)
        assert lecture is not None
        free = taught_library.free_name(name) if better else ""
        self.offer = Offer(lecture.model, lecture.count, step.scores, better, free)

    def _keep(self) -> None:
        taught, name = self._taught, self.naming
        assert taught is not None
        assert name is not None

        def keep(report: Report) -> TaughtFile:
            return taught_library.keep(taught, name)

        self._executor.chore(_KEEPING, keep, self._kept)

    def _kept(self, outcome: Outcome) -> None:
        self.naming = None
        if outcome.cancelled:
            return
        if outcome.error is not None:
            self.refused.emit(outcome.error)
        else:
            self.offer = self._taught = None
            self._controller.load_model(outcome.value.name)
        self.changed.emit()

    def _consider(self, annotation: Annotation, *_: object) -> None:
        """Suggest teaching if enough objects took many corrections, then at each doubling."""
        session = annotation.session
        count = session.finished_count
        if count < self._next_suggestion.get(session, ENOUGH) or self.lecture is not None:
            return
        if self.offer is None and session.corrections_per_object > MANY_CORRECTIONS:
            self._next_suggestion[session] = 2 * count
            self._suggested = id(session), count
            self.changed.emit()


def _check_found_again(model: str) -> None:
    """Raise ValueError for a model that couldn't be found again when the taught one is loaded."""
    folder = models_folder()
    if model in REGISTRY or taught_library.find(model) or (folder / Path(model).name).is_file():
        return
    raise ValueError(
        f"expected a model of the list, or a checkpoint in {folder}, where the taught model finds "
        f"the one that it was taught from, got {model}; copy it there, and choose the copy"
    )


def complete_of(annotation: Annotation) -> Complete | None:
    """Return what is marked as complete on the plane on screen; None without a plane."""
    plane = annotation.displayed()
    if plane is None:
        return None
    session = annotation.session
    regions, (height, width) = session.complete_regions(plane), session.source.plane_shape(plane)
    is_plane = (0, 0, height - 1, width - 1) in regions
    return Complete(is_plane, 0 if is_plane else len(regions))


def teach_elsewhere(
    model: str,
    examples: tuple[Example, ...],
    wishes: Wishes,
    progress: Callable[[TuneStep], None],
) -> TuneStep:
    """Teach a model in a separate process; see :class:`Teacher` for the parameters."""
    from napari_sam.training.tuning import TuneSettings
    from napari_sam.training.tuning_process import tune_elsewhere, usual_threads

    settings = TuneSettings(
        wishes.seconds,
        threads=usual_threads(),
        thorough=wishes.thorough,
        everything=wishes.everything,
    )
    return tune_elsewhere(model, examples, settings, progress, from_parent=wishes.anew)
