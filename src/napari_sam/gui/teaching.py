"""Teaching the model the objects of an image: beside whatever the user does meanwhile."""

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
"""Objects that teaching needs; two of them are held back."""

ENOUGH, MANY_CORRECTIONS = 5, 1.0
"""Finished objects, and corrections an object, from which on teaching is suggested."""

_TEACHING, _KEEPING = "teaching", "taught model"  # chores


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the model is to be taught.

    Parameters
    ----------
    thorough
        Whether the encoder is taught, too.
    everything
        Whether finding all is taught.
    anew
        Of a taught model: whether the model that it was taught from is taught instead.
    """

    thorough: bool = False
    everything: bool = True
    anew: bool = True

    @property
    def seconds(self) -> float:
        """Time until what is held back can be scored, on a usual machine."""
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
    """How far teaching is.

    Parameters
    ----------
    model, count
        What is taught, and how many objects.
    phase
        ``"read"``: the objects are read; otherwise as of
        :class:`~napari_sam.training.tuning.TuneStep`.
    fraction, seconds_left
        As of that.
    """

    model: str
    count: int
    phase: str = "read"
    fraction: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What came of teaching.

    Parameters
    ----------
    model
        What was taught, by its name.
    count
        How many objects.
    scores
        On those that were held back, by name.
    is_better
        Whether it is better by enough.
    name
        That it may have.
    """

    model: str
    count: int
    scores: Mapping[str, HeldBack]
    is_better: bool
    name: str = ""


@dataclass(frozen=True, slots=True)
class Complete:
    """Where everything is labelled.

    Parameters
    ----------
    is_plane
        Whether that is all of the plane on screen.
    regions
        How many regions of it are, otherwise.
    """

    is_plane: bool = False
    regions: int = 0


class Teaching:
    """Has a model taught, one at a time, and offers what came of it.

    What is taught are the objects that were finished when it began, and the model in use then.
    Whatever becomes of the image, its session and the model in use meanwhile, what came of it is
    offered: a taught model stands by itself, beside the one that it was taught from.

    Parameters
    ----------
    controller
        Whose model, and who loads the taught one.
    executor
        Where teaching waits for the process that does it.
    teach
        Teaches.

    Attributes
    ----------
    changed
        Teaching began, went on, or ended; or it is suggested.
    refused
        It can't be done: the error.
    """

    changed = Signal()
    refused = Signal(object)

    def __init__(self, controller: Controller, executor: Executor, teach: Teacher) -> None:
        self.lecture: Lecture | None = None
        self.offer: Offer | None = None
        self._suggested: tuple[int, int] | None = None  # the session's identity, and its objects
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
        """Of how many objects of an image teaching is suggested; None where it isn't."""
        if annotation is None or self._suggested is None:
            return None
        session, count = self._suggested
        return count if session == id(annotation.session) else None

    def objects_of(self, annotation: Annotation) -> TeachingObjects:
        """Return what an image has to teach.

        Raises
        ------
        ValueError
            If these are too few objects, or the image has no masks.
        """
        session = annotation.session
        if annotation.labels is None or session.finished_count < LEAST:
            raise ValueError(
                f"expected at least {LEAST} finished objects, got {session.finished_count}; click "
                "further ones, and begin a new object after each (N)"
            )
        return session.teaching_objects()

    def start(self, annotation: Annotation) -> None:
        """Teach the model in use the finished objects of an image; what can't be done is told."""
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
        """Stop teaching; nothing has changed."""
        if self.lecture is not None:
            self._executor.cancel(_TEACHING)
            self.lecture = self.offer = self.naming = None
            self.changed.emit()

    def use(self, name: str) -> None:
        """Keep the taught model under a name, and answer by it.

        Before all objects are taught, that is done as soon as they are.

        Raises
        ------
        ValueError
            If the name can't be one, or is taken.
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
        """Keep everything as it is."""
        if self.lecture is not None:
            self.cancel()
        self.offer = self._suggested = self.naming = self._taught = None
        self.changed.emit()

    def _work(
        self, model: str, objects: TeachingObjects, wishes: Wishes, report: Report
    ) -> TuneStep:
        examples = objects.read(lambda fraction: report(0.0))

        def told(step: TuneStep) -> None:
            self._latest = step
            report(step.fraction)

        return self._teach(model, examples, wishes, told)

    def _went_on(self, name: str, fraction: float) -> None:
        step, lecture = self._latest, self.lecture
        if step is None or lecture is None:
            return
        phase = "again" if step.offered else step.phase  # what follows the offer
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
        """Suggest teaching once, and again when there are twice as many objects."""
        session = annotation.session
        count = session.finished_count
        if count < self._next_suggestion.get(session, ENOUGH) or self.lecture is not None:
            return
        if self.offer is None and session.corrections_per_object > MANY_CORRECTIONS:
            self._next_suggestion[session] = 2 * count
            self._suggested = id(session), count
            self.changed.emit()


def _check_found_again(model: str) -> None:
    """Refuse a model that the taught one couldn't find when it is loaded."""
    folder = models_folder()
    if model in REGISTRY or taught_library.find(model) or (folder / Path(model).name).is_file():
        return
    raise ValueError(
        f"expected a model of the list, or a checkpoint in {folder}, where the taught model finds "
        f"the one that it was taught from, got {model}; copy it there, and choose the copy"
    )


def complete_of(annotation: Annotation) -> Complete | None:
    """Say where everything is labelled on the plane on screen."""
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
    """Teach in a process of its own, as a real viewer does."""
    from napari_sam.training.tuning import TuneSettings
    from napari_sam.training.tuning_process import tune_elsewhere, usual_threads

    settings = TuneSettings(
        wishes.seconds,
        threads=usual_threads(),
        thorough=wishes.thorough,
        everything=wishes.everything,
    )
    return tune_elsewhere(model, examples, settings, progress, from_parent=wishes.anew)
