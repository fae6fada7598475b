"""The annotations of a signal, from what it states at the rows on which it decides."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backtests.annotations.checks import BadAnnotation, column, named
from backtests.annotations.probabilities import FirstStatement, StatedProbabilities
from backtests.annotations.reasons import reasons_of_rows
from backtests.annotations.series import (
    PROBABILITY,
    DrawnSeries,
    KeptSeries,
    most_traded,
    series_names,
    thinned,
)
from backtests.data.first_observations import search
from backtests.data.universe import MISSING, Floats, Ints, QuoteHistory, quote_histories
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome
from backtests.strategies.base import Signal, StatedTargets
from kalshi_insights.arrays import np


@dataclass
class SignalStatements:
    """A signal on the rows on which it decides, which are the same under every fill model."""

    signal: Signal
    stated: StatedTargets

    @cached_property
    def probabilities(self) -> Floats | None:
        """The stated probabilities, one for each row; None where the signal states none."""
        if not self._has("probabilities"):
            return None
        stated = np.full(len(self.stated.universe.quotes), np.nan)
        for rows, history in quote_histories(self.stated.universe):
            part = self.signal.checked_probabilities(history)
            if part is None:
                return None
            stated[rows] = part
        return stated

    @cached_property
    def first(self) -> Mapping[int, FirstStatement]:
        """The first probability of each market while it traded and showed both sides."""
        if self.probabilities is None:
            return {}
        quotes = self.stated.universe.quotes
        two_sided = (quotes.bid >= 0) & (quotes.ask >= 0)
        scored = np.flatnonzero(two_sided & quotes.tradable & ~np.isnan(self.probabilities))
        first = np.full(len(self.stated.universe.listings), MISSING)
        first[quotes.market[scored][::-1]] = scored[::-1]  # the last one written is the first row
        markets = np.flatnonzero(first != MISSING)
        rows = first[markets]
        midpoints = QuoteHistory(quotes.select(rows), self.stated.universe.listings)
        found = zip(
            markets.tolist(),
            quotes.at[rows].tolist(),
            self.probabilities[rows].tolist(),
            midpoints.to_quote_order(midpoints.mid).tolist(),
            strict=True,
        )
        return {market: FirstStatement(*each) for market, *each in found}

    def stated_probabilities(self, outcome: RunOutcome) -> StatedProbabilities | None:
        if self.probabilities is None:
            return None
        orders = orders_of(outcome)
        numbers = orders[:, JOURNAL_COLUMN["order"]]
        stated = self.probabilities[self._rows_of(orders)]
        known = ~np.isnan(stated)
        of_orders = dict(zip(numbers[known].tolist(), stated[known].tolist(), strict=True))
        return StatedProbabilities(dict(self.first), of_orders)

    def reasons(self, outcome: RunOutcome) -> dict[int, str]:
        """The reason of each order that has one, by its number. Raises BadAnnotation."""
        orders = orders_of(outcome)
        if not len(orders) or not self._has("reasons"):
            return {}
        numbers, wanted = orders[:, JOURNAL_COLUMN["order"]], self._rows_of(orders)
        reasons: dict[int, str] = {}
        for rows, history in quote_histories(self.stated.universe):
            mine = np.isin(wanted, rows)
            # Rows of the history are in another order than those of the quotes.
            place = np.argsort(history.order)[np.searchsorted(rows, wanted[mine])]
            values = self.signal.reasons(history, place)
            if values is None:
                return {}
            texts = reasons_of_rows(self.signal.reasons, values, len(place))
            pairs = zip(numbers[mine].tolist(), texts, strict=True)
            reasons |= {number: text for number, text in pairs if text}
        return reasons

    def series(self, outcome: RunOutcome) -> KeptSeries:
        """The series of the markets that were traded most. Raises BadAnnotation."""
        if self.probabilities is None and not self._has("series"):
            return KeptSeries()
        universe = self.stated.universe
        rows = dict(enumerate(np.bincount(universe.quotes.market).tolist()))
        chosen = most_traded({m: n for m, n in rows.items() if n}, fills_of(outcome))
        quotes = universe.quotes.select(np.isin(universe.quotes.market, chosen))
        history = QuoteHistory(quotes, universe.listings, universe.further())
        drawn = self._drawn(history, chosen)
        return KeptSeries([each for each in drawn if not np.isnan(each.values).all()])

    def _drawn(self, history: QuoteHistory, markets: list[int]) -> list[DrawnSeries]:
        given: Mapping[str, Any] = self.signal.series(history) or {}
        stated = dict(zip(series_names(given), given.values(), strict=True))
        if (probabilities := self.signal.probabilities(history)) is not None:
            stated[PROBABILITY] = probabilities
        checked = {name: self._checked(name, values, history) for name, values in stated.items()}
        return [
            thinned(name, market, history.at[rows], values[rows])
            for market in markets
            for rows in [slice(history.starts[market], history.starts[market + 1])]
            for name, values in checked.items()
        ]

    def _checked(self, name: str, values: Any, history: QuoteHistory) -> Floats:
        array = column(self.signal.series, values, rows=len(history), what=name)
        where = named(self.signal.series)
        if array.dtype.kind not in "biuf":
            raise BadAnnotation(f"{where}: {name!r} must be numbers, not {array.dtype}")
        if np.isinf(array).any():
            raise BadAnnotation(f"{where}: {name!r} must be finite, or NaN for none")
        floats: Floats = array.astype(np.float64, copy=False)
        return floats

    def _has(self, method: str) -> bool:
        """Return whether the signal has a method of its own in place of the one without effect."""
        return getattr(type(self.signal), method) is not getattr(Signal, method)

    def _rows_of(self, orders: Ints) -> Ints:
        """The rows on which orders were decided: each of its market, at the instant of sending."""
        quotes = self.stated.universe.quotes
        sent, market = orders[:, JOURNAL_COLUMN["at"]], orders[:, JOURNAL_COLUMN["market"]]
        first = np.searchsorted(quotes.at, sent)
        after = np.searchsorted(quotes.at, sent, side="right")
        # Rows of one instant go by market.
        return search(quotes.market, first, after, market)


def orders_of(outcome: RunOutcome) -> Ints:
    journal = outcome.journal
    orders: Ints = journal[journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.ORDER]
    return orders


def fills_of(outcome: RunOutcome) -> Mapping[int, int]:
    """The number of fills of each market."""
    journal = outcome.journal
    fills = journal[journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL]
    return Counter(fills[:, JOURNAL_COLUMN["market"]].tolist())
