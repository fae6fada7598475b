"""Builders of parsed rows and imports, for tests that write and undo them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np

from markets.importing.import_writer import ImportWriter
from markets.importing.parsed_rows import (
    LEVELS,
    MISSING,
    NUMBERS,
    TEXTS,
    Levels,
    ParsedRows,
    RowBatch,
)
from markets.models import Import
from markets.models.imports import ImportFile, Kind
from markets.models.observations import microseconds

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
# A ticker, seconds after `START` (None: no time), and what a row says by column.
Row = tuple[str, float | None, Mapping[str, Any]]


def parsed(kind: Kind, rows: Sequence[Row], *, first_line: int = 2) -> ParsedRows:
    tickers = list(dict.fromkeys(ticker for ticker, _, _ in rows))
    times = [
        MISSING if seconds is None else microseconds(START) + int(seconds * 1_000_000)
        for _, seconds, _ in rows
    ]
    said = [values for _, _, values in rows]
    return ParsedRows(
        kind,
        np.arange(first_line, first_line + len(rows)),
        tickers,
        np.array([tickers.index(ticker) for ticker, _, _ in rows], np.int64),
        np.array(times, np.int64),
        {name: np.array([each.get(name, MISSING) for each in said]) for name in NUMBERS[kind]},
        {name: [each.get(name, "") for each in said] for name in TEXTS[kind]},
        {name: levels([each.get(name, ()) for each in said]) for name in LEVELS[kind]},
    )


def levels(sides: Iterable[Sequence[tuple[int, int]]]) -> Levels:
    sides = list(sides)
    every = np.array([level for side in sides for level in side], np.int64).reshape(-1, 2)
    return Levels(np.array([len(side) for side in sides]), every[:, 0], every[:, 1])


def batch(kind: Kind, rows: Sequence[Row], *, first_line: int = 2, **values: Any) -> RowBatch:
    found = parsed(kind, rows, first_line=first_line)
    last = first_line + len(rows) - 1
    plain = RowBatch(found, (), np.array([], np.int64), 0, last, 1.0)
    return plain._replace(**values)


def an_import(kind: Kind = Kind.QUOTES, *, sha256: str = "", **said: Any) -> Import:
    file = ImportFile(
        kind=kind, name="own.csv", sha256=sha256 or uuid4().hex * 2, size=100, said=said
    )
    return Import.objects.begin(file, group=uuid4(), at=datetime.now(UTC))


def imported(kind: Kind, rows: Sequence[Row], **said: Any) -> Import:
    """Import rows as a file of their own."""
    row = an_import(kind, **said)
    writer = ImportWriter(row)
    writer.write(batch(kind, rows))
    writer.finish()
    return row


def quote(bid: int | None, ask: int | None, size: int = 10_000, **others: int) -> dict[str, int]:
    """Make a two-sided quote in cents, with sizes in 1/100 contract."""
    prices = {"yes_bid": bid, "yes_ask": ask}
    sides = {name: cents * 100 for name, cents in prices.items() if cents is not None}
    return {**sides, **{f"{name}_size": size for name in sides}, **others}
