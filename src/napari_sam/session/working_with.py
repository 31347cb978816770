"""The model, the image and the labels of a session, each of which can be replaced."""

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
    """The part of a session that holds its model, its image and its labels."""

    journal_changed: SignalInstance
    mask_changed: SignalInstance
    model_changed: SignalInstance
    model_wanted: SignalInstance
    noticed: SignalInstance
    _models: ModelsInUse
    _has_warned_not_finite: bool
    _opened_at: tuple[int, int]  # the journal's position when the session was created or opened

    # The model

    @property
    def segmenter(self) -> Segmenter | None:
        """The model that predicts; assigning another one calls :meth:`use_model`."""
        return self.embeddings.segmenter

    @segmenter.setter
    def segmenter(self, segmenter: Segmenter | None) -> None:
        self.use_model(segmenter)

    def use_model(self, segmenter: Segmenter | None, taught: TaughtModel | None = None) -> None:
        """Use another model for later prompts; existing masks stay.

        The change is one step, and undo returns to the previous model. It is not a step if it is
        the first model, if nothing was done since the session was created or opened, or if only
        the device differs.

        Parameters
        ----------
        segmenter
            The model; None for none, such as while another one loads.
        taught
            The taught model that `segmenter` runs, if the segmenter itself doesn't provide it;
            it is stored with the session.

        Raises
        ------
        ValueError
            If `segmenter` runs another model than `taught`.
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
        """All models that were used in this session, by model key, in the order of first use."""
        return self._models.known

    def _bring_model(self) -> None:
        """Use the model that the journal records as the current one."""
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
        """The image.

        An image that is assigned must have all planes of the present one, and may have more.
        Existing masks stay.
        """
        return self.embeddings.source

    @source.setter
    def source(self, source: PlaneSource) -> None:
        before = self.source
        views = {before.spanned, source.spanned}  # axes may be rolled and planes added at once
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
            self.embeddings.source = source  # the same planes, perhaps more: work continues
            return
        self._has_warned_not_finite = False
        self._answering.use(self.segmenter, source)
        self._go_on_following()

    # The labels

    @property
    def canvas(self) -> LabelCanvas | None:
        """The labels into which masks are written.

        After another canvas is assigned, later masks are written there, and earlier steps can't be
        undone any more.
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
        """Write the masks again that the labels refused, such as those of locked objects."""
        for key in self._state.take_held_back():
            self.mask_changed.emit(*key)
