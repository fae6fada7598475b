"""Signs that a reply is not what its filters asked for: the exchange drops unknown ones silently.

Whoever followed such a listing would read everything that the exchange has.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

import msgspec
from msgspec import Raw, Struct

from markets.kalshi.errors import FilterIgnored
from markets.kalshi.fields import decoder

# As many of a page's items are looked at.
SAMPLE = 50
# A shorter listing costs nothing to read, and a few of its items may be on the edge of the filter.
SHORT = 20
COMBO = "KXMVE"
AWAITING = frozenset(("closed", "determined", "disputed", "amended"))
ENDED = AWAITING | {"finalized"}
NOT_SETTLED = AWAITING | {"initialized", "inactive", "active"}


class _Listed(Struct):
    """The fields of a market, an event or a trade that filters speak of."""

    ticker: str = ""
    event_ticker: str = ""
    series_ticker: str = ""
    status: str = ""
    updated_time: str | None = None
    created_time: str | None = None
    settlement_ts: str | None = None
    markets: "list[_Listed] | None" = None


_read = decoder(_Listed)
Rule = Callable[[_Listed, object], bool]


def check(
    path: str, items: Sequence[Raw], filters: Mapping[str, object], *, has_more: bool
) -> None:
    """Raise `FilterIgnored` if most of the items do not satisfy one of the filters.

    Items that cannot be read, and fields that are missing, are no evidence.
    """
    listed = [each for raw in items[:SAMPLE] if (each := _listed(raw))]
    for name, value in filters.items():
        if not value or name not in RULES or not (has_more or name in EXACT or len(items) >= SHORT):
            continue
        foreign = sum(not RULES[name](each, value) for each in listed)
        if 2 * foreign > len(listed):
            raise FilterIgnored(
                f"{path} ignores {name}: {foreign} of {len(listed)} items are not what it asks for"
            )


def check_names(path: str, names: Collection[str], tickers: Sequence[str]) -> None:
    """Raise `FilterIgnored` if most of these names are not among the tickers."""
    foreign = len(set(names) - set(tickers))
    if 2 * foreign > len(names):
        raise FilterIgnored(f"{path} ignores tickers: {foreign} of {len(names)} were not asked for")


def _listed(raw: Raw) -> _Listed | None:
    try:
        return _read(raw)
    except msgspec.MsgspecError:
        return None


def _is_named(each: _Listed, tickers: object) -> bool:
    names = tickers.split(",") if isinstance(tickers, str) else cast(Sequence[str], tickers)
    own = each.ticker or each.event_ticker
    return not own or own in names


def _has_status(each: _Listed, word: object) -> bool:
    statuses = {market.status for market in each.markets or ()} or {each.status}
    contrary = {"open": ENDED, "settled": NOT_SETTLED}.get(str(word), frozenset())
    return not statuses <= contrary


def _is_not_before(text: str | None, seconds: object) -> bool:
    """Compare instants as texts, which sort as the instants do. An unknown one is no evidence."""
    return not text or text < "2018" or text[:19] >= _text(seconds)


def _is_not_after(text: str | None, seconds: object) -> bool:
    return not text or text[:19] <= _text(seconds)


def _text(seconds: object) -> str:
    return datetime.fromtimestamp(int(str(seconds)), UTC).strftime("%Y-%m-%dT%H:%M:%S")


RULES: Mapping[str, Rule] = {
    "tickers": _is_named,
    "ticker": lambda each, ticker: each.ticker in ("", ticker),
    "event_ticker": lambda each, ticker: each.event_ticker in ("", ticker),
    "series_ticker": lambda each, ticker: each.series_ticker in ("", ticker),
    "mve_filter": lambda each, word: word != "exclude" or not each.ticker.startswith(COMBO),
    "status": _has_status,
    "min_updated_ts": lambda each, at: _is_not_before(each.updated_time, at),
    "min_settled_ts": lambda each, at: _is_not_before(each.settlement_ts, at),
    "max_settled_ts": lambda each, at: _is_not_after(each.settlement_ts, at),
    "min_ts": lambda each, at: _is_not_before(each.created_time, at),
    "max_ts": lambda each, at: _is_not_after(each.created_time, at),
}
# Filters that have no edge: any reply shows whether they were honoured.
EXACT = ("tickers", "ticker")
