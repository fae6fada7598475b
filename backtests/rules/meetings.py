"""Meetings of orders with observations, as a journal and the observations tell them."""

from typing import NamedTuple

from backtests.data.first_observations import first_observations, search
from backtests.data.universe import MISSING, Bools, Ints, Universe
from backtests.rules.execution import JOURNAL_COLUMN, MAKER, EntryKind, Reason, RunOutcome
from kalshi_insights.arrays import np
from markets.observed import AFTER_ALL


class Meetings(NamedTuple):
    """The orders of a journal: their rows in it, when they arrived, and when they met an
    observation; `AFTER_ALL` where they did not, and 0 where they were refused or `unfinished`, or
    where an amendment needed none."""

    rows: Ints
    arrived: Ints
    met: Ints
    unfinished: Bools

    def waits(self) -> Ints:
        """Microseconds from arrival to meeting; `MISSING` where there was none."""
        has_met = (self.met != 0) & (self.met != AFTER_ALL)
        return np.where(has_met, self.met - self.arrived, MISSING)

    @property
    def never_met(self) -> int:
        return int(np.count_nonzero(self.met == AFTER_ALL))


def meetings(universe: Universe, outcome: RunOutcome, *, latency: int) -> Meetings:
    """Find what the orders of a run met, which arrive `latency` microseconds after sending."""
    journal = outcome.journal
    rows = np.flatnonzero(journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.ORDER)
    market, order, sent = (journal[rows, JOURNAL_COLUMN[n]] for n in ("market", "order", "at"))
    met = first_observations(universe.observations(), market, sent + latency)
    kind, reason = (journal[:, JOURNAL_COLUMN[name]] for name in ("kind", "reason"))
    # An order goes on if a part of it was filled by the one that it replaces.
    is_end = (kind == EntryKind.CANCELLED) & (reason != Reason.MEANWHILE)
    is_early = (reason == Reason.ASKED) | (reason == Reason.OUT_OF_TIME)
    ended, early = (first_instants(journal, lines)[order] for lines in (is_end, is_early))
    # At one instant, a cancellation or expiration comes before the observation.
    met = np.where((ended < met) | (early <= met), AFTER_ALL, met)
    refused = first_entries(journal, EntryKind.REFUSED)[order] != AFTER_ALL
    at_once = np.isin(order, list(outcome.amended_at_once))
    unfinished = np.isin(order, journal[reason == Reason.RUN_ENDED, JOURNAL_COLUMN["order"]])
    met = np.where(refused | unfinished | at_once, 0, met)
    return Meetings(rows, sent + latency, met, unfinished)


def fills_across_gaps(universe: Universe, journal: Ints, orders: Meetings) -> Ints:
    """The rows of fills of orders on whose way a gap ended.

    An order that takes is on its way until it fills, one that rests until it met its book.
    """
    gaps = universe.known_gaps()
    rows = np.flatnonzero(journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL)
    at, market, order, liquidity = (
        journal[rows, JOURNAL_COLUMN[n]] for n in ("at", "market", "order", "liquidity")
    )
    sent = first_entries(journal, EntryKind.ORDER)[order]
    met = np.full(1 + int(order.max(initial=0)), AFTER_ALL)
    number = journal[orders.rows, JOURNAL_COLUMN["order"]]
    known = number < len(met)
    met[number[known]] = orders.met[known]
    until = np.where(liquidity == MAKER, np.minimum(met[order], at), at)
    first, last = gaps.spans[market], gaps.spans[market + 1]
    ended_when_sent = search(gaps.until, first, last, sent + 1)
    ended_on_the_way = search(gaps.until, first, last, until + 1)
    return rows[ended_on_the_way > ended_when_sent]


def first_entries(journal: Ints, kind: EntryKind) -> Ints:
    """Return the instant of the first entry of a kind for each order; `AFTER_ALL` if none."""
    return first_instants(journal, journal[:, JOURNAL_COLUMN["kind"]] == kind)


def first_instants(journal: Ints, lines: Bools) -> Ints:
    """Return the instant of the first of some lines for each order; `AFTER_ALL` if none."""
    number = journal[:, JOURNAL_COLUMN["order"]]
    found = np.full(1 + int(number.max(initial=0)), AFTER_ALL)
    # Settlements have no order.
    lines = lines & (number != MISSING)
    np.minimum.at(found, number[lines], journal[lines, JOURNAL_COLUMN["at"]])
    return found
