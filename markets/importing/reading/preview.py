"""Rows as they are understood, in words for a person."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from markets.importing.parsed_rows import MISSING, Levels, ParsedRows
from markets.importing.reading.quotes import TAKERS
from markets.importing.reading.source_file import FirstLines, SourceFile, Survey

LEVELS_SHOWN = 3
PRICES = ("yes_bid", "yes_ask", "last_price", "yes_price")
SIZES = ("yes_bid_size", "yes_ask_size", "volume", "open_interest", "count")
TAKER_WORDS = {TAKERS[word]: word for word in ("yes", "no")}


def dollars(price: int) -> str:
    return _decimal(price, 4)


def contracts(size: int) -> str:
    return _decimal(size, 2)


def instant(at: int) -> str:
    seconds, micros = divmod(at, 1_000_000)
    whole = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    return f"{whole}.{micros:06}".rstrip("0").rstrip(".") + "Z" if micros else f"{whole}Z"


WORDS: Mapping[str, Callable[[int], str]] = {
    **dict.fromkeys(PRICES, dollars),
    **dict.fromkeys(SIZES, contracts),
    "settlement_value": lambda value: _decimal(value, 6),
    "taker_side": lambda side: TAKER_WORDS[side],
    "is_block_trade": lambda is_block: "yes" if is_block else "no",
    "mutually_exclusive": lambda is_exclusive: "yes" if is_exclusive else "no",
}


def described_rows(rows: ParsedRows) -> Iterator[str]:
    """Yield a line for each row, with all that is known of it."""
    ends = {name: each.counts.cumsum() for name, each in rows.levels.items()}
    for n, line in enumerate(rows.lines.tolist()):
        at = int(rows.at[n])
        parts = [f"line {line}", rows.tickers[rows.market[n]]]
        parts += [instant(at)] if at != MISSING else []
        for name, numbers in rows.numbers.items():
            value = int(numbers[n])
            if value != MISSING:
                parts.append(f"{name} {WORDS.get(name, instant)(value)}")
        parts += [f"{name} {each[n]}" for name, each in rows.texts.items() if each[n]]
        for name, levels in rows.levels.items():
            parts.append(f"{name} {_levels(levels, int(ends[name][n]), int(levels.counts[n]))}")
        yield "  ".join(parts)


def described_file(source: SourceFile, found: Survey) -> Iterator[str]:
    """Yield how a file is understood, its first rows, and what would be left out."""
    markets = counted(len(found.tickers), "market")
    yield f"{source.path}: {counted(found.rows, 'row')} of {found.shape.kind}, {markets}"
    yield from time_span(found)
    for name, value in found.shape.as_said().items():
        words = _pairs(value) if isinstance(value, dict) else value
        yield f"  {name.replace('_', ' ')}: {words}"
    if source.unread:
        yield f"  columns that are not read: {', '.join(source.unread)}"
    if found.sample is not None:
        yield from (f"  {row}" for row in described_rows(found.sample))
    for reason, rows in found.reasons.items():
        yield f"  refused: {_with_lines(rows)}: {reason}"
    if found.duplicates.count:
        yield f"  left out: {_with_lines(found.duplicates)}: repeating an earlier row"
    if found.left_out:
        yield f"  left out: {counted(found.left_out, 'row')} that tell nothing of this kind"
    for ticker, line in found.clock_falls:
        yield f"  {ticker}: the clock was set back before line {line}, as the order of rows shows"


def time_span(found: Survey) -> Iterator[str]:
    """Yield when the rows are of, as it is understood, and by the clock whose times a file has."""
    if found.first == MISSING:
        return
    yield f"  from {instant(found.first)} to {instant(found.last)}"
    zone = found.shape.time_zone
    if zone and zone != "UTC":
        first, last = (_by_clock(each, zone) for each in (found.first, found.last))
        yield f"  by the clock of {zone} from {first} to {last}"


def _by_clock(at: int, zone: str) -> str:
    return f"{datetime.fromtimestamp(at // 1_000_000, ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{field}={column}" for field, column in columns.items())


def _with_lines(rows: FirstLines) -> str:
    more = " and others" if rows.count > len(rows.lines) else ""
    lines = ", ".join(map(str, rows.lines))
    return f"{counted(rows.count, 'row')}, line{'' if rows.count == 1 else 's'} {lines}{more}"


def _levels(levels: Levels, end: int, count: int) -> str:
    first = end - count
    best = [
        f"{dollars(int(levels.prices[n]))} × {contracts(int(levels.sizes[n]))}"
        for n in range(first, min(end, first + LEVELS_SHOWN))
    ]
    more = [f"and {count - LEVELS_SHOWN} more"] if count > LEVELS_SHOWN else []
    return ", ".join([*best, *more]) or "none"


def _decimal(parts: int, places: int) -> str:
    return f"{Decimal(parts).scaleb(-places).normalize():f}"
