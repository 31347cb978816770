"""What segmenters have in common whose network is elsewhere: in a process, or on a machine."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.segmentation.complete import CompleteSegmenter
from napari_sam.segmentation.concepts import Concept, Instance
from napari_sam.segmentation.messages import pack_concept, unpack_instances
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.protocol import Embedding, Progress, Proposals


class AskingSegmenter(CompleteSegmenter):
    """A network that is called by messages, whose answers report its device."""

    _device: str
    _precision: str

    @property
    def device(self) -> str:
        """Device the network is on; becomes ``"cpu"`` after the GPU's memory ran out."""
        return self._device

    @property
    def precision(self) -> str:
        """Precision of the image encoder."""
        return self._precision

    def propose(
        self, embedding: Embedding, quick: bool = False, progress: Progress | None = None
    ) -> Proposals | None:
        """Find objects with the dense head; see :meth:`Segmenter.propose`."""
        answer = self._call_about(embedding, "propose", {"quick": quick}, {}, progress)
        if not answer.arrays:
            return None
        if progress is not None:
            progress(1.0)
        return Proposals(answer.arrays["boxes"], answer.arrays["scores"])

    def find_concept(
        self,
        embedding: Embedding,
        concept: Concept,
        least_score: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Instance]:
        """Find every object of a kind; see :meth:`ConceptSegmenter.find_concept`."""
        about = {"concept": pack_concept(concept), "least_score": least_score}
        answer = self._call_about(embedding, "find_concept", about, {}, progress)
        if progress is not None:
            progress(1.0)
        return unpack_instances(answer.values, answer.arrays)

    def ask_about(
        self,
        embedding: Embedding,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays,
        progress: Progress | None = None,
    ) -> Message:
        """Ask something of an embedding, for what else the network can do."""
        return self._call_about(embedding, kind, values, arrays, progress)

    def instance_maps(
        self, embedding: Embedding, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Map the objects of a plane; see :meth:`InstanceSegmenter.instance_maps`."""
        answer = self._call_about(embedding, "instance_maps", {}, {}, progress)
        if progress is not None:
            progress(1.0)
        return answer.arrays["maps"]

    @abstractmethod
    def _call_about(
        self,
        embedding: Embedding,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays,
        progress: Progress | None = None,
    ) -> Message:
        """Ask something of an embedding, which is sent where the other end doesn't have it."""

    def _learn(self, answer: Message) -> None:
        """Take note of where the network is by now."""
        self._device = answer.values.get("device", self._device)
        self._precision = answer.values.get("precision", self._precision)
