"""A network on another machine, behind one address.

Planes go up once, under a hash that only this process can make; what the encoder makes of them
stays there, and clicks are decoded where it is. What the other machine forgets is sent again.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_sam.geometry import Frame
from napari_sam.image import resize_pixels
from napari_sam.prompts import Prompts
from napari_sam.segmentation.address import Address
from napari_sam.segmentation.asked_memory import AskedMemory, Name
from napari_sam.segmentation.asking import AskingSegmenter
from napari_sam.segmentation.connection import Connection, State
from napari_sam.segmentation.features import shares_of
from napari_sam.segmentation.messages import (
    frame_values,
    pack_prompts,
    sound,
    unpack_features,
    unpack_predictions,
)
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.protocol import (
    Embedding,
    MaskPrediction,
    Multimask,
    PixelSegmenter,
    Progress,
    Segmenter,
    check_embedding,
    part_of,
)
from napari_sam.segmentation.tokens import TOKEN, TOKEN_FILE, usual_token
from napari_sam.segmentation.traits import Traits

if TYPE_CHECKING:
    from napari_sam.model.taught import TaughtModel
    from napari_sam.segmentation.calls import Caller

VERSION = 1
"""Version of the messages between the two machines; both ends must have the same."""

_AT_ONCE = 32  # objects or masks of a call: an answer must not keep others waiting
_SENT = 0.1  # part of the progress of an embed that is the way there
UNKNOWN = "unknown embedding"
"""Kind of the answer to a call whose plane has to be sent again."""


@dataclass(frozen=True, slots=True, eq=False)
class RemoteEmbedding(Embedding):
    """Embedding of a plane whose features are on another machine.

    Parameters
    ----------
    features
        Tensors without values, on torch's device ``"meta"``: only shape and type are known.
    frame, encoder_key, precision
        As in :class:`Embedding`.
    name
        Name of the embedding on the other machine.
    pixels
        `(h, w, 3)` or, of a grey plane, `(h, w, 1)`: what was sent, mostly at the encoder's own
        resolution.
    """

    name: str
    pixels: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Memory of the pixels in bytes."""
        return self.pixels.nbytes


class RemoteSegmenter(AskingSegmenter):
    """A network on another machine; see :class:`Segmenter`. Safe to use from several threads.

    Parameters
    ----------
    model
        Name of one of the models that the other machine offers.
    address
        Such as ``"ws://127.0.0.1:8765"``.
    token
        The server's token; by default that of the environment, see
        :func:`~napari_sam.segmentation.tokens.usual_token`.
    precision
        Of the encoder: ``"auto"`` takes what the other machine has, any other must be it.
    rounded
        Whether features are rounded to half precision, as a cache on this machine would have them.
    progress
        Called with the fraction of the model that the other machine has downloaded.
    patience
        Seconds that a call waits for a lost connection; None waits until :meth:`give_up`.

    Raises
    ------
    ValueError
        If the other machine doesn't offer the model or precision, or there is no token.
    PermissionError
        If it doesn't know the token.
    ConnectionLost
        If it can't be reached.
    ImportError
        If the extra ``server`` isn't installed.
    """

    def __init__(
        self,
        model: str | Path | TaughtModel,
        address: str | Address,
        token: str | None = None,
        precision: str = "auto",
        rounded: bool = True,
        progress: Progress | None = None,
        patience: float | None = 60.0,
    ) -> None:
        if not isinstance(model, str):
            raise ValueError(
                "expected the name of a model that the other machine offers, got "
                f"{'a file' if isinstance(model, Path) else 'a taught model'}: weights are never "
                "sent there. Whoever runs 'napari-sam serve' can offer it with --model"
            )
        where = address if isinstance(address, Address) else Address.of(address)
        token = token or _token_of(where)
        # Nobody who doesn't have it can ask what this process has sent.
        self._secret = secrets.token_bytes(32)
        self._greeting = _Greeting(
            {
                "version": VERSION,
                "user": secrets.token_hex(32),
                "model": model,
                "precision": precision,
                "rounded": rounded,
            },
            progress,
        )
        self._forgotten: deque[Name] = deque()
        self._memory = AskedMemory(weakref.proxy(self))
        self._sent: dict[Name, int] = {}  # embeddings alive of each name that the server has got
        self._lock = threading.Lock()
        self._connection = Connection(where, token, self._greeting, patience)
        weakref.finalize(self, self._connection.close)
        about = self._greeting.answer.values
        self.traits = Traits.from_json(about["traits"])
        self.encoder_key, self.model_key = about["encoder_key"], about["model_key"]
        self._device, self._precision = about["device"], about["precision"]
        self._resized = bool(about["resized"])

    @property
    def connection(self) -> Connection:
        """The connection to the other machine."""
        return self._connection

    @property
    def address(self) -> Address:
        """Where the other machine is."""
        return self._connection.address

    @property
    def state(self) -> State:
        """Whether there is a connection."""
        return self._connection.state

    @property
    def memory(self) -> AskedMemory | None:
        """What has memories made and used there; None for a model without."""
        return self._memory if self.traits.remembers else None

    def new_name(self) -> str:
        """Return a name that nothing has there."""
        return secrets.token_hex(16)

    def forget(self, name: Name) -> None:
        """Notify the other machine, with the next call, that a name isn't needed any more."""
        self._forgotten.append(name)

    def close(self) -> None:
        """End the connection for good."""
        self._connection.close()

    def embed_pixels(
        self,
        pixels: NDArray[np.uint8],
        frame: Frame | None = None,
        progress: Progress | None = None,
    ) -> Embedding:
        """Encode normalised grey values there; see :meth:`PixelSegmenter.embed_pixels`."""
        frame = self._frame_of(pixels, frame)
        seen = resize_pixels(pixels, frame.scaled) if self._resized else np.array(pixels)
        if np.array_equal(seen[..., 0], seen[..., 1]) and np.array_equal(
            seen[..., 0], seen[..., 2]
        ):
            seen = np.ascontiguousarray(seen[..., :1])
        name = self._name_of(seen, frame)
        answer = self._encode(name, seen, frame, progress)
        shapes = answer.values["shapes"]
        half = getattr(torch, answer.values["format"])
        features = tuple(torch.empty(shape, dtype=half, device="meta") for shape in shapes)
        precision = answer.values["precision_of"]
        embedding = RemoteEmbedding(features, frame, self.encoder_key, precision, name, seen)
        with self._lock:
            self._sent[name] = self._sent.get(name, 0) + 1
        weakref.finalize(embedding, self._forgotten.append, name).atexit = False
        if progress is not None:
            progress(1.0)
        return embedding

    def decode_many(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompts],
        multimask: Multimask = "auto",
        window: int | None = None,
    ) -> list[MaskPrediction]:
        """Predict many objects of one plane; see :meth:`Segmenter.decode_many`."""
        found: list[MaskPrediction] = []
        for start in range(0, len(prompts), _AT_ONCE):
            part = [_cut_out(one, embedding.frame) for one in prompts[start : start + _AT_ONCE]]
            values, arrays = pack_prompts(part)
            about = {"prompts": values, "multimask": multimask, "window": window}
            answer = self._call_about(embedding, "decode", about, arrays)
            found += unpack_predictions(answer.values, answer.arrays, embedding.frame, len(part))
        return found

    def mean_features(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """Average the features of masks there; see :meth:`Segmenter.mean_features`."""
        check_embedding(embedding, self)
        shares = shares_of(embedding.frame, masks, embedding.frame.low_res(self.traits.stride))
        parts = [
            self._call_about(
                embedding, "mean_features", {}, {"shares": shares[start : start + _AT_ONCE]}
            ).arrays["means"]
            for start in range(0, max(1, len(shares)), _AT_ONCE)
        ]
        return np.concatenate(parts)

    def similarity(self, embedding: Embedding, vectors: ArrayLike) -> NDArray[np.float32]:
        """Multiply the plane's features by vectors there; see :meth:`Segmenter.similarity`."""
        given = {"vectors": np.asarray(vectors, np.float32)}
        found = self._call_about(embedding, "similarity", {}, given)
        return found.arrays["similarity"]

    def fetch(self, embedding: Embedding) -> Embedding:
        """Return an embedding with its features, in half precision, on this machine's CPU."""
        answer = self._call_about(embedding, "fetch", {}, {})
        features = unpack_features(answer.arrays)
        return Embedding(features, embedding.frame, embedding.encoder_key, embedding.precision)

    def _name_of(self, pixels: NDArray[np.uint8], frame: Frame) -> str:
        digest = hashlib.blake2b(repr((pixels.shape, asdict(frame))).encode(), key=self._secret)
        digest.update(pixels.data)
        return digest.hexdigest()[:64]

    def _encode(
        self,
        name: str,
        pixels: NDArray[np.uint8],
        frame: Frame,
        progress: Progress | None = None,
    ) -> Message:
        """Have a plane encoded, which is sent only if the other machine doesn't have it."""
        values = {"embedding": name, "frame": frame_values(frame)}
        answer = None
        if name in self._sent:
            answer = self._call("encode", values, {}, progress)
        if answer is None or answer.kind == UNKNOWN:
            report = part_of(progress, _SENT, 1.0)
            answer = self._call("encode", values, {"pixels": pixels}, report)
        return answer

    def _call_about(
        self,
        embedding: Embedding,
        kind: str,
        values: dict[str, Any],
        arrays: Arrays,
        progress: Progress | None = None,
    ) -> Message:
        check_embedding(embedding, self)
        if not isinstance(embedding, RemoteEmbedding):
            raise ValueError(
                f"expected an embedding that was made on {self.address}, got one of this machine; "
                "embed the plane again"
            )
        about = values | {"embedding": embedding.name}
        for _ in range(3):  # it may be forgotten again, where many share little memory
            answer = self._call(kind, about, arrays, progress)
            if answer.kind != UNKNOWN:
                return answer
            self._encode(embedding.name, embedding.pixels, embedding.frame)
        raise ConnectionError(
            f"{self.address} forgets planes faster than they are used: it has too little memory "
            "for its users. Ask for more with 'napari-sam serve --memory-gb'"
        )

    def _call(
        self, kind: str, values: dict[str, Any], arrays: Arrays, progress: Progress | None
    ) -> Message:
        values = values | {"forgotten": self._no_more()}
        answer = self._connection.call(kind, values, arrays, progress)
        self._learn(answer)
        return answer

    def _no_more(self) -> list[Name]:
        """Return the names that nothing in this process uses any more."""
        names = []
        with self._lock:
            while self._forgotten:
                name = self._forgotten.popleft()
                self._sent[name] = self._sent.get(name, 1) - 1
                if self._sent[name] <= 0:
                    del self._sent[name]
                    names.append(name)
        return names


class _Greeting:
    """The first call on every connection, with the first answer to it."""

    def __init__(self, values: dict[str, Any], progress: Progress | None) -> None:
        self.values, self.progress = values, progress
        self.answer = Message("none")

    def __call__(self, caller: Caller) -> int:
        answer = sound(caller.call("load", self.values, {}, self.progress))
        self.progress = None
        known = self.answer.values.get("model_key")
        if known not in (None, answer.values["model_key"]):
            raise ValueError(
                f"the other machine has another model under the name {self.values['model']!r} now; "
                "load it again"
            )
        self.answer = answer
        largest: int = answer.values["message_bytes"]
        return largest


def offered_models(address: Address) -> tuple[str, ...]:
    """Name the models that another machine offers, the token being the usual one.

    Raises
    ------
    ConnectionLost, PermissionError, ValueError, ImportError
        As :class:`RemoteSegmenter` raises them.
    """
    names: list[str] = []

    def greet(caller: Caller) -> int:
        names.extend(sound(caller.call("models", {})).values["models"])
        return 0

    Connection(address, _token_of(address), greet).close()
    return tuple(names)


def remote_of(segmenter: Segmenter | PixelSegmenter | None) -> RemoteSegmenter | None:
    """Return the segmenter on another machine that wrappers hand their calls to, if it is one."""
    while segmenter is not None and not isinstance(segmenter, RemoteSegmenter):
        segmenter = cast("Segmenter | None", getattr(segmenter, "inner", None))
    return segmenter


def _token_of(address: Address) -> str:
    token = usual_token(str(address))
    if token is None:
        raise ValueError(
            f"expected a token for {address}, got none; give the one that 'napari-sam serve' "
            f"printed there, in {TOKEN} or in a file of mode 600 that {TOKEN_FILE} names"
        )
    return token


def _cut_out(prompts: Prompts, frame: Frame) -> Prompts:
    """Return the same prompts, with a mask at the plane's resolution only where it is."""
    prompts.check(frame.plane_shape)
    patch = prompts.mask_patch
    return prompts if patch is None else prompts.with_logits(patch, prompts.mask_frame)
