"""What a user may ask of a server, at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_sam.geometry import Convention, Frame
from napari_sam.prompts import Prompts
from napari_sam.segmentation.messages import frame_of, unpack_prompts
from napari_sam.segmentation.pipe import Arrays, Message
from napari_sam.segmentation.traits import Traits

_LONGEST_SIDE = 2**16  # pixels of a plane's rectangle that is encoded
_LARGEST_PLACE = 2**31
_LONGEST_NAME = 128
_MOST_MEMORIES = 64  # of an object


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a user may ask, at most.

    Parameters
    ----------
    message_bytes
        Of one message.
    memory_bytes
        Of the features that are kept for all users together.
    users
        Who are connected at the same time.
    calls
        That a user may have asked before the first is answered.
    objects
        Objects or masks of one call.
    clicks
        On the objects of one call, all together.
    remembered_seconds
        How long the planes of a user who has gone are kept.
    """

    message_bytes: int = 64 << 20
    memory_bytes: int = 4 << 30
    users: int = 32
    calls: int = 16
    objects: int = 64
    clicks: int = 4096
    remembered_seconds: float = 600.0

    def check_bytes(self, count: int) -> None:
        """Refuse a call whose answer would be too long.

        Raises
        ------
        ValueError
            If it would.
        """
        if count > self.message_bytes:
            raise ValueError(
                f"expected an answer of at most {self.message_bytes} bytes, but that would have "
                f"{count}; look at the plane in tiles"
            )

    def check_count(self, count: int) -> None:
        """Refuse a call about too much.

        Raises
        ------
        ValueError
            If it is.
        """
        if count > self.objects:
            raise ValueError(f"expected at most {self.objects} objects in a call, got {count}")


def checked_name(value: Any) -> str:
    """Return what a user calls a plane; refuse what is no name."""
    if not (isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isalnum()):
        raise ValueError("expected the name of an embedding, got something else")
    return value


def checked_frame(values: Any, traits: Traits) -> Frame:
    """Return the frame that a user describes.

    Raises
    ------
    ValueError
        If it is none that fits the model's input.
    """
    try:
        frame = frame_of(values)
        pairs = (frame.plane_shape, frame.origin, frame.shape, frame.scaled, frame.canvas)
        whole = all(len(pair) == 2 and all(type(n) is int for n in pair) for pair in pairs)
    except (TypeError, ValueError, LookupError):
        whole = False
    if not whole or frame.convention not in get_args(Convention):
        raise ValueError("expected a frame: five pairs of numbers and a convention")
    largest = traits.input_size
    for of_plane, origin, side, scaled, canvas in zip(*pairs, strict=True):
        fits = 0 < scaled <= canvas <= largest and origin >= 0 and 0 < side <= _LONGEST_SIDE
        if not (fits and origin + side <= of_plane <= _LARGEST_PLACE):
            raise ValueError(
                f"expected a frame of at most {_LONGEST_SIDE} pixels in a model's input of "
                f"{largest}, got {frame}"
            )
    if min(frame.low_res(traits.stride)) < 1:
        raise ValueError(f"expected a canvas of at least a cell, {traits.stride}, got {frame}")
    return frame


def checked_pixels(arrays: Arrays, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the grey values `(h, w, 3)` that a user sends, of the shape (h, w) they should have.

    Raises
    ------
    ValueError
        If they are none, or of another shape.
    """
    pixels = arrays["pixels"]
    expected = [(*shape, 1), (*shape, 3)]
    if pixels.dtype != np.uint8 or pixels.shape not in expected:
        raise ValueError(
            f"expected grey values of shape {expected[0]} or {expected[1]}, got {pixels.dtype} of "
            f"shape {pixels.shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(pixels, (*shape, 3)))


def checked_prompts(message: Message, traits: Traits, limits: ServerLimits) -> list[Prompts]:
    """Return the prompts of a user's call.

    Raises
    ------
    ValueError, TypeError, LookupError
        If they are none, or too many.
    """
    about = message.values["prompts"]
    if not (isinstance(about, list) and all(isinstance(one, dict) for one in about)):
        raise ValueError("expected a list of objects' prompts, got something else")
    limits.check_count(len(about))
    for one in about:
        if "frame" in one:
            checked_frame(one["frame"], traits)
    prompts = unpack_prompts(about, message.arrays)
    clicks = sum(len(one.points) for one in prompts)
    if clicks > limits.clicks:
        raise ValueError(f"expected at most {limits.clicks} clicks in a call, got {clicks}")
    return prompts


def checked_window(value: Any, traits: Traits) -> int | None:
    """Return the window that a user asks to decode in."""
    if value is None or (type(value) is int and 0 <= value <= 2 * traits.input_size):
        return value
    raise ValueError(f"expected a window of 0 to {2 * traits.input_size} model pixels, got another")


def checked_names(values: Any) -> Sequence[str]:
    """Return the names of planes that a user doesn't need any more."""
    if not isinstance(values, list):
        raise ValueError("expected a list of names, got something else")
    return [checked_name(value) for value in values]


def check_remembered(message: Message, frame: Frame, limits: ServerLimits) -> None:
    """Refuse a user's masks to remember that are none of a plane, or too many.

    Raises
    ------
    ValueError, TypeError, LookupError
        If they are.
    """
    origins, names = message.values["origins"], checked_names(message.values["names"])
    limits.check_count(len(names))
    if not isinstance(origins, list) or len(origins) != len(names):
        raise ValueError("expected a mask of each object to remember, got something else")
    for i, (row, column) in enumerate(origins):
        mask = message.arrays[f"mask.{i}"]
        is_mask = mask.dtype == bool and mask.ndim == 2 and type(row) is type(column) is int
        if not is_mask or min(row, column) < 0:
            raise ValueError("expected masks of a plane to remember, got something else")
        if (
            row + mask.shape[0] > frame.plane_shape[0]
            or column + mask.shape[1] > (frame.plane_shape[1])
        ):
            raise ValueError(f"expected masks of a plane of {frame.plane_shape}, got one beyond it")


def check_recalled(message: Message, limits: ServerLimits) -> None:
    """Raise an error for memories in a call that are malformed, or too many.

    Raises
    ------
    ValueError, TypeError, LookupError
        If it does.
    """
    values, names = message.values, checked_names(message.values["names"])
    limits.check_count(len(names))
    pasts, count, sent = values["pasts"], values["count"], values["sent"]
    if not (isinstance(pasts, list) and isinstance(sent, list) and len(pasts) == len(names)):
        raise ValueError("expected what is remembered of each object, got something else")
    if type(count) is not int or count < 1:
        raise ValueError("expected a number of planes, got something else")
    for past in pasts:
        if len(past) > _MOST_MEMORIES:
            raise ValueError(
                f"expected at most {_MOST_MEMORIES} memories of an object, got {len(past)}"
            )
        if not all(checked_name(name) and type(away) is int for name, away in past):
            raise ValueError("expected distances as whole numbers, got others")
    for i, (name, has_features, is_given) in enumerate(sent):
        checked_name(name)
        pointer = message.arrays[f"pointer.{i}"]
        is_memory = pointer.dtype == np.float32 and pointer.ndim == 1
        if has_features:
            features = message.arrays[f"memory.{i}"]
            is_memory = is_memory and features.dtype == np.int16 and features.ndim == 3
        if not is_memory or type(is_given) is not bool:
            raise ValueError("expected memories, got other arrays")
