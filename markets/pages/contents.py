"""The names on the pages of a sweep, written as the difference from an earlier sweep.

A listing comes in nearly the same order again and again, so most of a page is a run of names that
the earlier sweep showed one after the other. A page is written as its runs: the place and the
length of one that the earlier sweep has, or names in full. Names are tickers of events or markets.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

# A number is written in bytes of seven bits, the lowest first; the eighth bit says that more come.
_MORE = 0x80


class Run(NamedTuple):
    """Names of a page in a row: `length` of an earlier sweep's from a place on, or spelled out."""

    place: int
    length: int
    spelled: tuple[str, ...] = ()


def places_of(pages: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return where each name comes on these pages one after the other; the last place counts."""
    return {name: place for place, name in enumerate(chain.from_iterable(pages))}


def encode_page(names: Sequence[str], places: Mapping[str, int]) -> bytes:
    """Write the names of a page; `places` are the earlier sweep's, empty if there is none."""
    runs = list(_runs(names, places))
    written = bytearray(_number(len(runs)))
    for run in runs:
        written += _number(run.length * 2 + bool(run.spelled))
        if run.spelled:
            for name in run.spelled:
                text = name.encode()
                written += _number(len(text)) + text
        else:
            written += _number(run.place)
    return bytes(written)


def unchanged(pages: Sequence[Sequence[str]]) -> bytes:
    """Write pages that are the same as those of the earlier sweep."""
    place, written = 0, bytearray()
    for names in pages:
        run = _number(1) + _number(len(names) * 2) + _number(place)
        written += run if names else _number(0)
        place += len(names)
    return bytes(written)


def decode_pages(contents: bytes) -> list[list[Run]]:
    """Return the runs of each page."""
    pages, at = [], 0
    while at < len(contents):
        count, at = _read_number(contents, at)
        runs = []
        for _ in range(count):
            run, at = _read_run(contents, at)
            runs.append(run)
        pages.append(runs)
    return pages


def names_of(contents: bytes, before: Sequence[str]) -> list[list[str]]:
    """Return the names on each page; `before` has those of the earlier sweep."""
    return [
        [name for run in runs for name in run.spelled or before[run.place : run.place + run.length]]
        for runs in decode_pages(contents)
    ]


def _runs(names: Sequence[str], places: Mapping[str, int]) -> Iterator[Run]:
    # The pages are short of runs as a rule: the loop goes name by name, and yields seldom.
    first, length, spelled = 0, 0, list[str]()
    for name in names:
        place = places.get(name, -1)
        if length and place == first + length:
            length += 1
            continue
        if length:
            yield Run(first, length)
            length = 0
        if place < 0:
            spelled.append(name)
            continue
        if spelled:
            yield Run(0, len(spelled), tuple(spelled))
            spelled = []
        first, length = place, 1
    if length:
        yield Run(first, length)
    if spelled:
        yield Run(0, len(spelled), tuple(spelled))


def _number(value: int) -> bytes:
    written = bytearray()
    while value >= _MORE:
        written.append(value % _MORE | _MORE)
        value //= _MORE
    written.append(value)
    return bytes(written)


def _read_number(contents: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = contents[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at
        shift += 7


def _read_run(contents: bytes, at: int) -> tuple[Run, int]:
    head, at = _read_number(contents, at)
    length = head // 2
    if not head % 2:
        place, at = _read_number(contents, at)
        return Run(place, length), at
    spelled = []
    for _ in range(length):
        size, at = _read_number(contents, at)
        spelled.append(contents[at : at + size].decode())
        at += size
    return Run(0, length, tuple(spelled)), at
