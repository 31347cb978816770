"""Starts and watches the search for all objects of a plane or a stack."""

from __future__ import annotations

from functools import partial

from psygnal import Signal

from napari_sam.gui.annotation import Annotation
from napari_sam.gui.planes import channel_axis
from napari_sam.session import Plane, RunProgress


class Everything:
    """Lets sessions find all objects, and reports the progress; for one image at a time.

    Attributes
    ----------
    changed
        Signal: a run began, progressed or ended.
    refused
        Signal: a run could not begin; emits the error.
    """

    changed = Signal()
    refused = Signal(object)

    def __init__(self) -> None:
        self._annotation: Annotation | None = None

    @property
    def progress(self) -> RunProgress | None:
        """Progress of the run; None while nothing runs."""
        return self._annotation.session.run if self._annotation else None

    @property
    def fraction(self) -> float | None:
        """Finished fraction, from 0 to 1; None while nothing runs."""
        return None if self.progress is None else self.progress.fraction

    @property
    def annotation(self) -> Annotation | None:
        """The annotation whose image is searched; None while nothing runs."""
        return self._annotation

    def watch(self, annotation: Annotation) -> None:
        """Report the runs of an image, including those that a script begins."""
        annotation.session.run_changed.connect(partial(self._run_changed, annotation))

    def start(
        self, annotation: Annotation, plane: Plane, axis: int | None = None, text: str = ""
    ) -> None:
        """Find objects on a plane, or on all planes along an axis.

        Parameters
        ----------
        annotation
            The annotation whose image is searched.
        plane
            A plane of the image.
        axis
            The axis to search along; None for the one plane alone. Objects that overlap from
            plane to plane become one, except along channels.
        text
            What to find, in words; all objects if it is empty.
        """
        self.cancel()
        planes = [plane]
        if axis is not None:
            length = annotation.session.source.shape[axis]
            planes = [(*plane[:axis], i, *plane[axis + 1 :]) for i in range(length)]
        try:
            linked = axis != channel_axis(annotation.image)
            if text:
                annotation.session.find_text(text, planes, linked)
            else:
                annotation.session.find_all(planes, linked)
        except ValueError as error:
            self.refused.emit(error)

    def start_similar(self, annotation: Annotation, plane: Plane) -> None:
        """Find more objects like the accepted ones on a plane."""
        self.cancel()
        try:
            annotation.session.find_similar([plane])
        except ValueError as error:
            self.refused.emit(error)

    def cancel(self, keep: bool = False) -> None:
        """Stop the run; objects found on finished planes are dropped, or with `keep` written."""
        if self._annotation is not None:
            self._annotation.session.cancel_run(keep)

    def _run_changed(self, annotation: Annotation) -> None:
        if annotation.session.run is not None:
            self._annotation = annotation
        elif annotation is self._annotation:
            self._annotation = None
        self.changed.emit()
