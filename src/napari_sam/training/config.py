"""What defines a training run, read from one short TOML file."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from napari_sam.model.config import PRESETS, SamConfig
from napari_sam.special_files import refuse_special

_LONGEST = 2**16  # bytes of a configuration file

# Parts of a network that a run can leave as they are.
PARTS = ("image_encoder", "prompt_encoder", "mask_decoder", "dense_head", "roi_head")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one run.

    Parameters
    ----------
    model
        Name of a model preset.
    data
        Folder with the packed data set (`manifest.json` and `*.npz`).
    output
        Folder for checkpoints, the log and the plot.
    initial
        Model to start from, by name or checkpoint: tensors whose names and shapes fit are taken.
    freeze
        Parts of the network that stay as they are: ``"image_encoder"``, ``"prompt_encoder"``,
        ``"mask_decoder"``, ``"dense_head"`` or ``"roi_head"``. Without the image encoder's
        gradients a step takes about half the time; where nothing learns that decodes prompts,
        none are decoded.
    click_width
        Standard deviation, in model pixels, of what a click attends to in the untrained network;
        0 leaves the attention without any aim. A network that gets clicks as tokens alone finds
        out where they are far sooner that way.
    seed
        Seed of the weights, the data order and every simulated click.
    iterations
        Length of the run in optimizer steps.
    score_iterations
        Steps at the end of the run that train the predicted IoU and the heads that propose
        objects alone, on final masks and embeddings.
    warmup, decay
        Fractions of the run in which the learning rate rises from and falls to zero.
    planes, objects
        Crops in a batch, and objects prompted in each crop.
    crop
        Side of a crop in model pixels, a multiple of 32.
    large_share
        Share of batches with a quarter as many crops of twice the side: they show large objects
        whole, and the attention as many cells as it meets later.
    learning_rate, weight_decay, ema
        Of AdamW, and the decay of the averaged weights.
    rounds
        Probabilities of 1, 2, 3, … rounds of clicks.
    box_share
        Share of batches whose objects are prompted by a box first.
    loose_share
        Share of the boxes that are as far off as the dense head's proposals may be.
    miss_share
        Clicks that hit no object, as a share of those that do; they teach the predicted IoU alone.
    scale
        Smallest and largest random magnification.
    diameter, fitted_share
        Share of the real crops that are magnified so that the plane's median object has about
        this diameter in model pixels, as finding everything does; the others are by `scale`.
    far_share
        Share of the real crops that show the whole plane from afar, as the search for a plane's
        scale begins: the dense head learns what it cannot see there.
    sources
        Weight of each source in the mixture; `synthetic` is the procedural generator.
    crowded
        Planes of a modality are chosen by their number of objects to this power; 0 takes all alike.
    modalities
        Beginnings of the names of the modalities that are taken; empty takes all.
    vary_colours
        Vary contrast, colours, light, sharpness and noise of the crops.
    split_share
        Share of the real crops in which profiles of one body that are apart are objects of their
        own, as users mostly mean them; in the others a box may mean several.
    plain_share
        Share of the real crops whose colours are left alone all the same. How far beyond the
        visible edge an outline is drawn differs by data set, and varied colours hide which.
    balance
        How much an object counts beside all that is near it, between 0 and 1; see
        :func:`~napari_sam.training.losses.mask_loss`.
    validate_every, validate_planes
        Iterations between validations (0: none) and planes used in each (0: all).
    checkpoint_every
        Iterations between resumable checkpoints.
    device, precision
        Where the network is trained, ``"cpu"`` or ``"cuda"``, and the number format of its
        products: ``"float32"``, or ``"bfloat16"`` under autocast.
    threads, workers
        Torch threads and data-loading processes.
    compile
        Compile the image encoder, which needs a C++ compiler. On a CPU with AVX2 alone that gains
        nothing: forward and backward of 8 crops take 1.8 s either way.
    """

    model: str
    data: str
    output: str
    initial: str = ""
    freeze: tuple[str, ...] = ()
    click_width: float = 0.0
    seed: int = 0
    iterations: int = 4000
    score_iterations: int = 0
    warmup: float = 0.02
    decay: float = 0.3
    planes: int = 8
    objects: int = 4
    crop: int = 256
    large_share: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.999
    rounds: tuple[float, ...] = (0.3, 0.35, 0.25, 0.1)
    box_share: float = 0.25
    loose_share: float = 0.0
    miss_share: float = 0.0
    scale: tuple[float, float] = (0.45, 2.6)
    diameter: float = 28.0
    fitted_share: float = 0.0
    far_share: float = 0.0
    crowded: float = 0.0
    sources: dict[str, float] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    vary_colours: bool = True
    split_share: float = 0.75
    plain_share: float = 0.0
    balance: float = 1.0
    validate_every: int = 500
    validate_planes: int = 12
    checkpoint_every: int = 100
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 2
    workers: int = 1
    compile: bool = False

    @property
    def network(self) -> SamConfig:
        """Configuration of the network."""
        return PRESETS[self.model]

    @property
    def trains_dense_head(self) -> bool:
        """Whether the network has a dense head that the run doesn't freeze."""
        return bool(self.network.dense_channels) and "dense_head" not in self.freeze

    @property
    def trains_roi_head(self) -> bool:
        """Whether the network has a head that judges regions that the run doesn't freeze."""
        return bool(self.network.roi_channels) and "roi_head" not in self.freeze

    @property
    def trains_masks(self) -> bool:
        """Whether anything learns from decoded prompts."""
        return not {"image_encoder", "prompt_encoder", "mask_decoder"} <= set(self.freeze)


def read_config(path: str | Path) -> TrainConfig:
    """Read a run's configuration; relative paths in it are relative to the working directory.

    Raises
    ------
    ValueError
        For a file that is no TOML, unknown keys, unknown models or values that don't fit.
    """
    values = _read_toml(path)
    known = {f.name for f in fields(TrainConfig)}
    if unknown := set(values) - known:
        raise ValueError(
            f"expected only {sorted(known)} in {path}, got {sorted(unknown)}; correct the names"
        )
    if missing := {"model", "data", "output"} - set(values):
        raise ValueError(f"expected {sorted(missing)} in {path}; add them")
    if str(values["model"]) not in PRESETS:
        raise ValueError(f"expected a model among {sorted(PRESETS)}, got {values['model']!r}")
    if (precision := values.get("precision", "float32")) not in ("float32", "bfloat16"):
        raise ValueError(f"expected precision float32 or bfloat16, got {precision!r}")
    frozen = values.get("freeze", [])
    if not isinstance(frozen, list) or not set(frozen) < set(PARTS):
        raise ValueError(f"expected a list of some of {list(PARTS)} to freeze, got {frozen!r}")
    for key, kind in get_type_hints(TrainConfig).items():
        if key in values and not _fits(values[key], kind):
            name = getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)
            raise ValueError(f"expected {key} of type {name} in {path}, got {values[key]!r:.80}")
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    config = TrainConfig(**values)
    if config.crop % 32:
        raise ValueError(f"expected a crop side that is a multiple of 32, got {config.crop}")
    return config


def _read_toml(path: str | Path) -> dict[str, Any]:
    refuse_special(path)
    with open(path, "rb") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError(f"expected a configuration of at most {_LONGEST} bytes, got more: {path}")
    try:
        return tomllib.loads(text.decode())
    except RecursionError as error:
        raise ValueError(f"cannot read {path} as TOML: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"cannot read {path} as TOML: {error}") from error


def _fits(value: object, kind: Any) -> bool:
    """Whether a value of a TOML file can be a setting of a type; a list can be a tuple."""
    inner = get_args(kind)
    if get_origin(kind) is tuple:
        endless = inner[-1] is Ellipsis
        return (
            isinstance(value, list)
            and (endless or len(value) == len(inner))
            and all(_fits(one, inner[0]) for one in value)
        )
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_fits(one, inner[1]) for one in value.values())
    if kind is float:
        return type(value) in (int, float) and math.isfinite(cast(float, value))
    return type(value) is kind
