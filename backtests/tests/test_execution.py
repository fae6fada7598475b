"""Execution of orders on universes of a few rows, with the same journal in both engines."""

from dataclasses import replace

import numpy as np
import pytest

from backtests.data.universe import (
    MISSING,
    SECOND,
    Grid,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
)
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import (
    HOLD,
    JOURNAL,
    REASONS,
    EntryKind,
    ExecutionModel,
    FillModel,
    Reason,
)
from backtests.strategies.base import Signal

NOW = 1_790_000_000 * SECOND  # September 2026, the newest rule of rounding
CASH = 1_000_000_000
FREE = Terms(0, 0, 1, 0, 1)
USUAL = Terms(0, 7, 100, 7, 400)
ANY = Grid(0)
CENTS, TENTHS = ((0, 10_000, 100),), ((0, 10_000, 10),)
NEXT = ExecutionModel()  # with books five seconds apart, orders meet the next one


class FixedTargets(Signal):
    """A signal with the targets that a test gives it."""

    name, version, summary = "fixed-targets", "1", "Has the targets that it is given."

    def __init__(self, targets):
        super().__init__()
        self.fixed_targets = np.array(targets, np.int64)

    def targets(self, history):
        return self.fixed_targets[history.order]


def book(bid, ask, *, size=100, **others):
    """A row: prices in cents, sizes in contracts; None is missing or unknown."""
    sizes = (others.pop("bid_size", size), others.pop("ask_size", size))
    return {
        "bid": MISSING if bid is None else bid * 100,
        "ask": MISSING if ask is None else ask * 100,
        "bid_size": MISSING if sizes[0] is None else sizes[0] * 100,
        "ask_size": MISSING if sizes[1] is None else sizes[1] * 100,
        "last": MISSING,
        "volume": MISSING,
        "close_at": MISSING,
        "tradable": True,
        "market": 0,
        **others,
    }


def universe_of(*rows, terms=FREE, settlement=None, grids=(ANY,), markets=1, seconds=5):
    columns = {name: [row.get(name) for row in rows] for name in rows[0] if name != "at"}
    at = [NOW + round(row.get("at", n * seconds) * SECOND) for n, row in enumerate(rows)]
    quotes = Quotes(
        at=np.array(at, np.int64),
        tradable=np.array(columns.pop("tradable"), bool),
        **{name: np.array(values, np.int64) for name, values in columns.items()},
    )
    listings = [Listing(ticker=f"T{m}", event=f"E{m}") for m in range(markets)]
    settlements = [settlement] + [None] * (markets - 1)
    return Universe(quotes, listings, settlements, [[terms]] * markets, [grids] * markets)


def run_both(universe, targets, execution=NEXT, *, fills=FillModel.EXPECTED, cash=CASH):
    """Run both engines, assert the same outcome, and return the journal as dictionaries."""
    targets = [HOLD if target is None else target for target in targets]
    fast = kernel.run(universe, np.array(targets, np.int64), execution, fills, cash=cash)
    slow = cerebro.run(universe, FixedTargets(targets), execution, fills, cash=cash).outcome
    assert np.array_equal(fast.journal, slow.journal)
    assert (fast.cash, fast.positions) == (slow.cash, slow.positions)
    assert fast.has_band == slow.has_band
    lines = [dict(zip(JOURNAL, map(int, line), strict=True)) for line in fast.journal]
    return [
        line | {"kind": EntryKind(line["kind"]), "reason": Reason(line["reason"])} for line in lines
    ]


def fills_of(lines):
    """The contracts (negative for NO) and the price in cents of each fill."""
    return [
        (line["side"] * line["count"] / 100, line["price"] / 100)
        for line in lines
        if line["kind"] == EntryKind.FILL
    ]


def ends_of(lines):
    return [
        (line["kind"].name, line["reason"].name)
        for line in lines
        if line["kind"] in (EntryKind.REFUSED, EntryKind.CANCELLED)
    ]


class TestTakers:
    def test_a_buyer_pays_the_ask_and_a_seller_gets_the_bid(self):
        lines = run_both(
            universe_of(*[book(42, 45)] * 2, *[book(50, 53)] * 2),
            [10, None, -10, None],
        )
        assert fills_of(lines) == [(10, 45), (-20, 50)]

    def test_the_ask_of_a_market_that_nobody_ever_bids_in_can_be_bought(self):
        assert fills_of(run_both(universe_of(*[book(None, 45)] * 3), [10] * 3)) == [(10, 45)]

    def test_an_order_meets_the_book_after_its_latency(self):
        lines = run_both(
            universe_of(book(42, 45), book(40, 44), book(30, 33)),
            [10, None, None],
        )
        assert fills_of(lines) == [(10, 44)]

    def test_latency_is_over_at_the_first_book_seen_after_it(self):
        slow = ExecutionModel(latency_seconds=6)
        lines = run_both(
            universe_of(book(42, 45), book(42, 45), book(42, 44)),
            [10, None, None],
            slow,
        )
        assert fills_of(lines) == [(10, 44)]

    def test_a_buyer_never_pays_more_than_the_ask_that_he_saw(self):
        lines = run_both(universe_of(book(42, 45), book(44, 46)), [10, None])
        assert fills_of(lines) == []
        assert ends_of(lines) == [("CANCELLED", "UNFILLED")]

    def test_a_last_price_neither_fills_nor_marks(self):
        lines = run_both(universe_of(book(None, None, last=4_400), book(None, None)), [10, 10])
        assert lines == []

    def test_no_more_is_filled_than_was_shown(self):
        lines = run_both(
            universe_of(book(42, 45, ask_size=4), book(42, 45, ask_size=4)),
            [10, None],
        )
        assert fills_of(lines) == [(4, 45)]

    def test_liquidity_taken_is_gone_until_the_book_refills(self):
        shown = [4, 4, 4, 4, 7, 7]
        lines = run_both(universe_of(*(book(42, 45, ask_size=n) for n in shown)), [10] * 6)
        assert fills_of(lines) == [(4, 45), (3, 45)]
        assert [line["row"] for line in lines if line["kind"] == EntryKind.FILL] == [1, 5]

    def test_another_price_is_other_liquidity(self):
        books = [book(42, 45, ask_size=4)] * 2 + [book(41, 44, ask_size=4)] * 2
        assert fills_of(run_both(universe_of(*books), [10] * 4)) == [
            (4, 45),
            (4, 44),
        ]

    def test_an_unknown_size_fills_nothing(self):
        assert (
            run_both(
                universe_of(book(42, 45, size=None), book(42, 45, size=None)),
                [10, 10],
            )
            == []
        )

    def test_a_run_may_assume_sizes(self):
        assumed = ExecutionModel(assumed_size=6)
        books = [book(42, 45, size=None)] * 3
        assert fills_of(run_both(universe_of(*books), [10] * 3, assumed)) == [(6, 45)]

    def test_nothing_is_sent_while_an_order_is_on_its_way(self):
        lines = run_both(
            universe_of(*[book(42, 45)] * 4),
            [10] * 4,
            ExecutionModel(latency_seconds=11),
        )
        assert [line["kind"] for line in lines] == [EntryKind.ORDER, EntryKind.FILL]

    def test_an_order_expires_where_no_book_is_seen(self):
        hasty = ExecutionModel(patience_seconds=60)
        lines = run_both(universe_of(book(42, 45), book(42, 45, at=120)), [10, None], hasty)
        assert ends_of(lines) == [("CANCELLED", "EXPIRED")]
        assert lines[-1]["at"] == NOW + 61 * SECOND


class TestRefusals:
    def test_nothing_trades_while_the_market_does_not(self):
        closed = book(42, 45, at=0.5, tradable=False)
        lines = run_both(universe_of(book(42, 45), closed, book(42, 45, at=5)), [10, None, None])
        assert ends_of(lines) == [("REFUSED", "NOT_TRADING")]

    def test_nothing_is_sent_to_a_market_that_does_not_trade(self):
        assert run_both(universe_of(book(42, 45, tradable=False), book(42, 45)), [10, None]) == []

    def test_a_price_off_the_grid_is_refused(self):
        grids = [Grid(0, ((0, 10_000, 500),))]
        lines = run_both(universe_of(book(42, 46), book(42, 46), grids=grids), [10, None])
        assert ends_of(lines) == [("REFUSED", "OFF_GRID")]

    def test_a_finer_price_is_refused_before_the_grid_is_refined_and_filled_after_it(self):
        grids = [Grid(0, CENTS), Grid(NOW + 6 * SECOND, TENTHS)]
        lines = run_both(universe_of(*[book(42, 45.5)] * 3, grids=grids), [10, 10, None])
        assert ends_of(lines) == [("REFUSED", "OFF_GRID")]
        assert fills_of(lines) == [(10, 45.5)]
        assert [line["row"] for line in lines if line["kind"] != EntryKind.ORDER] == [1, 2]

    def test_a_finer_price_is_filled_before_the_grid_is_coarsened_and_refused_after_it(self):
        grids = [Grid(0, TENTHS), Grid(NOW + 6 * SECOND, CENTS)]
        lines = run_both(universe_of(*[book(42, 45.5)] * 3, grids=grids), [10, 20, None])
        assert fills_of(lines) == [(10, 45.5)]
        assert ends_of(lines) == [("REFUSED", "OFF_GRID")]
        assert [line["row"] for line in lines if line["kind"] != EntryKind.ORDER] == [1, 2]

    def test_the_grid_is_that_of_the_arrival_not_that_of_the_observation(self):
        grids = [Grid(0, TENTHS), Grid(NOW + 2 * SECOND, CENTS)]
        universe = universe_of(*[book(42, 45.5)] * 2, grids=grids)
        assert fills_of(run_both(universe, [10, None])) == [(10, 45.5)]

    def test_of_several_changes_before_an_order_the_last_one_counts(self):
        grids = [Grid(0, CENTS), Grid(NOW + 1, TENTHS), Grid(NOW + 2, CENTS), Grid(NOW + 3, TENTHS)]
        assert fills_of(run_both(universe_of(*[book(42, 45.5)] * 2, grids=grids), [10, None])) == [
            (10, 45.5)
        ]

    def test_each_market_has_its_own_grids(self):
        rows = [book(42, 45.5, market=m, at=n * 5) for n in range(3) for m in range(2)]
        refined = [Grid(0, CENTS), Grid(NOW + 6 * SECOND, TENTHS)]
        universe = replace(universe_of(*rows, markets=2), grids=[[Grid(0, CENTS)], refined])
        lines = run_both(universe, [None, None, 10, 10, None, None])
        assert ends_of(lines) == [("REFUSED", "OFF_GRID")]
        assert [line["market"] for line in lines if line["kind"] == EntryKind.FILL] == [1]

    def test_a_price_of_a_whole_dollar_is_refused(self):
        lines = run_both(universe_of(book(42, 100), book(42, 100)), [10, None])
        assert ends_of(lines) == [("REFUSED", "OUT_OF_RANGE")]

    def test_what_cash_does_not_cover_is_refused_once(self):
        lines = run_both(universe_of(*[book(42, 45)] * 6), [10] * 6, cash=4_499_999)
        assert ends_of(lines) == [("REFUSED", "FUNDS")]

    def test_the_fee_has_to_be_covered_too(self):
        universe = universe_of(*[book(42, 45)] * 3, terms=USUAL)
        assert ends_of(run_both(universe, [10] * 3, cash=4_500_000)) == [("REFUSED", "FUNDS")]

    def test_a_smaller_wish_is_tried_after_a_refusal(self):
        universe = universe_of(*[book(42, 45)] * 4)
        assert fills_of(run_both(universe, [10, 10, 5, 5], cash=3_000_000)) == [(5, 45)]

    def test_what_could_not_be_paid_for_is_tried_again_once_it_is_cheap_enough(self):
        books = [book(42, 45), book(42, 45), book(27, 30), book(27, 30)]
        lines = run_both(universe_of(*books, terms=USUAL), [10] * 4, cash=4_000_000)
        assert ends_of(lines) == [("REFUSED", "FUNDS")]
        assert fills_of(lines) == [(10, 30)]

    def test_what_is_still_too_dear_at_another_price_is_not_tried_again(self):
        books = [book(38, ask) for ask in (45, 45, 44, 46, 41, 40)]
        lines = run_both(universe_of(*books, terms=USUAL), [10] * 6, cash=4_000_000)
        assert ends_of(lines) == [("REFUSED", "FUNDS")]
        assert len([line for line in lines if line["kind"] == EntryKind.ORDER]) == 1

    def test_who_waits_bids_again_once_the_touch_is_cheap_enough(self):
        books = [book(42, 45), book(42, 45), book(41, 45), book(30, 33)]
        lines = run_both(universe_of(*books), [10] * 4, MAKE, cash=4_000_000)
        assert [line["price"] for line in lines if line["kind"] == EntryKind.ORDER] == [
            4_200,
            3_000,
        ]

    def test_a_position_stays_within_its_limit(self):
        narrow = ExecutionModel(position_limit=5)
        lines = run_both(universe_of(*[book(42, 45)] * 6), [5, 5, 6, 6, 6, 6], narrow)
        assert fills_of(lines) == [(5, 45)]
        assert ends_of(lines) == [("REFUSED", "POSITION_LIMIT")]

    def test_each_reason_has_words(self):
        assert set(REASONS) == set(Reason)


MAKE = ExecutionModel(make=True)


class TestMakers:
    def rested(self, *later, fills, targets=None, **others):
        """Bid for ten contracts at 42 cents, behind a hundred; then other books follow.

        The second book is the one at which the order joins.
        """
        first, *rest = targets or [10] * (1 + len(later))
        universe = universe_of(*[book(42, 45)] * 2, *later, **others)
        return run_both(universe, [first, None, *rest], MAKE, fills=fills)

    @pytest.mark.parametrize("fills", FillModel)
    def test_all_agree_that_an_untouched_order_waits(self, fills):
        assert fills_of(self.rested(book(42, 45), book(42, 44), fills=fills)) == []

    @pytest.mark.parametrize(
        ("fills", "filled"),
        [
            (FillModel.FEWEST, []),
            (FillModel.EXPECTED, [(10, 42)]),
            (FillModel.MOST, [(10, 42)]),
        ],
    )
    def test_an_offer_at_our_price_fills_in_all_but_the_fewest(self, fills, filled):
        lines = self.rested(book(41, 42), fills=fills, targets=[10, None])
        assert fills_of(lines) == filled

    @pytest.mark.parametrize("fills", FillModel)
    def test_all_agree_when_the_market_goes_through(self, fills):
        assert fills_of(self.rested(book(39, 41), fills=fills, targets=[10, None])) == [(10, 42)]

    @pytest.mark.parametrize(
        ("last", "fills", "filled"),
        [
            (42, FillModel.FEWEST, []),
            (42, FillModel.MOST, [(3, 42)]),
            (41, FillModel.FEWEST, [(0.01, 42)]),
            (41, FillModel.EXPECTED, [(3, 42)]),
            (43, FillModel.EXPECTED, []),
            (43, FillModel.MOST, [(2.99, 42)]),
        ],
    )
    def test_the_last_price_of_a_volume_proves_where_the_last_of_it_traded(
        self, last, fills, filled
    ):
        before = book(42, 45, volume=1_000)
        after = book(42, 45, volume=1_300, last=last * 100)
        lines = run_both(universe_of(before, before, after), [10, None, None], MAKE, fills=fills)
        assert fills_of(lines) == filled

    def test_a_maker_pays_the_makers_fee(self):
        lines = self.rested(book(39, 41), fills=FillModel.EXPECTED, targets=[10, None], terms=USUAL)
        fee = 7 * 1_000 * 4_200 * 5_800 // (400 * 10_000)
        assert [line["fee"] for line in lines if line["kind"] == EntryKind.FILL] == [
            -(-fee // 100) * 100
        ]

    def test_an_order_follows_the_touch(self):
        lines = self.rested(book(43, 45), book(43, 45), fills=FillModel.EXPECTED)
        assert [line["price"] for line in lines if line["kind"] == EntryKind.ORDER] == [
            4_200,
            4_300,
        ]
        assert ends_of(lines) == [("CANCELLED", "REPLACED")]

    def test_what_is_filled_while_its_replacement_is_on_the_way_counts_towards_it(self):
        books = [
            book(42, 45),
            book(42, 45),
            book(43, 45),
            book(40, 41),
            book(40, 41),
        ]
        lines = run_both(universe_of(*books), [10] * 3 + [None] * 2, MAKE)
        assert fills_of(lines) == [(10, 42)]
        assert ends_of(lines) == [("CANCELLED", "MEANWHILE")]

    def test_an_order_that_is_not_wanted_any_more_is_taken_back(self):
        lines = self.rested(book(42, 45), fills=FillModel.EXPECTED, targets=[10, 0])
        assert ends_of(lines) == [("CANCELLED", "ASKED")]

    def test_a_pause_cancels_what_rests(self):
        lines = self.rested(
            book(42, 45, tradable=False), book(30, 31), fills=FillModel.MOST,
            targets=[10, None, None],
        )  # fmt: skip
        assert fills_of(lines) == []
        assert ends_of(lines) == [("CANCELLED", "CLOSED")]

    def test_what_rests_stays_when_the_grid_gets_coarser_under_it(self):
        grids = [Grid(0, TENTHS), Grid(NOW + 5 * SECOND, CENTS)]
        books = [book(42.5, 45), book(42.5, 45), book(40, 41)]
        lines = run_both(universe_of(*books, grids=grids), [10, None, None], MAKE)
        assert fills_of(lines) == [(10, 42.5)]

    def test_what_rests_holds_cash_back(self):
        rows = [book(42, 45, market=m) for m in (0, 0, 1, 1)]
        lines = run_both(universe_of(*rows, markets=2), [10, None, 10, None], MAKE, cash=8_000_000)
        assert ends_of(lines) == [("REFUSED", "FUNDS")]

    def test_an_order_that_would_trade_at_once_is_refused(self):
        lines = run_both(universe_of(book(42, 45), book(40, 42)), [10, None], MAKE)
        assert ends_of(lines) == [("REFUSED", "WOULD_CROSS")]


class TestSettlement:
    ENDED = Settlement(NOW + 20 * SECOND, NOW + 30 * SECOND, 1_000_000)

    def test_cash_comes_back_when_it_was_paid(self):
        universe = universe_of(
            book(42, 45), book(42, 45), book(42, 45, market=1, at=40), markets=2,
            settlement=self.ENDED,
        )  # fmt: skip
        lines = run_both(universe, [10, None, None])
        assert [line["kind"] for line in lines] == [
            EntryKind.ORDER,
            EntryKind.FILL,
            EntryKind.SETTLED,
        ]
        assert lines[-1]["at"] == NOW + 30 * SECOND
        assert lines[-1]["cash"] == CASH - 4_500_000 + 10_000_000

    def test_an_order_ends_with_its_market(self):
        rows = book(42, 45, at=0), book(42, 45, at=60, market=1)
        lines = run_both(universe_of(*rows, settlement=self.ENDED, markets=2), [10, None])
        assert ends_of(lines) == [("CANCELLED", "ENDED")]

    def test_nothing_is_traded_after_it(self):
        universe = universe_of(book(42, 45), book(42, 45, at=60), settlement=self.ENDED)
        assert run_both(universe, [None, 10]) == []


def test_markets_that_share_an_instant_take_their_turns():
    rows = [book(42, 45, market=m, at=n * 5) for n in range(2) for m in range(3)]
    lines = run_both(universe_of(*rows, markets=3), [10] * 6, cash=10_000_000)
    assert [line["market"] for line in lines if line["kind"] == EntryKind.FILL] == [0, 1]
    assert ends_of(lines) == [("REFUSED", "FUNDS")]


def test_more_contracts_than_a_fee_is_known_for_are_refused_before_the_run():
    with pytest.raises(ValueError, match="1,000,000 contracts"):
        kernel.run(
            universe_of(book(42, 45)),
            np.array([1_000_001]),
            NEXT,
            FillModel.EXPECTED,
            cash=CASH,
        )
