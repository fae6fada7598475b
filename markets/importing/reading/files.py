"""Find the files of an import, and open each by its content."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from kalshi_insights.bad_input import UNWRITABLE, BadInput
from markets.importing.reading.csv_file import CsvFile
from markets.importing.reading.parquet_file import ParquetFile

# The files of a folder that are read; a file that is named itself may be called anything.
ENDINGS = (".csv", ".csv.gz", ".parquet")
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"


def find_files(names: Iterable[Path]) -> list[Path]:
    """List files, and those in folders and their folders, by name; each is listed once.

    Raises BadInput for a name without a file, and for a folder without any.
    """
    return list(dict.fromkeys(path for name in names for path in _files_of(name)))


def open_file(path: Path) -> CsvFile | ParquetFile:
    """Open a file as what its first bytes say it is; raises BadInput."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise BadInput(str(path), error.strerror or "cannot be read") from None
    if not start:
        raise BadInput(str(path), "the file is empty")
    if start == PARQUET:
        return ParquetFile(path)
    return CsvFile(path, compressed=start.startswith(GZIP))


def _files_of(name: Path) -> Iterator[Path]:
    if not name.is_dir():
        if not name.exists():
            raise BadInput("FILE", f"{name} does not exist")
        yield _writable(name)
        return
    found = [path for path in sorted(name.rglob("*")) if _is_data(path, name)]
    if not found:
        raise BadInput("FILE", f"{name} has no file that ends in {', '.join(ENDINGS)}")
    yield from map(_writable, found)


def _writable(path: Path) -> Path:
    if UNWRITABLE.search(str(path)):
        raise BadInput("FILE", f"{str(path)!r} has a name that cannot be kept")
    return path


def _is_data(path: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not is_hidden and path.name.lower().endswith(ENDINGS) and path.is_file()
