"""Properties and abilities of a model that callers may rely on, whatever its network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from napari_sam.geometry import Geometry
from napari_sam.model.config import SamConfig
from napari_sam.model.tuning import Tuning

Way = Literal["head", "decoder", "grid"]
"""How every object of a plane is found: a key of :data:`WAYS`."""

WAYS: dict[Way, str] = {
    "head": "the model's proposals",
    "decoder": "the model's decoder for instances",
    "grid": "a grid of points",
}
"""Name of each way, as it follows "by" in a sentence."""

_LONGEST_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Traits:
    """Input, output and abilities of a model.

    Parameters
    ----------
    name
        Name of the model, as shown to users.
    geometry
        How a plane is resized and padded to the model's input.
    stride
        Model pixels per cell of the image embedding.
    mask_stride
        Model pixels per cell of the low-resolution logits; not a whole number for some models.
    levels
        For each feature level of an embedding, the image embedding first: its channels, and how
        many of its cells correspond to one cell of the image embedding along each axis.
    proposes
        Whether :meth:`Segmenter.propose` finds objects.
    reads_text
        Whether it finds objects by a text or by example boxes; the segmenter is then a
        :class:`ConceptSegmenter`.
    judges
        Whether a RoI head rescores proposed boxes region by region.
    refines_first_click
        Whether a first click's best candidate is decoded once more, from its own logits.
    decodes_windows
        Whether masks can be decoded from a part of an embedding, as by a model trained on crops.
    tidies
        Whether islands and small holes are removed from its masks and masks are fitted to boxes.
        Not so for published models, whose masks equal those of their reference implementation.
    learns
        Whether it can be taught, which takes this program's own network.
    gains_in_half
        Whether half precision makes it faster; a small network gains nothing.
    memory_planes
        Number of planes from which the memory keeps an object's mask features when the object is
        followed; 0 for a model without a memory.
    memory_pointers
        Number of planes from which the memory keeps an object pointer.
    tuning
        Numbers tuned for the model.
    instance_key
        Hash of its decoder for instances, which predicts every object of a plane at once; empty
        without one.
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
        """Return the traits of one of this program's own networks."""
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
        """Whether :meth:`InstanceSegmenter.instance_maps` is available."""
        return bool(self.instance_key)

    def way(self, proposals: bool | None = None) -> Way:
        """Return how :func:`~napari_sam.generate_masks` finds every object of a plane.

        Parameters
        ----------
        proposals
            As in :class:`~napari_sam.automask.AutomaskSettings`.

        Returns
        -------
        way
            ``"head"`` for the dense head, ``"decoder"`` for the decoder for instances, or
            ``"grid"`` for a grid of points.
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
        """Whether the model has a memory by which objects can be followed."""
        return self.memory_planes > 0

    def renamed(self, name: str) -> Traits:
        """Return the same traits under another name."""
        return replace(self, name=name)

    def to_json(self) -> str:
        """Return the traits as JSON, for :meth:`from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Traits:
        """Read the JSON that :meth:`to_json` returned.

        Raises
        ------
        ValueError
            If it isn't the JSON of traits.
        """
        try:
            if len(text) > _LONGEST_TEXT:
                raise ValueError(f"{len(text)} letters")
            data: dict[str, Any] = json.loads(text)
            geometry, tuning = Geometry(**data.pop("geometry")), data.pop("tuning")
            levels = tuple((int(c), int(n)) for c, n in data.pop("levels"))
            return cls(**data, geometry=geometry, levels=levels, tuning=Tuning.from_values(tuning))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"expected a model's traits, got {text[:80]!r} ({error}); the other end is another "
                "version: install the same one at both"
            ) from error
