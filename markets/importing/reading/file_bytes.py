"""The bytes of a file, which may be compressed, may still grow, and may end too early."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple

from markets.importing.reading.raw_rows import file_fault


class Block(NamedTuple):
    """Some bytes, and the share of the file up to their end, from 0 to 1."""

    data: bytes
    share: float


class FileBytes:
    """The content that a file has now, decompressed. What is appended later is not read, so that
    the file is the same whenever it is read."""

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self.name = path.name
        self.size = path.stat().st_size
        self._path = path
        self._compressed = compressed

    def first_line(self, longest: int) -> bytes:
        with self._open() as (stream, _), self._damage():
            return stream.readline(longest)

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield blocks of so many bytes; the last one may be shorter, and empty."""
        with self._open() as (stream, source):
            is_last = False
            while not is_last:
                block = io.BytesIO()
                with self._damage():
                    is_last = _fill(block, stream, size)
                yield Block(block.getvalue(), source.share)

    @contextmanager
    def _open(self) -> "Iterator[tuple[BufferedIOBase, _Beginning]]":
        with self._path.open("rb") as file:
            source = _Beginning(file, self.size)
            stream = io.BufferedReader(source)
            yield (gzip.GzipFile(fileobj=stream) if self._compressed else stream), source

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
            raise file_fault(self.name, f"is damaged: {error}") from None


class _Beginning(io.RawIOBase):
    """The first bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._left = size

    @property
    def share(self) -> float:
        return 1 - self._left / self._size if self._size else 1.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _fill(block: io.BytesIO, stream: BufferedIOBase, size: int) -> bool:
    """Read a block, and return True if nothing follows.

    What `read` has gathered would be lost where compressed data end too early.
    """
    try:
        while block.tell() < size and (part := stream.read1(size - block.tell())):
            block.write(part)
    except EOFError:
        return True
    return block.tell() < size
