"""What callers may rely on of a model, whatever its network is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from napari_sam.geometry import Geometry
from napari_sam.model.config import SamConfig
from napari_sam.model.tuning import Tuning

Way = Literal["head", "decoder", "grid"]
"""How every object of a plane is found."""

WAYS: dict[Way, str] = {
    "head": "the model's proposals",
    "decoder": "the model's decoder for instances",
    "grid": "a grid of points",
}
"""What each way is called, after a "by"."""

_LONGEST_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model takes, gives and can do.

    Parameters
    ----------
    name
        Shown to people.
    geometry
        How a plane is laid into its input.
    stride
        Model pixels per cell of the image embedding.
    mask_stride
        Model pixels per cell of the low-resolution logits; of some models no whole number.
    levels
        Of an embedding's features, the image embedding first: channels, and how many cells of the
        level there are to one of the image embedding, along each axis.
    proposes
        Whether :meth:`Segmenter.propose` finds objects.
    reads_text
        Whether it finds objects by a text or by examples: it is a :class:`ConceptSegmenter`.
    judges
        Whether it judges proposed boxes region by region.
    refines_first_click
        Whether a first click's best candidate is decoded once more, from its own logits.
    decodes_windows
        Whether masks can be decoded from a part of an embedding: it was trained on crops.
    tidies
        Whether its masks are made whole and fitted to boxes; those of a published model stay as
        its reference has them.
    learns
        Whether it can be taught: its network is this program's own.
    gains_in_half
        Whether a narrower number makes it faster: a small network gains nothing.
    memory_planes
        On how many planes behind it an object that is followed is remembered as it was seen there;
        0 for a model without a memory.
    memory_pointers
        On how many planes behind it is remembered what the object is.
    tuning
        Numbers tuned for it.
    instance_key
        Hash of its decoder for instances, by which it maps every object of a plane at once; empty
        where it has none.
    """

    name: str
    geometry: Geometry
    stride: int
    mask_stride: float
    levels: tuple[tuple[int, int], ...]
    proposes: bool = False
    reads_text: bool = False
    judges: bool = False
    refines_first_click: bool = False
    decodes_windows: bool = False
    tidies: bool = False
    learns: bool = False
    gains_in_half: bool = True
    memory_planes: int = 0
    memory_pointers: int = 0
    tuning: Tuning = field(default_factory=Tuning)
    instance_key: str = ""

    @classmethod
    def of(cls, config: SamConfig) -> Traits:
        """Return the traits of a network of ours."""
        own = config.resize == "own"
        skips = tuple((c, 1 << i) for i, c in enumerate(config.skip_channels, start=1))
        return cls(
            config.name,
            Geometry(config.image_size, config.max_upscale if own else None),
            config.stride,
            config.mask_stride,
            ((config.embed_dim, 1), *skips),
            proposes=config.dense_channels > 0,
            judges=config.roi_channels > 0,
            refines_first_click=own,
            decodes_windows=own,
            tidies=own,
            learns=True,
            gains_in_half=not own,
            tuning=config.tuning,
        )

    @property
    def maps_instances(self) -> bool:
        """Whether :meth:`InstanceSegmenter.instance_maps` shows objects."""
        return bool(self.instance_key)

    def way(self, proposals: bool | None = None) -> Way:
        """Tell how every object of a plane is found.

        `proposals` is that of :class:`~napari_sam.automask.AutomaskSettings`.
        """
        if proposals is False:
            return "grid"
        return "head" if self.proposes else "decoder" if self.maps_instances else "grid"

    @property
    def input_size(self) -> int:
        """Side of the largest input, in model pixels."""
        return self.geometry.input_size

    @property
    def remembers(self) -> bool:
        """Whether objects can be followed by what is remembered of them."""
        return self.memory_planes > 0

    def renamed(self, name: str) -> Traits:
        """Return the same traits under another name."""
        return replace(self, name=name)

    def to_json(self) -> str:
        """Return them as text, for :meth:`from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Traits:
        """Read what :meth:`to_json` gave.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            if len(text) > _LONGEST_TEXT:
                raise ValueError(f"{len(text)} letters")
            told: dict[str, Any] = json.loads(text)
            geometry, tuning = Geometry(**told.pop("geometry")), told.pop("tuning")
            levels = tuple((int(c), int(n)) for c, n in told.pop("levels"))
            return cls(**told, geometry=geometry, levels=levels, tuning=Tuning.from_values(tuning))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"expected a model's traits, got {text[:80]!r} ({error}); the other end is another "
                "version: install the same one at both"
            ) from error
