"""Teaching in a process of its own: the end that computes.

    python -m napari_sam.training.tuning_worker

It reads the training examples from its standard input, reports each step on its standard output,
and ends when the input does.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import replace

import torch

from napari_sam.model import taught_library, weights
from napari_sam.segmentation.messages import error_values
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.pipe import Message, Writer, standard_streams
from napari_sam.training.tuning import tune
from napari_sam.training.tuning_messages import pack_step, settings_of, unpack_examples


def answer(message: Message, target: Writer) -> None:
    """Train as a message requests, and report each step."""
    call, values = message.call, message.values
    try:
        settings = settings_of(values["settings"])
        examples = unpack_examples(values["examples"], message.arrays)
        torch.set_num_threads(settings.threads)
        model = values["model"]
        load = weights.load_parent if values["from_parent"] else weights.load
        segmenter = SamSegmenter(load(model), values["device"])
        if not settings.parent:
            settings = replace(settings, parent=_called(model, values["from_parent"]))
        latest = None
        for latest in tune(segmenter, examples, settings):
            if latest.fraction < 1:
                target.put(pack_step("step", call, latest))
        assert latest is not None
        reply = pack_step("result", call, latest)
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        reply = Message("error", call, error_values(error))
    target.put(reply)


def _called(model: str, from_parent: bool) -> str:
    """Return what the model that is taught is called."""
    taught = taught_library.find(model)
    if from_parent and taught is not None and taught.card is not None:
        return taught.card.lesson.parent
    return weights.called(model)


def main() -> None:
    """Answer one call on the standard streams."""
    reader, writer = standard_streams()
    message = reader.next()

    def end_with_the_input() -> None:
        reader.next()
        os._exit(0)

    if message is not None:
        threading.Thread(target=end_with_the_input, daemon=True).start()
        with suppress(BrokenPipeError):
            answer(message, writer)
    os._exit(0)


if __name__ == "__main__":
    main()
