"""A Zarr store in a folder, whose files are checked before they are opened."""

from collections.abc import Iterable
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from napari_sam.special_files import refuse_special


class ZarrFiles(LocalStore):
    """A folder of metadata and chunks in which a named pipe or a device is refused."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read the file of a key, or a part of it."""
        refuse_special(self.root / key)
        return await super().get(key, prototype, byte_range)

    def get_sync(self, key: str, **about: Any) -> Buffer | None:
        """Read the file of a key, or a part of it, without an event loop."""
        refuse_special(self.root / key)
        return super().get_sync(key, **about)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of the files of several keys."""
        asked = list(key_ranges)
        for key, _ in asked:
            refuse_special(self.root / key)
        return await super().get_partial_values(prototype, asked)
