"""Files in object storage, with the part of pathlib that an archive needs.

Credentials are those that the makers' own libraries find in the environment; none stands in an
address, and so none comes into a message.
"""

import shutil
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedIOBase
from pathlib import Path

from pyarrow import fs

CHUNK_BYTES = 8 * 2**20


@lru_cache
def connect(address: str) -> "ObjectPath":
    """Return the place that an address names: s3://bucket/folder, gs://bucket/folder.

    Raises OSError, or ValueError for an address that makes no sense.
    """
    filesystem, key = fs.FileSystem.from_uri(address)
    return ObjectPath(filesystem, key.rstrip("/"), address.partition("://")[0])


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """The place of an object, or of those below it; `key` begins with the bucket."""

    filesystem: fs.FileSystem
    key: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.filesystem, f"{self.key}/{name}", self.scheme)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def bucket(self) -> "ObjectPath":
        return ObjectPath(self.filesystem, self.key.partition("/")[0], self.scheme)

    def exists(self) -> bool:
        found: bool = self.filesystem.get_file_info(self.key).type != fs.FileType.NotFound
        return found

    def open(self, mode: str = "rb") -> BufferedIOBase:
        """Open the object for reading, a chunk with each request."""
        stream: BufferedIOBase
        stream = self.filesystem.open_input_stream(self.key, buffer_size=CHUNK_BYTES)
        return stream

    def read_bytes(self) -> bytes:
        with self.open() as stream:
            return stream.read()

    def upload(self, source: Path) -> None:
        """Write a file of this machine as the object; where that fails, it may be cut off."""
        with source.open("rb") as file, self.filesystem.open_output_stream(self.key) as sink:
            shutil.copyfileobj(file, sink, CHUNK_BYTES)

    def replace(self, target: "ObjectPath") -> None:
        """Become another object, within the storage: others see the one of before or this one."""
        self.filesystem.move(self.key, target.key)

    def unlink(self, *, missing_ok: bool = False) -> None:
        try:
            self.filesystem.delete_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise
