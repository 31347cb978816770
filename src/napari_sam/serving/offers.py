"""The models that a server offers, each loaded when somebody first asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from napari_sam.model import pretrained, taught_library, weights
from napari_sam.segmentation.devices import choose_device, choose_precision
from napari_sam.segmentation.loading import load_segmenter
from napari_sam.segmentation.protocol import PixelSegmenter, Progress

Load = Callable[[Progress | None], PixelSegmenter]


class Offers:
    """Models by the names that users know them by. Safe to use from several threads.

    Parameters
    ----------
    loads
        What loads each.
    """

    def __init__(self, loads: Mapping[str, Load]) -> None:
        self._loads = dict(loads)
        self._loaded: dict[str, PixelSegmenter] = {}
        self._locks = {name: threading.Lock() for name in loads}

    @classmethod
    def of(
        cls, models: Sequence[str] = (), device: str = "auto", precision: str = "auto"
    ) -> Offers:
        """Offer models of this machine.

        Parameters
        ----------
        models
            Names or paths, of which users see the file's name without its suffix; by default
            what is on this disk.
        device, precision
            As of :func:`~napari_sam.load_segmenter`.

        Raises
        ------
        ValueError
            For two models of one name, an unknown one, or a device that is not here.
        """
        choose_precision(precision, choose_device(device))
        loads: dict[str, Load] = {}
        for model in models or on_disk():
            name = _name_of(model)
            if name in loads:
                raise ValueError(f"expected models of different names, got two called {name!r}")
            loads[name] = _loader(model, device, precision)
        return cls(loads)

    @property
    def names(self) -> tuple[str, ...]:
        """What is offered."""
        return tuple(self._loads)

    def load(self, name: object, progress: Progress | None = None) -> PixelSegmenter:
        """Return a model, loaded if it isn't yet.

        Raises
        ------
        ValueError
            If it isn't offered.
        """
        if not isinstance(name, str) or name not in self._loads:
            given = repr(name)[:80]
            raise ValueError(f"expected a model among {', '.join(self._loads)}, got {given}")
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = self._loads[name](progress)
            return self._loaded[name]


def on_disk() -> list[str]:
    """Name the models that can be loaded without a download, those that were taught last."""
    here = [name for name in weights.REGISTRY if weights.is_downloaded(name)]
    return here + [one.name for one in taught_library.listed() if one.card is not None]


def _name_of(model: str) -> str:
    """Return what users call a model; refuse what is none."""
    if model in weights.REGISTRY:
        return model
    if (taught := taught_library.find(model)) is not None:
        return taught.name
    if pretrained.is_pretrained(model):
        return pretrained.name_of(model)
    if Path(model).expanduser().is_file():
        return Path(model).stem
    raise ValueError(
        f"expected the name of a model or the path of a file, got {model!r}; 'napari-sam models' "
        "lists those that are known"
    )


def _loader(model: str, device: str, precision: str) -> Load:
    def load(progress: Progress | None) -> PixelSegmenter:
        segmenter = load_segmenter(model, device, precision, progress, tiles=False, cache=False)
        assert isinstance(segmenter, PixelSegmenter)
        return segmenter

    return load
