"""What a session works with: a model, an image and labels, each of which may be exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from psygnal import SignalInstance

from napari_sam.planes import PlaneSource, extends
from napari_sam.segmentation.protocol import Segmenter
from napari_sam.session.canvas import LabelCanvas
from napari_sam.session.following import Following
from napari_sam.session.journal import Change
from napari_sam.session.model_use import ModelsInUse, UsedModel

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel


class WorkingWith(Following):
    """The part of a session that knows its model, its image and its labels."""

    journal_changed: SignalInstance
    mask_changed: SignalInstance
    model_changed: SignalInstance
    model_wanted: SignalInstance
    noticed: SignalInstance
    _models: ModelsInUse
    _told_not_finite: bool
    _opened_at: tuple[int, int]  # the journal's position where this sitting began

    # The model

    @property
    def segmenter(self) -> Segmenter | None:
        """What predicts; setting it is :meth:`use_model`."""
        return self.embeddings.segmenter

    @segmenter.setter
    def segmenter(self, segmenter: Segmenter | None) -> None:
        self.use_model(segmenter)

    def use_model(self, segmenter: Segmenter | None, taught: TaughtModel | None = None) -> None:
        """Have another model answer later prompts, as one step; finished masks stay.

        Undo brings the model of before back. It is no step where nothing was done yet, or nothing
        since the session was opened, and where the model is the same one on another device, or
        the first.

        Parameters
        ----------
        segmenter
            The model; None where there is none for now.
        taught
            What makes it another than its parent, where it was taught and the segmenter doesn't
            tell that: the session keeps it, and its file does.

        Raises
        ------
        ValueError
            If it isn't what `taught` makes of its parent.
        """
        state, is_first = self._state, self.segmenter is None
        if segmenter is None:
            self._answer_by(None)
            return
        used = self._models.note(segmenter, taught)
        begun = state.journal.position != self._opened_at
        if is_first or not begun or used.key == state.model or self._closed is not None:
            state.model = used.key
            self._answer_by(segmenter)
            return
        before = self._models.known.get(state.model)
        text = f"changed the model from {before.name if before else 'another'} to {used.name}"
        change = Change("model", state.model, used.key)
        self._follow(state.commit("model", text, model=change))

    @property
    def models(self) -> Mapping[str, UsedModel]:
        """The models that were used, by their keys, in the order in which they came."""
        return self._models.known

    def _bring_model(self) -> None:
        """Answer by the model that the journal says."""
        key = self._state.model
        segmenter = self._models.segmenter(key)
        if segmenter is not None:
            if segmenter is not self.segmenter:
                self._answer_by(segmenter)
            return
        used = self._models.known.get(key) or UsedModel(key, f"with the key {key[:12]}")
        now = self.segmenter
        if now is not None:
            self.noticed.emit(
                f"The model {used.name} is not loaded: until it is, {now.traits.name} answers"
            )
        self.model_wanted.emit(used)

    def _answer_by(self, segmenter: Segmenter | None) -> None:
        is_other = segmenter is not self.segmenter
        if is_other:
            self._stop_following("the model")
        self._answering.use(segmenter, self.source)
        if is_other:
            self.model_changed.emit()

    # The image

    @property
    def source(self) -> PlaneSource:
        """The image. Another one must have its planes, and may have more; finished masks stay."""
        return self.embeddings.source

    @source.setter
    def source(self, source: PlaneSource) -> None:
        before = self.source
        views = {before.spanned, source.spanned}  # it may have grown and been rolled at once
        if not any(extends(source.shape, before.shape, spanned) for spanned in views):
            raise ValueError(
                f"expected an image of shape {before.shape}, got {source.shape}; "
                "start a new session for it"
            )
        if source.content_stamp != before.content_stamp:
            self._runs.stop(
                ValueError(
                    "expected the image to stay what it is while all its objects are looked for, "
                    "got other pixels; start again"
                )
            )
        if (source.content_stamp, source.spanned) != (before.content_stamp, before.spanned):
            self._stop_following("the image")
        if (source.stamp, source.spanned) == (before.stamp, before.spanned):
            self.embeddings.source = source  # the same planes and perhaps more: work goes on
            return
        self._told_not_finite = False
        self._answering.use(self.segmenter, source)
        self._go_on_following()

    # The labels

    @property
    def canvas(self) -> LabelCanvas | None:
        """The labels that masks are written into.

        With others, later masks go there, and what was written before can't be taken back.
        """
        return self._state.canvas

    @canvas.setter
    def canvas(self, canvas: LabelCanvas | None) -> None:
        if canvas is self._state.canvas:
            return
        self._state.use_canvas(canvas, "masks go into other labels since")
        self.retry_masks()
        self._go_on_following()
        self.journal_changed.emit()

    def retry_masks(self) -> None:
        """Write the masks that labels had refused."""
        for key in self._state.take_held_back():
            self.mask_changed.emit(*key)
