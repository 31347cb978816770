"""The signals of a session, with which it reports changes."""

from __future__ import annotations

from psygnal import Signal


class Signals:
    """The part of a session that reports changes.

    A function is connected with ``session.mask_changed.connect(function)``. Every signal is
    emitted on the thread that uses the session: within the method that made the change or, with
    an executor that has threads, within its `drain` or `wait`.
    """

    prompts_changed = Signal()
    """:attr:`prompts` was replaced. No arguments."""

    prompts_edited = Signal(object)
    """As :attr:`prompts_changed`, with a tuple of the (object, plane) whose prompts changed."""

    object_changed = Signal(int)
    """Another object became current; with its number."""

    mask_changed = Signal(int, object)
    """A mask changed or was removed; with the object's number and the plane."""

    draft_changed = Signal(int, object)
    """A draft of a mask changed or was removed; with the object's number and the plane."""

    preview_changed = Signal(object)
    """The preview of a click changed; with a :class:`~napari_sam.session.Preview`, or None if
    there is no preview any more."""

    granularity_changed = Signal(str)
    """:attr:`granularity` changed; with its new value."""

    facts_changed = Signal()
    """The :meth:`facts` of some object changed. No arguments."""

    classes_changed = Signal()
    """:attr:`classes` changed. No arguments."""

    complete_changed = Signal()
    """The :meth:`complete_regions` of some plane changed. No arguments."""

    model_changed = Signal()
    """:attr:`segmenter` was replaced. No arguments."""

    model_wanted = Signal(object)
    """Undo or redo reached a model that is not loaded; with a
    :class:`~napari_sam.session.model_use.UsedModel`, to be loaded and passed to
    :meth:`use_model`."""

    objects_changed = Signal(object)
    """Rows of :attr:`objects` changed, were added or removed; with a tuple of the objects'
    numbers, or None if these are many."""

    queue_changed = Signal()
    """The state of :attr:`queue` changed. No arguments."""

    journal_changed = Signal()
    """An entry was added to the :attr:`journal`, undone or redone. No arguments."""

    relabelled = Signal()
    """The labels were replaced or changed without an entry in the journal. No arguments."""

    rules_changed = Signal()
    """:attr:`overlap` or :attr:`post_processing` changed. No arguments."""

    run_changed = Signal()
    """A run over planes started, progressed or ended; see :attr:`run`. No arguments."""

    follow_changed = Signal()
    """:attr:`follow_progress` changed. No arguments."""

    tracks_changed = Signal()
    """:attr:`tracks` or :meth:`suggested_divisions` changed. No arguments."""

    spans_changed = Signal(object)
    """The :meth:`spans` or :meth:`quality` of objects changed; with a tuple of their numbers."""

    activity_changed = Signal()
    """An embedding was started, finished or dropped. No arguments."""

    failed = Signal(object)
    """Something that was requested failed; with the exception."""

    noticed = Signal(str)
    """A message for the user, to be shown once; with its text."""
