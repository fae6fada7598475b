"""Resting orders by the tape, and without one by volume and books, in both engines alike."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from backtests.data.candles import CandleRanges
from backtests.data.tape import tape_of
from backtests.data.universe import CONTRACT, MISSING, MONEY, SECOND
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import JOURNAL, EntryKind, ExecutionModel, FillModel, Reason
from backtests.strategies.base import Strategy, bt
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import (
    MAKE,
    NOW,
    book,
    fills_of,
    run_both,
    universe_of,
)
from backtests.tests.test_gaps import gaps_of

FEWEST, EXPECTED, MOST = FillModel
WHOLE = ((-100, 1_000),)
SOLD, BOUGHT = -1, 1


def moment(seconds):
    return round(NOW + seconds * SECOND)


def taped(universe, *trades, whole=WHOLE):
    """Add a tape of (second, cents, contracts, taker), whole in these stretches of seconds."""
    rows = [
        (moment(at), 0, round(cents * 100), round(contracts * CONTRACT), taker, moment(at + 1))
        for at, cents, contracts, taker in trades
    ]
    stretches = [[(moment(since), moment(until)) for since, until in whole]]
    return replace(universe, tape=tape_of(rows, stretches))


def fills_in(universe, targets=(10,), execution=MAKE):
    """The fills of each scenario of a run that bids from its first row on."""
    targets = [*targets, *[None] * (len(universe.quotes) - len(targets))]
    return [fills_of(run_both(universe, targets, execution, fills=fills)) for fills in FillModel]


def filled_in(universe, targets=(10,), execution=MAKE):
    """The contracts that each scenario fills in all."""
    return [sum(count for count, _ in fills) for fills in fills_in(universe, targets, execution)]


def quiet(*rows):
    """A quote of 42 at 45 cents that is looked at each five seconds; 100 contracts bid 42."""
    return observed_at(universe_of(book(42, 45, at=0), *rows), range(0, 60, 5))


class TestByTheTape:
    def test_a_thousand_above_our_bid_and_then_one_below_it_fill_one(self):
        universe = taped(quiet(), (10, 45, 1_000, SOLD), (11, 41, 1, SOLD))
        assert fills_in(universe) == [[(1, 42)]] * 3

    def test_sellers_at_our_price_eat_the_queue_and_then_us(self):
        universe = taped(quiet(), (10, 42, 60, SOLD), (11, 42, 44, SOLD), (12, 42, 50, SOLD))
        assert fills_in(universe) == [[(4, 42), (6, 42)]] * 3

    def test_buyers_at_our_price_took_offers_and_met_no_bid(self):
        assert fills_in(taped(quiet(), (10, 42, 500, BOUGHT))) == [[]] * 3

    @pytest.mark.parametrize("taker", [SOLD, BOUGHT])
    def test_what_traded_below_our_bid_would_have_met_it_first(self, taker):
        universe = taped(quiet(), (10, 41, 3, taker), (11, 42, 4, SOLD))
        assert fills_in(universe) == [[(3, 42), (4, 42)]] * 3

    def test_an_ask_waits_for_buyers(self):
        universe = taped(quiet(), (10, 45, 104, BOUGHT), (11, 46, 3, SOLD))
        assert fills_in(universe, [-10]) == [[(-4, 45), (-3, 45)]] * 3

    def test_volume_last_price_and_offers_are_not_used_beside_it(self):
        rows = [book(42, 45, at=0, volume=0), book(40, 41, at=20, volume=100_000, last=4_000)]
        universe = observed_at(universe_of(*rows), [5])
        assert filled_in(universe) == [10, 10, 10]
        assert filled_in(taped(universe)) == [0, 0, 0]

    def test_a_fill_happens_when_the_trade_does(self):
        universe = taped(quiet(book(30, 31, at=50)), (12.25, 41, 3, SOLD))
        (fill,) = [
            line for line in run_both(universe, [10, None], MAKE) if line["kind"] == EntryKind.FILL
        ]
        assert (fill["at"], fill["row"]) == (moment(12.25), 0)

    def test_trades_between_the_arrival_and_the_book_count_for_most_fills_only(self):
        # It arrives at 1 and meets its book at 5.
        universe = taped(quiet(), (3, 41, 5, SOLD), (6, 41, 1, SOLD))
        assert filled_in(universe) == [1, 1, 6]

    def test_trades_well_before_the_arrival_are_no_evidence(self):
        universe = observed_at(universe_of(book(42, 45, at=0)), [8])
        late = replace(MAKE, latency_seconds=5)
        assert filled_in(taped(universe, (3.5, 41, 5, SOLD)), execution=late) == [0, 0, 0]

    def test_they_are_not_those_of_other_markets(self):
        trades = [(moment(3), 1, 4_100, 500, SOLD, moment(4))]
        rows = book(42, 45, at=0), book(42, 45, at=0, market=1)
        universe = observed_at(universe_of(*rows, markets=2), [5])
        whole = [[(moment(-100), moment(100))]] * 2
        assert filled_in(replace(universe, tape=tape_of(trades, whole))) == [0, 0, 0]

    def test_trades_near_the_arrival_count_for_most_fills_only(self):
        universe = observed_at(universe_of(book(42, 45, at=0)), [1])
        trades = (0.2, 41, 1, SOLD), (1.8, 41, 2, SOLD), (2.2, 41, 4, SOLD)
        assert filled_in(taped(universe, *trades)) == [4, 4, 7]

    def test_a_trade_at_our_price_whose_taker_nobody_knows_counts_for_most_fills_only(self):
        universe = taped(quiet(), (10, 42, 60, 0), (11, 42, 44, 0), (12, 42, 60, SOLD))
        assert filled_in(universe) == [0, 0, 10]
        assert filled_in(taped(quiet(), (10, 42, 104, 0))) == [0, 0, 4]

    def test_a_stricter_clock_counts_more(self):
        universe = observed_at(universe_of(book(42, 45, at=0)), [1])
        exact = replace(MAKE, clock_tolerance=0)
        assert filled_in(taped(universe, (1.5, 41, 2, SOLD)), execution=exact) == [2, 2, 2]

    def test_a_trade_that_filled_one_order_is_not_there_for_the_next(self):
        # The first order is filled; the one that follows it arrives within a second of the trade.
        rows = [book(42, 45, at=0), book(43, 45, at=9)]
        universe = taped(observed_at(universe_of(*rows), [1, 10]), (9.5, 41, 10, SOLD))
        assert filled_in(universe, [10, 20]) == [10, 10, 10]

    def test_what_it_left_of_the_trade_is(self):
        rows = [book(42, 45, at=0), book(43, 45, at=9)]
        trades = (9.4, 43, 2, SOLD), (9.5, 41, 15, SOLD)
        universe = taped(observed_at(universe_of(*rows), [1, 10]), *trades)
        assert filled_in(universe, [10, 20]) == [10, 10, 15]


class TestTheQueue:
    def test_an_order_joins_behind_what_its_book_shows(self):
        grown = quiet(book(42, 45, at=3, bid_size=150))
        assert filled_in(taped(grown, (10, 42, 152, SOLD))) == [2, 2, 2]

    def test_the_best_price_of_all_has_no_queue(self):
        universe = taped(quiet(book(41, 45, at=3)), (10, 42, 3, SOLD))
        assert filled_in(universe) == [3, 3, 3]

    def test_what_was_cancelled_stood_behind_us_in_proportion_or_before_us(self):
        # 100 are before us, and 100 join behind us. A trade of 40 leaves 60 and 100, then 60 go.
        rows = book(42, 45, at=7, bid_size=200), book(42, 45, at=14, bid_size=100)
        universe = taped(quiet(*rows), (10, 42, 40, SOLD), (20, 42, 45, SOLD))
        assert filled_in(universe, [50]) == [0, 7.5, 45]

    def test_a_row_that_repeats_the_book_is_no_new_look_at_the_queue(self):
        # The close is rescheduled at 11; nobody looked until 15.
        rows = [book(42, 45, at=at, bid_size=size) for at, size in ((0, 100), (11, 100), (15, 40))]
        universe = replace(
            observed_at(universe_of(rows[0], rows[2]), [5]), quotes=universe_of(*rows).quotes
        )
        trades = (10, 42, 60, SOLD), (16, 42, 39, SOLD)
        assert filled_in(taped(universe, *trades)) == [0, 0, 0]

    def test_who_joins_later_stands_behind_us(self):
        universe = taped(quiet(book(42, 45, at=14, bid_size=900)), (20, 42, 103, SOLD))
        assert filled_in(universe) == [3, 3, 3]

    def test_an_unknown_queue_is_passed_by_a_trade_below_our_bid_alone(self):
        unknown = observed_at(universe_of(book(42, 45, at=0, size=None)), range(0, 60, 5))
        universe = taped(unknown, (10, 42, 900, SOLD), (11, 41, 3, SOLD))
        assert filled_in(universe) == [3, 3, 10]
        assumed = replace(MAKE, assumed_queue=896)
        assert filled_in(universe, execution=assumed) == [7, 7, 10]

    def test_a_smaller_order_at_the_same_price_keeps_its_place(self):
        universe = taped(
            quiet(book(42, 45, at=12, bid_size=300)), (10, 42, 60, SOLD), (30, 42, 43, SOLD)
        )
        assert filled_in(universe, [10, 5]) == [3, 3, 3]

    def test_a_larger_one_goes_to_the_end(self):
        universe = taped(
            quiet(book(42, 45, at=12, bid_size=300)), (10, 42, 60, SOLD), (30, 42, 303, SOLD)
        )
        assert filled_in(universe, [10, 20]) == [3, 3, 3]


class TestWithoutATape:
    def looked(self, volume, last, **others):
        rows = [book(42, 45, at=0, volume=0), book(42, 45, at=20, volume=volume, last=last)]
        return observed_at(universe_of(*rows, **others), [5, 15])

    @pytest.mark.parametrize(
        ("last", "filled"),
        [(4_100, [0.01, 1_001, 1_001]), (4_500, [0, 0, 1_000.99]), (4_200, [0, 901, 1_001])],
    )
    def test_only_what_the_last_price_proves_is_sure(self, last, filled):
        assert filled_in(self.looked(100_100, last), [2_000]) == filled

    def test_looking_more_often_at_an_unchanged_book_changes_nothing(self):
        rows = [book(42, 45, at=0, volume=0), book(41, 42, at=20, volume=500, last=4_200)]
        seldom = observed_at(universe_of(*rows), [5, 60])
        often = observed_at(universe_of(*rows, rows[1] | {"at": 30}), range(1, 90))
        assert filled_in(seldom, [200]) == filled_in(often, [200])

    def test_the_volume_of_a_gap_proves_nothing_for_the_fewest(self):
        universe = self.looked(100_100, 4_100)
        blind = replace(universe, gaps=gaps_of([(moment(16), moment(20))]))
        assert filled_in(blind, [2_000]) == [0, 1_001, 1_001]

    def test_the_new_offers_of_a_gap_prove_nothing_for_the_fewest(self):
        offered = universe_of(book(42, 45, at=0), book(40, 41, at=20))
        blind = replace(observed_at(offered, [5, 15]), gaps=gaps_of([(moment(16), moment(20))]))
        assert filled_in(blind) == [0, 10, 10]

    def test_a_whole_tape_counts_in_a_gap_as_well(self):
        universe = taped(self.looked(100_100, 4_100), (17, 41, 3, SOLD))
        blind = replace(universe, gaps=gaps_of([(moment(16), moment(20))]))
        assert filled_in(blind) == [3, 3, 3]

    def test_of_a_tape_that_ends_in_between_the_rest_of_the_volume_counts(self):
        universe = taped(self.looked(100_100, 4_100), (17, 41, 3, SOLD), whole=[(0, 18)])
        assert filled_in(universe, [2_000]) == [3, 1_001, 1_001]


class TestTheEdgesOfATape:
    """The clocks differ by up to a second, so a trade near a row may be in the volume before it or
    after it. It counts as the tape has it, and for most fills twice rather than not at all."""

    def edged(self, *trades, whole):
        rows = [
            book(42, 45, at=at, volume=volume, last=4_100)
            for at, volume in ((0, 0), (20, 100), (40, 1_600), (60, 1_600))
        ]
        return taped(observed_at(universe_of(*rows), [5]), *trades, whole=whole)

    def test_a_trade_just_before_a_row_is_not_in_the_volume_after_it_as_well(self):
        universe = self.edged((19.5, 41, 15, SOLD), whole=[(0, 20)])
        assert filled_in(universe, [100]) == [15, 15, 31]

    def test_nor_is_one_just_after_a_row_in_the_volume_before_it(self):
        universe = self.edged((40.5, 41, 15, SOLD), whole=[(40, 70)])
        assert filled_in(universe, [100]) == [0.02, 16, 31]

    def test_of_a_larger_trade_the_rest_counts(self):
        universe = self.edged((40.5, 41, 25, SOLD), whole=[(40, 70)])
        assert filled_in(universe, [100]) == [0.02, 26, 41]

    def test_farther_off_it_is_another_trade(self):
        universe = self.edged((41.5, 41, 15, SOLD), whole=[(40, 70)])
        assert filled_in(universe, [100]) == [15.02, 31, 31]

    def test_volume_that_was_no_evidence_takes_none_away(self):
        rows = [book(42, 45, at=0, volume=0), book(42, 45, at=20, volume=1_500, last=4_500)]
        universe = observed_at(universe_of(*rows), [5])
        universe = taped(universe, (20.5, 41, 15, SOLD), whole=[(20, 70)])
        assert filled_in(universe, [100]) == pytest.approx([0, 15, 29.99])


class TestCandlesticks:
    """Rows a minute apart that are the closes of candlesticks; the order joins at the second."""

    def closed(self, low, high, last, *, begun=60, contracts=5, ask_low=None, bid_high=None):
        rows = [book(42, 45, at=at, size=None, last=last * 100) for at in (0, 60, 120)]
        moved = [MISSING if cents is None else cents * 100 for cents in (ask_low, bid_high)]
        table = np.array([(begun, 120, low * 100, high * 100, contracts * 100, *moved)], np.int64)
        table[:, :2] = NOW + table[:, :2] * SECOND
        candles = CandleRanges(np.array([0, 1]), *(column.copy() for column in table.T))
        return replace(universe_of(*rows), candles=candles)

    @pytest.mark.parametrize(
        ("low", "high", "last", "filled"),
        [
            (40, 41, 41, [5, 5, 5]),
            (41, 44, 44, [0.01, 0.01, 4.99]),
            (42, 44, 44, [0, 0, 4.99]),
            (43, 44, 44, [0, 0, 0]),
        ],
    )
    def test_the_range_of_prices_bounds_what_came_to_our_price(self, low, high, last, filled):
        assert filled_in(self.closed(low, high, last)) == filled

    def test_one_that_began_before_the_order_joined_proves_nothing_for_the_fewest(self):
        assert filled_in(self.closed(40, 41, 41, begun=0)) == [0, 5, 5]

    @pytest.mark.parametrize(
        ("ask_low", "filled"),
        [(41, [0.01, 0.01, 10]), (42, [0, 0.01, 10]), (43, [0, 0, 0]), (None, [0, 0, 0])],
    )
    def test_an_ask_that_fell_to_our_bid_would_have_met_it_though_nothing_traded(
        self, ask_low, filled
    ):
        quiet = self.closed(43, 44, 44, ask_low=ask_low, contracts=0)
        assert filled_in(quiet) == filled

    @pytest.mark.parametrize(
        ("bid_high", "filled"), [(46, [-0.01, -0.01, -10]), (45, [0, -0.01, -10]), (44, [0, 0, 0])]
    )
    def test_a_bid_that_rose_to_our_ask_would_have_met_it(self, bid_high, filled):
        universe = self.closed(43, 44, 44, bid_high=bid_high, ask_low=30)
        assert filled_in(universe, [-10]) == filled

    def test_offers_and_trades_of_one_are_not_added_up(self):
        universe = self.closed(40, 41, 41, ask_low=40)
        assert filled_in(universe) == [5, 5, 10]

    def test_offers_before_the_order_joined_prove_nothing_for_the_fewest(self):
        universe = self.closed(43, 44, 44, ask_low=41, begun=0)
        assert filled_in(universe) == [0, 0.01, 10]

    def test_where_the_tape_is_whole_it_alone_counts(self):
        universe = self.closed(40, 41, 41, ask_low=40)
        assert filled_in(taped(universe, (70, 41, 3, SOLD))) == [3, 3, 3]

    def test_one_that_ends_a_gap_tells_what_traded_in_it(self):
        blind = replace(self.closed(40, 41, 41), gaps=gaps_of([(moment(90), moment(120))]))
        assert filled_in(blind) == [5, 5, 5]


class Ordering(Strategy):
    """Sends orders at given steps: (step, side, contracts, cents, what else)."""

    name, version, summary = "ordering", "1", "Sends what it is told."
    orders: ClassVar[tuple[tuple[int, int, float, float, dict[str, str]], ...]] = ()

    def __init__(self):
        self.steps, self.told = -1, []

    def next(self):
        self.steps += 1
        for step, side, count, cents, how in self.orders:
            if step == self.steps:
                send = self.buy if side > 0 else self.sell
                send(self.datas[0], count, cents / 100, exectype=bt.Order.Limit, **how)

    def notify_order(self, order):
        if order.status in (bt.Order.Partial, bt.Order.Completed):
            self.told.append(((self.now - NOW) / SECOND, order.executed.size))


def ordered(universe, *orders, fills=EXPECTED, execution=ExecutionModel()):  # noqa: B008 (frozen)
    strategy = type("Ordered", (Ordering,), {"orders": orders})
    return cerebro.run(universe, strategy, execution, fills, cash=1_000 * MONEY)


def journal_of(finished):
    """Kind, order, signed contracts and reason of each entry."""
    lines = [dict(zip(JOURNAL, map(int, line), strict=True)) for line in finished.outcome.journal]
    return [
        (
            EntryKind(line["kind"]).name,
            line["order"],
            line["side"] * line["count"] / CONTRACT,
            Reason(line["reason"]).name,
        )
        for line in lines
    ]


def fills_by_order(finished):
    found: dict[int, float] = {}
    for kind, order, count, _ in journal_of(finished):
        if kind == "FILL":
            found[order] = found.get(order, 0) + count
    return found


def reasons_of(finished):
    return [(order, reason) for kind, order, *_, reason in journal_of(finished) if reason != "NONE"]


class TestSeveralOrders:
    def test_a_strategy_is_told_of_a_fill_when_it_happens(self):
        universe = taped(quiet(book(42, 45, at=50)), (12.25, 41, 3, SOLD), (13, 41, 30, SOLD))
        told = ordered(universe, (0, 1, 10, 42, {})).strategy.told
        assert told == [(12.25, 3), (13, 10)]

    def test_a_trade_fills_the_best_price_first_and_then_the_oldest(self):
        universe = taped(quiet(book(42, 45, at=50)), (12, 41, 15, SOLD))
        orders: Any = [(0, 1, 10, 42, {}), (0, 1, 4, 43, {}), (0, 1, 10, 42, {})]
        for fills in FillModel:
            assert fills_by_order(ordered(universe, *orders, fills=fills)) == {0: 10, 1: 4, 2: 1}

    def test_earlier_orders_of_ours_are_in_the_queue_of_later_ones(self):
        universe = taped(quiet(book(42, 45, at=50)), (12, 42, 113, SOLD))
        orders: Any = [(0, 1, 10, 42, {}), (0, 1, 10, 42, {})]
        for fills in FillModel:
            assert fills_by_order(ordered(universe, *orders, fills=fills)) == {0: 10, 1: 3}

    def test_they_share_the_volume_of_a_row(self):
        rows = [book(42, 45, at=0, volume=0), book(42, 45, at=20, volume=1_500, last=4_100)]
        universe = observed_at(universe_of(*rows), [5])
        orders: Any = [(0, 1, 10, 42, {}), (0, 1, 10, 43, {})]
        found = [fills_by_order(ordered(universe, *orders, fills=fills)) for fills in FillModel]
        assert found == [{1: 0.01}, {1: 10, 0: 5}, {1: 10, 0: 5}]


class Reading(Strategy):
    """Notes the seconds of the trades that are new at each step."""

    name, version, summary = "reading", "1", "Reads the tape."

    def __init__(self):
        self.seen: dict[float, list[float]] = {}
        self.last = -1

    def next(self):
        trades = self.trades(self.datas[0], since=self.last)
        self.seen[(self.now - NOW) / SECOND] = [(each.at - NOW) / SECOND for each in trades]
        self.last = self.now


def test_a_strategy_sees_a_trade_from_when_the_record_knew_of_it():
    # `taped` knows of a trade a second after it.
    rows = [book(42, 45, at=at) for at in (10, 20, 30)]
    universe = taped(quiet(*rows), (9.5, 42, 1, SOLD), (12, 42, 1, SOLD), (19, 43, 1, BOUGHT))
    finished = cerebro.run(universe, Reading, ExecutionModel(), EXPECTED, cash=MONEY)
    assert finished.strategy.seen == {0: [], 10: [], 20: [9.5, 12, 19], 30: []}


class TestSelfTrade:
    """An order that would trade with another one of the run."""

    LOOKS = (book(42, 45, at=10), book(42, 45, at=20), book(42, 45, at=50))

    def crossing(self, how, *, cents=44):
        return ordered(quiet(*self.LOOKS), (0, -1, 10, 44, {}), (2, 1, 10, cents, how))

    def test_the_rest_of_the_incoming_order_is_cancelled(self):
        assert reasons_of(self.crossing({})) == [(1, "SELF_TRADE")]

    def test_or_the_resting_order_and_the_incoming_one_goes_on(self):
        finished = self.crossing({"self_trade_prevention": "maker"}, cents=45)
        assert reasons_of(finished) == [(0, "SELF_TRADE")]
        assert fills_by_order(finished) == {1: 10}

    def test_what_was_offered_before_ours_trades_first(self):
        finished = ordered(quiet(*self.LOOKS), (0, -1, 10, 45, {}), (2, 1, 120, 45, {}))
        assert fills_by_order(finished) == {1: 100}
        assert reasons_of(finished) == [(1, "SELF_TRADE")]

    def test_an_order_that_others_fill_does_not_meet_ours(self):
        finished = ordered(quiet(*self.LOOKS), (0, -1, 10, 45, {}), (2, 1, 100, 45, {}))
        assert (fills_by_order(finished), reasons_of(finished)) == ({1: 100}, [])

    def test_one_that_must_not_take_is_refused(self):
        assert reasons_of(self.crossing({"post_only": True})) == [(1, "WOULD_CROSS")]
