"""The encoded tiles of one plane that are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock

from napari_sam.geometry import Tile
from napari_sam.segmentation.protocol import Embedding

# Features of the tiles that one embedding keeps in memory, in bytes; the least recently used go
# first. A cache below the tiles keeps them on disk.
_MAX_TILE_BYTES = 2**30


class TileStore:
    """Encoded tiles by rectangle, the most recently used up to a limit; safe between threads.

    Those that :meth:`keep` names stay, and so does the latest.
    """

    def __init__(self, tiles: Mapping[Tile, Embedding] | None = None) -> None:
        self.computing = Lock()
        self._lock = Lock()
        self._tiles = OrderedDict(tiles or {})
        self._held = set(self._tiles)
        self._kept: frozenset[Tile] = frozenset()
        self.nbytes = sum(embedding.nbytes for embedding in self._tiles.values())

    def __reduce__(self) -> tuple[type[TileStore], tuple[dict[Tile, Embedding]]]:
        """Pickle and copy the tiles, not the locks."""
        with self._lock:
            return TileStore, (dict(self._tiles),)

    def get(self, tile: Tile) -> Embedding | None:
        """Return a tile's embedding; None if it isn't here."""
        with self._lock:
            found = self._tiles.get(tile)
            if found is not None:
                self._tiles.move_to_end(tile)
            return found

    def keep(self, tiles: Iterable[Tile]) -> None:
        """Let these tiles stay, and no longer those that were named before."""
        with self._lock:
            self._kept = frozenset(tiles)

    def has_held(self, tile: Tile) -> bool:
        """Whether a tile was ever put here, even if it had to go since."""
        with self._lock:
            return tile in self._held

    def put(self, tile: Tile, embedding: Embedding) -> None:
        """Keep a tile's embedding, and drop others where there is too much."""
        with self._lock:
            self._held.add(tile)
            self._tiles[tile] = embedding
            self._tiles.move_to_end(tile)
            self.nbytes += embedding.nbytes
            spare = [one for one in self._tiles if one != tile and one not in self._kept]
            while self.nbytes > _MAX_TILE_BYTES and spare:
                self.nbytes -= self._tiles.pop(spare.pop(0)).nbytes
