"""Training samples: labelled planes read, chosen, cropped and augmented."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import measure
from torch.utils.data import IterableDataset

from napari_sam.special_files import refuse_special
from napari_sam.training.augment import augment_colours, crop_warped, to_rgb
from napari_sam.training.config import TrainConfig
from napari_sam.training.dense_loss import DenseTargets
from napari_sam.training.synthetic import generate

# Validation planes of a training volume: the last slices, never trained on.
HELD_OUT_SLICES = 20
_MIN_OBJECT_PIXELS = 24
# From afar no object may be larger.
_LEAST_PIXELS = 4
# Magnifications that fit a plane's objects vary by so much, as a logarithm, to either side.
_FITTED_SPREAD = 0.55


@dataclass(frozen=True, slots=True)
class Plane:
    """A labelled plane: image `(H, W)` or `(H, W, 3)`, labels `(H, W)` with 0 for background."""

    image: NDArray[Any]
    labels: NDArray[Any]
    source: str
    modality: str
    name: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops of one training step.

    Parameters
    ----------
    images
        `(B, 3, S, S)` uint8.
    labels
        `(B, S, S)` int32; 0 is background.
    chosen
        `(B, K)` labels of the objects to prompt.
    dense
        Targets of the dense head, if the run trains one.
    index
        Number of the step this batch belongs to.
    """

    images: torch.Tensor
    labels: torch.Tensor
    chosen: torch.Tensor
    dense: DenseTargets | None
    index: int

    def pin_memory(self) -> Batch:
        """Copy to memory that a GPU reads by itself; the data loader asks for it."""
        return self._with(torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        """Copy to a device, where possible while it works on something else."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        dense = self.dense
        if dense is not None:
            parts = {f.name: change(getattr(dense, f.name)) for f in fields(dense)}
            dense = DenseTargets(**parts)
        images, labels, chosen = map(change, (self.images, self.labels, self.chosen))
        return Batch(images, labels, chosen, dense, self.index)


def read_planes(folder: str | Path, split: str) -> list[Plane]:
    """Read the planes of a split from the packed data set.

    Parameters
    ----------
    folder
        Folder with `manifest.json` and the `.npz` files.
    split
        ``"train"`` or ``"val"``. Volumes give their slices; the last slices of a training
        volume belong to ``"val"``.

    Returns
    -------
    planes
        In the order of the manifest.

    Raises
    ------
    FileNotFoundError
        If the folder holds no such data set.
    ValueError
        If its manifest can't be read.
    """
    root = Path(folder)
    if not (root / "manifest.json").is_file():
        raise FileNotFoundError(
            f"expected a packed data set with manifest.json in {root}; set `data` in the "
            "configuration to its folder"
        )
    items = _read_items(root / "manifest.json")
    archives: dict[str, Any] = {}
    planes: list[Plane] = []
    for item in items:
        volume = item["dims"] in ("ZYX", "TYX")
        if item["split"] != split and not (volume and item["split"] == "train"):
            continue
        if (name := item["file"]) not in archives:
            refuse_special(root / name)
            archives[name] = np.load(root / name)
        archive = archives[name]
        image, labels = archive[f"{item['id']}.image"], archive[f"{item['id']}.label"]
        if not volume:
            plane = Plane(image, labels, item["source"], item["modality"], item["id"])
            planes.append(plane)
            continue
        indexes = range(len(image))
        if item["split"] == "train":
            cut = len(image) - HELD_OUT_SLICES
            indexes = range(cut) if split == "train" else range(cut, len(image))
        planes += [
            Plane(image[z], labels[z], item["source"], item["modality"], f"{item['id']}/{z}")
            for z in indexes
        ]
    return planes


def _read_items(path: Path) -> list[dict[str, str]]:
    try:
        items = json.loads(path.read_text("utf-8"))["items"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(
            f"expected a JSON object with a list of items in {path}, got something else ({error})"
        ) from error
    needed = {"id", "dims", "split", "file", "source", "modality"}
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, dict) or not needed <= set(item):
            raise ValueError(f"expected items with {sorted(needed)} in {path}, got {item!r:.80}")
    return list(items)


class CropStream(IterableDataset[Batch]):
    """Endless batches; batch `i` depends on the seed and on `i` alone, so a run can resume.

    Parameters
    ----------
    config
        The run's settings.
    planes
        Training planes, see :func:`read_planes`.
    start
        Number of the first batch.
    """

    def __init__(self, config: TrainConfig, planes: list[Plane], start: int = 0) -> None:
        self.config = config
        self.start = start
        self.pools: dict[str, dict[str, list[Plane]]] = {}
        for plane in planes:
            if not plane.modality.startswith(config.modalities or ""):
                continue
            pool = self.pools.setdefault(plane.source, {})
            pool.setdefault(plane.modality, []).append(plane)
        self._shares = {
            (source, modality): _shares(pool, config.crowded)
            for source, pools in self.pools.items()
            for modality, pool in pools.items()
            if config.crowded
        }
        self.weights = config.sources or dict.fromkeys(self.pools, 1.0)
        if unknown := set(self.weights) - set(self.pools) - {"synthetic"}:
            raise ValueError(
                f"expected sources among {sorted(self.pools)} and synthetic, got {sorted(unknown)}"
            )

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self.start + offset
        while True:
            yield self.batch(index)
            index += step

    def batch(self, index: int) -> Batch:
        """Make batch number `index`."""
        rng = np.random.default_rng((self.config.seed, index))
        large = rng.random() < self.config.large_share
        side = self.config.crop * (2 if large else 1)
        count = max(1, self.config.planes // 4) if large else self.config.planes
        crops = [self._crop(side, rng) for _ in range(count)]
        chosen = [_choose(labels, self.config.objects, rng) for _, labels in crops]
        labels = np.stack([labels for _, labels in crops]).astype(np.int32)
        return Batch(
            torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in crops])),
            torch.from_numpy(labels),
            torch.from_numpy(np.stack(chosen)),
            DenseTargets.of(labels) if self.config.trains_dense_head else None,
            index,
        )

    def _crop(
        self, side: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        names = list(self.weights)
        shares = np.array([self.weights[n] for n in names])
        for _ in range(20):
            source = names[int(rng.choice(len(names), p=shares / shares.sum()))]
            varies = self.config.vary_colours
            if source == "synthetic":
                sample = generate(rng, side)
                image, labels = sample.image, sample.labels
            else:
                image, labels = self._crop_real(source, side, rng)
                varies = varies and rng.random() >= self.config.plain_share
            # objects cut off at the rim to a sliver teach nothing
            least = _LEAST_PIXELS if self.config.far_share else _MIN_OBJECT_PIXELS
            if np.bincount(labels.ravel())[1:].max(initial=0) >= least:
                return augment_colours(image, rng) if varies else image, labels
        raise ValueError("expected labelled objects in the training planes, found none in 20 tries")

    def _crop_real(
        self, source: str, side: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        modalities = list(self.pools[source])
        # the square root of the counts: small modalities count, none is worn out
        shares = np.sqrt([len(self.pools[source][m]) for m in modalities])
        modality = modalities[int(rng.choice(len(modalities), p=shares / shares.sum()))]
        pool, crowds = self.pools[source][modality], self._shares.get((source, modality))
        at = rng.integers(len(pool)) if crowds is None else rng.choice(len(pool), p=crowds)
        plane = pool[int(at)]
        low, high = self.config.scale
        magnification = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        if rng.random() < self.config.far_share:
            magnification = min(magnification, side / max(plane.labels.shape) / rng.uniform(1, 2))
        elif rng.random() < self.config.fitted_share and (usual := usual_diameter(plane.labels)):
            spread = float(np.exp(rng.uniform(-1, 1) * _FITTED_SPREAD))
            magnification = min(high, spread * self.config.diameter / usual)
        image, labels = crop_warped(
            to_rgb(plane.image, rng), plane.labels, side, magnification, rng
        )
        if rng.random() < self.config.split_share:
            labels = measure.label(labels, background=0, connectivity=1).astype(np.int32)
        return image, labels


def _shares(planes: list[Plane], power: float) -> NDArray[np.float64]:
    """Return the share of crops of each plane, by its number of objects to a power."""
    shares = np.array([len(np.unique(plane.labels)) for plane in planes]) ** power
    return np.asarray(shares / shares.sum())


def usual_diameter(labels: NDArray[np.integer]) -> float:
    """Diameter, in pixels, of a disk as large as the median object; 0 without any."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas >= _MIN_OBJECT_PIXELS]
    return float(np.sqrt(4 / np.pi * np.median(areas))) if len(areas) else 0.0


def _choose(labels: NDArray[np.int32], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    ids = np.flatnonzero(areas >= min(_MIN_OBJECT_PIXELS, areas.max()))
    return rng.choice(ids, count, replace=len(ids) < count).astype(np.int64)
