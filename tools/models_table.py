"""Write the tables of models into docs/models.md.

Usage: ``models_table.py``. What a model is for and how fast it is are kept here; names, sizes,
licences and what a model can do come from the program. A test compares the page with ``table``.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_sam.model.config import PRESETS
from napari_sam.model.registry import REGISTRY, Entry
from napari_sam.model.weights import megabytes, path_of
from napari_sam.segmentation.traits import Traits

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- tables of models: tools/models_table.py -->", "<!-- end of the tables -->"
MODELS = ("model", "what for", "size", "a plane on two CPU cores", "licence")
ABILITIES = ("models", "*Find all* by", "*Follow* by memory", "reads text", "also install")
LIGHT, ORGANELLES = "cells and nuclei in light microscopy", "organelles in electron microscopy"
FOR = {
    "nano": "small and fast, for microscopy ([card](models/nano.md))",
    "vit_t": "natural images, light (MobileSAM)",
    "vit_b": "natural images (Segment Anything)",
    "vit_l": "natural images, more exact",
    "vit_h": "natural images, most exact",
    "vit_t_lm": f"{LIGHT} (micro-sam), light",
    "vit_b_lm": f"{LIGHT} (micro-sam)",
    "vit_l_lm": f"{LIGHT}, more exact",
    "vit_t_em_organelles": f"{ORGANELLES} (micro-sam), light",
    "vit_b_em_organelles": f"{ORGANELLES} (micro-sam)",
    "vit_l_em_organelles": f"{ORGANELLES}, more exact",
    "sam2.1_tiny": "natural images and video ([SAM 2.1](models/sam2-sam3.md#sam-21))",
    "sam2.1_small": "the same, larger",
    "sam2.1_base_plus": "the same, larger again",
    "sam2.1_large": "the same, largest",
    "sam3": "natural images, also by a text ([SAM 3](models/sam2-sam3.md#sam-3))",
}
# Seconds as docs/performance.md has them; by architecture, as weights make no difference.
SECONDS = {"nano": "0.1 to 0.2 s", "vit_t": "1.2 s", "vit_b": "3.3 to 6.9 s"}
REMEMBERS, READS_TEXT = {"sam2"}, {"sam3"}
"""Families of the library transformers whose networks do: see their ``Traits``."""


def table() -> str:
    """Return both tables as Markdown: the models one by one, and by what they can do."""
    by_ability: dict[tuple[str, ...], list[str]] = {}
    for entry in REGISTRY.values():
        by_ability.setdefault(abilities(entry), []).append(f"`{entry.name}`")
    return "\n\n".join(
        (
            markdown(MODELS, map(facts, REGISTRY.values())),
            "What they can do beyond clicks, boxes and strokes:",
            markdown(ABILITIES, ((", ".join(names), *can) for can, names in by_ability.items())),
        )
    )


def markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = heading, ("---",) * len(heading), *rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def facts(entry: Entry) -> tuple[str, ...]:
    """Return a model's line of the first table, cell by cell."""
    size = path_of(entry.name).stat().st_size if entry.url is None else entry.size
    return (
        f"`{entry.name}`",
        FOR[entry.name],
        "shown after download" if size is None else megabytes(size),
        SECONDS.get(entry.config, "not measured"),
        entry.licence,
    )


def abilities(entry: Entry) -> tuple[str, ...]:
    """Return what a model can do, cell by cell of the second table."""
    if entry.repository is None:
        traits = Traits.of(PRESETS[entry.config])
        extra, remembers, reads = "–", traits.remembers, traits.reads_text
        finds = "its own boxes" if traits.proposes else "grid of points"
        if entry.decoder_digest is not None:
            finds = "[decoder for instances](models/micro-sam.md)"
    else:
        extra, remembers = f"`[{entry.config}]`", entry.config in REMEMBERS
        finds, reads = "grid of points", entry.config in READS_TEXT
    return finds, "yes" if remembers else "no", "yes" if reads else "no", extra


def replaced(page: str) -> str:
    """Return a page with its tables made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
