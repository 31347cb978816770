"""A form for a command on files: its input, its output and its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, LineEdit, SpinBox
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.batch import BatchSummary
from napari_sam.engine import Engine, Outcome
from napari_sam.gui.mailbox import Mailbox
from napari_sam.gui.models import choices, device_choices
from napari_sam.gui.settings import preferences

_UNKNOWN = 3.0  # seconds of a run before the remaining time is estimated
_FOLDER = FileDialogMode.EXISTING_DIRECTORY


class BatchDialog(QWidget):
    """Runs a command on files on another thread, shows its progress, and can cancel it.

    Parameters
    ----------
    title
        Text of the button that starts it.
    run
        The command; called with the values of the fields and ``progress``.
    fields
        Names of the fields to show.
    """

    def __init__(self, title: str, run: Callable[..., BatchSummary], fields: Sequence[str]) -> None:
        super().__init__()
        self._run = run
        self._mailbox = Mailbox(self._open_mail)
        self._engine = Engine(self._mailbox.notify)
        made = _fields()
        self.fields: dict[str, Any] = {name: made[name] for name in fields}
        form = QFormLayout()
        for name, field in self.fields.items():
            form.addRow(name, field.native)
        self.start = QPushButton(title)
        self.stop = QPushButton("Cancel")
        self.stop.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.message = QLabel()
        self.message.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 1)
        buttons.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.message)
        column.addStretch(1)
        self.start.clicked.connect(self._start)
        self.stop.clicked.connect(self._stop)
        self.destroyed.connect(partial(_end, self._mailbox, self._engine))

    def values(self) -> dict[str, Any]:
        """Return the values of the fields; an empty path is None."""
        filled = {name: field.value for name, field in self.fields.items()}
        return {
            name: None if isinstance(value, Path) and value == Path() else value
            for name, value in filled.items()
        }

    def _start(self) -> None:
        values = self.values()
        missing = [n for n in ("images", "output") if n in values and values[n] is None]
        if missing:
            self.message.setText(f"Choose {' and '.join(missing)} first.")
            return
        self.start.setEnabled(False)
        self.stop.setEnabled(True)
        self.message.setText("")
        self._image = ""
        self._began = time.monotonic()

        def work(report: Callable[[float], None]) -> BatchSummary:
            def progress(image: Path, fraction: float) -> None:
                self._image = image.name
                report(fraction)

            return self._run(**values, progress=progress)

        self._engine.chore("batch", work, self._done, progress=self._progress)

    def _stop(self) -> None:
        self._engine.cancel()

    def _progress(self, fraction: float) -> None:
        self.bar.setValue(round(1000 * fraction))
        left = time_left(time.monotonic() - self._began, fraction)
        self.message.setText(" · ".join(part for part in (self._image, left) if part))

    def _done(self, outcome: Outcome) -> None:
        self.start.setEnabled(True)
        self.stop.setEnabled(False)
        if outcome.cancelled:
            self.message.setText("Cancelled. Finished images stay; start again to continue.")
        elif outcome.error is not None:
            self.message.setText(str(outcome.error))
        else:
            self.message.setText(_sum_up(outcome.value))

    def _open_mail(self) -> None:
        self._engine.drain()


def time_left(elapsed: float, fraction: float) -> str:
    """Return an estimate of the remaining time as text; empty while it isn't known.

    Parameters
    ----------
    elapsed
        Seconds since the run began.
    fraction
        Finished fraction of the work.
    """
    if elapsed < _UNKNOWN or not 0 < fraction < 1:
        return ""
    seconds = elapsed * (1 - fraction) / fraction
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _end(mailbox: Mailbox, engine: Engine, *_: object) -> None:
    mailbox.close()
    engine.close()


def _fields() -> dict[str, Any]:
    wishes = preferences()
    models = [choice.model for choice in choices({})]
    devices = device_choices()
    return {
        "images": FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY, tooltip="a folder of images, or one image"
        ),
        "prompts": FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            tooltip="a folder of NAME.csv or NAME.napari-sam; by default beside the images",
        ),
        "boxes": FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            tooltip="a folder of NAME.csv with boxes, if there are any",
        ),
        "output": FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY, tooltip="where label images are written"
        ),
        "model": ComboBox(choices=models, value=wishes.model if wishes.model in models else "nano"),
        "device": ComboBox(
            choices=devices, value=wishes.device if wishes.device in devices else devices[0]
        ),
        "overlay": CheckBox(value=True, text="also save a picture of each result"),
        "overwrite": CheckBox(value=False, text="later objects may take pixels of earlier ones"),
        "measurements": CheckBox(value=True, text="also save a table of sizes and intensities"),
        "workers": SpinBox(
            value=0, max=1024, tooltip="processes to start on this machine; 0: compute in napari"
        ),
        "scheduler": LineEdit(
            tooltip="address of a dask scheduler whose workers compute: tcp://... or tls://..."
        ),
    }


def _sum_up(summary: BatchSummary) -> str:
    lines = [f"{len(summary.done)} done, {len(summary.skipped)} already there"]
    lines += [f"{failure.image.name}: {failure.reason}" for failure in summary.failed]
    lines += [f"{note.image.name}: {note.text}" for note in summary.notes]
    return "\n".join(lines)
