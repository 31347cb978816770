"""What one connection asks of a server, and its answers."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from napari_sam.geometry import Frame
from napari_sam.model.download import DownloadError
from napari_sam.segmentation.asked_memory import Name, answer_recall, answer_remember
from napari_sam.segmentation.features import mean_in, unit_features
from napari_sam.segmentation.gentle import be_gentle
from napari_sam.segmentation.instance_maps import instance_maps
from napari_sam.segmentation.memory import Memory
from napari_sam.segmentation.messages import (
    error_values,
    model_values,
    pack_features,
    pack_instances,
    pack_predictions,
    report_of,
    unpack_concept,
)
from napari_sam.segmentation.network import SamSegmenter
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.protocol import (
    Cancelled,
    Embedding,
    PixelSegmenter,
    Progress,
    concept_segmenter,
)
from napari_sam.segmentation.remote import UNKNOWN, VERSION
from napari_sam.serving.fair_queue import FairQueue
from napari_sam.serving.limits import (
    ServerLimits,
    check_recalled,
    check_remembered,
    checked_frame,
    checked_name,
    checked_names,
    checked_pixels,
    checked_prompts,
    checked_window,
)
from napari_sam.serving.offers import Offers
from napari_sam.serving.users import User, Users

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 0.1  # seconds that an encode leaves the processor to clicks, at each report
_QUICK_THREADS = 2

# Calls that take longer than a user waits for after a click.
_SLOW = ("encode", "find_concept", "instance_maps", "remember", "recall")

# Errors that are sent to the user; any other stays in the server's log.
_EXPECTED = (Cancelled, DownloadError, MemoryError, TypeError, ValueError)


@dataclass(slots=True, eq=False)
class Desk:
    """The state that all connections share.

    Parameters
    ----------
    offers, limits
        The models, and the limits of calls.
    users
        The connected users.
    quick, slow, loading
        Queues of clicks, of encodes, and of models to load.
    """

    offers: Offers
    limits: ServerLimits = field(default_factory=ServerLimits)
    users: Users = field(init=False)
    quick: FairQueue = field(default_factory=lambda: FairQueue("clicks", _QUICK_THREADS))
    slow: FairQueue = field(default_factory=lambda: FairQueue("encodes", 1, be_gentle))
    loading: FairQueue = field(default_factory=lambda: FairQueue("loads"))

    def __post_init__(self) -> None:
        self.users = Users(self.limits)

    def close(self) -> None:
        """Close the queues, so that no more calls begin."""
        for queue in (self.quick, self.slow, self.loading):
            queue.close()


class Visit:
    """A connection, from its first call to its end.

    Parameters
    ----------
    desk
        The state that it shares with others.
    send
        Sends a message; called on several threads, raises nothing.
    """

    def __init__(self, desk: Desk, send: Callable[[Message], None]) -> None:
        self._desk, self._send = desk, send
        self._user: User | None = None
        self._segmenter: PixelSegmenter | None = None
        self._rounded = True
        self._cancelled: set[int] = set()
        self._under_way: set[int] = set()
        self._ended = False
        self._lock = threading.Lock()
        self._turn = object()  # whose turn it is in a queue
        self._answers: dict[str, Callable[[Message], Message]] = {
            "models": self._models,
            "load": self._load,
            "encode": self._encode,
            "decode": self._decode,
            "propose": self._propose,
            "find_concept": self._find_concept,
            "instance_maps": self._instance_maps,
            "mean_features": self._mean_features,
            "similarity": self._similarity,
            "fetch": self._fetch,
            "remember": self._remember,
            "recall": self._recall,
        }

    @property
    def is_busy(self) -> bool:
        """Whether as much is asked as may be."""
        return len(self._under_way) >= self._desk.limits.calls

    def take(self, message: Message) -> None:
        """Have a message answered, in its turn.

        Raises
        ------
        ValueError
            If nothing like it may be asked.
        """
        if message.kind == "cancel":
            if message.call in self._under_way:
                self._cancelled.add(message.call)
            return
        if message.kind not in self._answers:
            raise ValueError(f"expected a call, got {message.kind[:40]!r}")
        with self._lock:
            if message.call in self._under_way:
                raise ValueError("expected calls of different numbers, got one twice")
            self._under_way.add(message.call)
        self._lane_of(message).put(self._turn, partial(self._answer, message))

    def sent(self, answer: Message) -> None:
        """Take note that an answer has left."""
        if answer.kind != "progress":
            with self._lock:
                self._under_way.discard(answer.call)
                self._cancelled.discard(answer.call)

    def end(self) -> None:
        """Drop what has not begun, and stop what has."""
        self._ended = True
        for queue in (self._desk.quick, self._desk.slow, self._desk.loading):
            queue.drop(self._turn)
        with self._lock:
            user, self._user = self._user, None
        if user is not None:
            self._desk.users.leave(user)

    def _lane_of(self, message: Message) -> FairQueue:
        if message.kind == "load":
            return self._desk.loading
        is_slow = message.kind in _SLOW or message.values.get("gentle")
        return self._desk.slow if is_slow else self._desk.quick

    def _answer(self, message: Message) -> None:
        if self._ended:
            return
        try:
            answer = self._answers[message.kind](message)
            if self._segmenter is not None:
                answer.values["device"] = self._segmenter.device
                answer.values["precision"] = self._segmenter.precision
        except _EXPECTED as error:
            answer = Message("error", message.call, error_values(error))
        except (LookupError, AttributeError) as error:
            text = f"expected what a call of {message.kind!r} takes, got something else ({error})"
            answer = Message("error", message.call, {"error": "ValueError", "text": text})
        except Exception:  # noqa: BLE001 - it must be answered
            _log.exception("a call of %r failed", message.kind)
            text = "the other machine failed at it; its log says why"
            answer = Message("error", message.call, {"error": "RuntimeError", "text": text})
        self._send(answer)

    def _report_of(self, message: Message) -> Progress:
        def is_cancelled() -> bool:
            if message.kind in _SLOW:
                self._desk.quick.wait_until_idle(_LONGEST_PAUSE)
            return self._ended or message.call in self._cancelled

        return report_of(message.call, self._send, is_cancelled)

    def _models(self, message: Message) -> Message:
        return Message("result", message.call, {"models": list(self._desk.offers.names)})

    def _load(self, message: Message) -> Message:
        values = message.values
        if values["version"] != VERSION:
            raise ValueError(
                "expected the same version of napari-sam-live on both machines; install the same"
            )
        segmenter = self._desk.offers.load(values["model"], self._report_of(message))
        if values["precision"] not in ("auto", segmenter.precision):
            raise ValueError(
                f"expected the precision of the other machine, auto or {segmenter.precision}, got "
                f"{str(values['precision'])[:40]!r}"
            )
        with self._lock:
            if self._user is None:
                self._user = self._desk.users.enter(values["user"])
            if self._ended:  # meanwhile
                self._desk.users.leave(self._user)
                self._user = None
        self._segmenter, self._rounded = segmenter, bool(values["rounded"])
        about = model_values(segmenter) | {
            "message_bytes": self._desk.limits.message_bytes,
            "resized": _is_resized(segmenter),
        }
        return Message("result", message.call, about)

    def _encode(self, message: Message) -> Message:
        segmenter, user = self._loaded
        self._forget(message)
        frame = checked_frame(message.values["frame"], segmenter.traits)
        name = checked_name(message.values["embedding"])
        known = self._desk.users.get(user, self._key(name))
        embedding = known if isinstance(known, Embedding) else None
        if embedding is None or embedding.frame != frame:
            if "pixels" not in message.arrays:
                return Message(UNKNOWN, message.call)
            seen = frame
            if _is_resized(segmenter):  # there already, so what comes is all that it sees
                scaled, canvas = frame.scaled, frame.canvas
                seen = Frame(scaled, (0, 0), scaled, scaled, canvas, frame.convention)
            pixels = checked_pixels(message.arrays, seen.shape)
            embedding = segmenter.embed_pixels(pixels, seen, self._report_of(message))
            embedding = self._kept_form(embedding, frame)
            self._desk.users.keep(user, self._key(name), embedding)
        first = embedding.features[0]
        about = {
            "precision_of": embedding.precision,
            "shapes": [list(level.shape) for level in embedding.features],
            "format": str(first.dtype).removeprefix("torch."),
        }
        return Message("result", message.call, about)

    def _kept_form(self, embedding: Embedding, frame: Frame) -> Embedding:
        """Return an embedding in main memory, rounded as a cache does it if that is wanted."""
        features = tuple(level.detach().cpu() for level in embedding.features)
        if self._rounded:
            features = tuple(level.half().contiguous() for level in features)
        return replace(embedding, features=features, frame=frame)

    def _decode(self, message: Message) -> Message:
        embedding, values = self._embedding_of(message), message.values
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        prompts = checked_prompts(message, segmenter.traits, self._desk.limits)
        window = checked_window(values["window"], segmenter.traits)
        found = segmenter.decode_many(embedding, prompts, values["multimask"], window)
        about, arrays = pack_predictions(found, cut=False)
        return Message("result", message.call, about, arrays)

    def _propose(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        quick = bool(message.values["quick"])
        found = segmenter.propose(embedding, quick, self._report_of(message))
        arrays: Arrays = {} if found is None else {"boxes": found.boxes, "scores": found.scores}
        return Message("result", message.call, {}, arrays)

    def _find_concept(self, message: Message) -> Message:
        embedding, values = self._embedding_of(message), message.values
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        concept, report = unpack_concept(values["concept"]), self._report_of(message)
        found = concept_segmenter(segmenter).find_concept(
            embedding, concept, float(values["least_score"]), report
        )
        return Message("result", message.call, *pack_instances(found))

    def _instance_maps(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        self._desk.limits.check_bytes(12 * math.prod(embedding.frame.shape))
        maps = instance_maps(segmenter, embedding, self._report_of(message))
        return Message("result", message.call, {}, {"maps": maps})

    @torch.inference_mode()
    def _mean_features(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        shares = message.arrays["shares"]
        height, width = embedding.features[0].shape[2:]
        if shares.dtype != np.float32 or shares.ndim != 2 or shares.shape[1] != height * width:
            raise ValueError(
                f"expected shares of {height * width} cells, got {shares.dtype} of shape "
                f"{shares.shape}"
            )
        self._desk.limits.check_count(len(shares))
        means = mean_in(unit_features(embedding.features), shares)
        return Message("result", message.call, {}, {"means": means})

    def _similarity(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        vectors = message.arrays["vectors"]
        self._desk.limits.check_count(len(vectors) if vectors.ndim else 0)
        found = segmenter.similarity(embedding, vectors)
        return Message("result", message.call, {}, {"similarity": found})

    def _fetch(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        half = [level.half() for level in embedding.features]
        return Message("result", message.call, {}, pack_features(half))

    def _remember(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        check_remembered(message, embedding.frame, self._desk.limits)
        arrays, memories = answer_remember(segmenter, embedding, message, self._report_of(message))
        self._keep_memories(memories)
        return Message("result", message.call, {}, arrays)

    def _recall(self, message: Message) -> Message:
        embedding = self._embedding_of(message)
        if embedding is None:
            return Message(UNKNOWN, message.call)
        segmenter, _ = self._loaded
        check_recalled(message, self._desk.limits)
        answer, memories = answer_recall(
            segmenter, embedding, message, self._memory_named, self._report_of(message)
        )
        self._keep_memories(memories)
        return answer

    def _memory_named(self, name: Name) -> Memory | None:
        _, user = self._loaded
        found = self._desk.users.get(user, self._key(checked_name(name)))
        return found if isinstance(found, Memory) else None

    def _keep_memories(self, memories: Mapping[Name, Memory]) -> None:
        _, user = self._loaded
        for name, one in memories.items():
            self._desk.users.keep(user, self._key(checked_name(name)), one)

    @property
    def _loaded(self) -> tuple[PixelSegmenter, User]:
        if self._segmenter is None or self._user is None:
            raise ValueError("expected a call of 'load' first, got another")
        return self._segmenter, self._user

    def _embedding_of(self, message: Message) -> Embedding | None:
        _, user = self._loaded
        self._forget(message)
        name = checked_name(message.values["embedding"])
        found = self._desk.users.get(user, self._key(name))
        return found if isinstance(found, Embedding) else None

    def _forget(self, message: Message) -> None:
        _, user = self._loaded
        for name in checked_names(message.values.get("forgotten", [])):
            self._desk.users.forget(user, self._key(name))

    def _key(self, name: str) -> tuple[str, str]:
        segmenter, _ = self._loaded
        return f"{segmenter.encoder_key} {segmenter.precision} {self._rounded}", name


def _is_resized(segmenter: PixelSegmenter) -> bool:
    """Whether a model takes pixels resized as our networks do; others have their own way."""
    return isinstance(segmenter, SamSegmenter)
