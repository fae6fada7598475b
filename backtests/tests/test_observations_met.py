"""Orders meet observations, whether or not a row was written for them, in both engines alike."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import SECOND, Grid, Settlement
from backtests.rules.execution import EntryKind, ExecutionModel, FillModel
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import (
    CENTS,
    MAKE,
    NOW,
    TENTHS,
    USUAL,
    book,
    ends_of,
    fills_of,
    run_both,
    universe_of,
)
from backtests.tests.test_gaps import gaps_of

EVERY_5 = range(0, 100, 5)


def seconds_of(lines, *kinds):
    """The seconds since the start at which entries of these kinds were written."""
    return [(line["at"] - NOW) / SECOND for line in lines if line["kind"] in kinds]


def fills_in(universe, targets, execution=ExecutionModel()):  # noqa: B008 (it is frozen)
    """The fills of each of the three scenarios."""
    return [fills_of(run_both(universe, targets, execution, fills=fills)) for fills in FillModel]


def gap(since, until):
    return (round(NOW + since * SECOND), round(NOW + until * SECOND))


class TestTheObservation:
    def test_an_unchanged_quote_fills_at_the_next_look_not_at_the_next_change(self):
        universe = universe_of(book(42, 45, at=0), book(50, 53, at=3_600))
        lines = run_both(observed_at(universe, EVERY_5), [10, None])
        assert fills_of(lines) == [(10, 45)]
        assert seconds_of(lines, EntryKind.FILL) == [5]
        assert lines[-1]["row"] == 0

    def test_it_is_the_first_at_or_after_the_arrival(self):
        universe = observed_at(universe_of(book(42, 45)), [4, 6, 8])
        for latency, met in ((3.9, 4), (4, 4), (4.1, 6), (0, 4)):
            model = ExecutionModel(latency_seconds=latency)
            assert seconds_of(run_both(universe, [10], model), EntryKind.FILL) == [met]

    def test_an_order_without_latency_does_not_share_the_instant_of_its_decision(self):
        universe = observed_at(universe_of(book(42, 45), book(42, 45)), [])
        lines = run_both(universe, [10, None], ExecutionModel(latency_seconds=0))
        assert seconds_of(lines, EntryKind.FILL) == [5]

    def test_looking_more_often_at_an_unchanged_book_changes_no_fill(self):
        rows = [book(42, 45, at=0, ask_size=4), book(40, 44, at=40), book(40, 44, at=80)]
        seldom = observed_at(universe_of(*rows), range(0, 90, 20))
        often = observed_at(universe_of(*rows), range(90))
        assert fills_in(seldom, [10, 20, None]) == fills_in(often, [10, 20, None])

    def test_each_market_has_its_own(self):
        rows = [book(42, 45, at=0, market=m) for m in range(2)]
        universe = observed_at(universe_of(*rows, markets=2), [9], [4])
        lines = run_both(universe, [10, 10])
        assert [(line["market"], line["at"]) for line in lines[2:]] == [
            (1, NOW + 4 * SECOND),
            (0, NOW + 9 * SECOND),
        ]

    def test_of_one_instant_the_markets_take_their_turns(self):
        rows = [book(42, 45, at=0, market=m) for m in range(3)]
        universe = observed_at(universe_of(*rows, markets=3), *[[7]] * 3)
        lines = run_both(universe, [10] * 3, cash=10_000_000)
        assert [line["market"] for line in lines if line["kind"] == EntryKind.FILL] == [0, 1]
        assert ends_of(lines) == [("REFUSED", "FUNDS")]

    def test_rows_come_before_arrivals_and_decisions_after_them(self):
        universe = universe_of(book(42, 45), book(42, 46), book(42, 45))
        lines = run_both(universe, [10, 20, None])
        # The ask has gone up when the first order arrives; the next decision knows that.
        assert [line["kind"].name for line in lines] == [
            "ORDER", "CANCELLED", "ORDER", "FILL",
        ]  # fmt: skip
        assert lines[2]["price"] == 4_600

    def test_a_settlement_comes_before_an_arrival_of_its_instant(self):
        paid = Settlement(NOW, NOW + 5 * SECOND, 0)
        universe = observed_at(universe_of(book(42, 45), settlement=paid), [5])
        assert ends_of(run_both(universe, [10])) == [("CANCELLED", "ENDED")]

    def test_an_order_that_nobody_can_see_expires_after_its_patience(self):
        rows = book(42, 45, at=0), book(42, 45, at=90, market=1)
        hasty = ExecutionModel(patience_seconds=60)
        lines = run_both(universe_of(*rows, markets=2), [10, None], hasty)
        assert ends_of(lines) == [("CANCELLED", "EXPIRED")]
        assert seconds_of(lines, EntryKind.CANCELLED) == [61]

    def test_a_cancellation_takes_effect_at_its_arrival(self):
        universe = observed_at(universe_of(book(42, 45), book(42, 45), book(42, 45)), [])
        lines = run_both(universe, [10, None, 0], MAKE)
        assert ends_of(lines) == [("CANCELLED", "ASKED")]
        assert seconds_of(lines, EntryKind.CANCELLED) == [11]


class TestTheBandOfTakers:
    def test_each_scenario_takes_the_book_of_its_name(self):
        rows = [book(42, 45, ask_size=4), book(42, 44, ask_size=7)]
        assert fills_in(universe_of(*rows), [10, None]) == [[(4, 45)], [(7, 44)], [(7, 44)]]

    def test_most_fills_takes_the_earlier_book_where_it_offered_more(self):
        rows = [book(42, 45, ask_size=7), book(42, 45, ask_size=4)]
        assert fills_in(universe_of(*rows), [10, None]) == [[(4, 45)], [(4, 45)], [(7, 45)]]

    @pytest.mark.parametrize(("target", "worse", "better"), [(10, 45, 44), (-10, 42, 43)])
    def test_of_equal_fills_fewest_takes_the_worse_price(self, target, worse, better):
        first, second = book(42, 45), book(43, 44)
        filled = fills_in(universe_of(first, second), [target, None])
        assert filled == [[(target, worse)], [(target, better)], [(target, better)]]
        filled = fills_in(universe_of(second, first), [target, None])
        assert [[price for _, price in each] for each in filled[1:]] == [[], [better]]

    def test_an_offer_that_went_away_fills_in_the_most_fills_alone(self):
        gone = universe_of(book(42, 45), book(42, 47))
        assert fills_in(gone, [10, None]) == [[], [], [(10, 45)]]

    def test_an_offer_that_is_known_to_have_stood_has_no_band(self):
        looked = observed_at(universe_of(book(42, 45, at=0), book(42, 47, at=8)), [5])
        assert fills_in(looked, [10, None]) == [[(10, 45)]] * 3

    def test_all_fill_at_the_later_instant_with_the_row_of_their_book(self):
        universe = universe_of(book(42, 45, ask_size=7), book(42, 45, ask_size=4))
        for fills, row in ((FillModel.EXPECTED, 1), (FillModel.MOST, 0)):
            (fill,) = [
                line
                for line in run_both(universe, [10, None], fills=fills)
                if line["kind"] == EntryKind.FILL
            ]
            assert (fill["at"], fill["row"]) == (NOW + 5 * SECOND, row)

    def test_what_was_taken_stays_taken_on_the_book_that_it_came_from(self):
        shown = [7, 4, 4, 9, 9]
        universe = universe_of(*(book(42, 45, ask_size=size) for size in shown))
        # Seven of the first book, of which four are missing from the second; then five are new.
        most = run_both(universe, [20] * 5, fills=FillModel.MOST)
        assert fills_of(most) == [(7, 45), (5, 45)]
        expected = run_both(universe, [20] * 5)
        assert fills_of(expected) == [(4, 45), (5, 45)]

    def test_another_price_is_other_liquidity_in_the_band_too(self):
        universe = universe_of(
            book(42, 45), book(42, 47, ask_size=6), book(42, 47, ask_size=6)
        )  # fmt: skip
        most = run_both(universe, [10, 16, None], fills=FillModel.MOST)
        assert fills_of(most) == [(10, 45), (6, 47)]

    def test_where_trading_ends_before_the_next_look_only_most_fills_gets_anything(self):
        closed = universe_of(book(42, 45), book(42, 45, tradable=False))
        assert fills_in(closed, [10, None]) == [[], [], [(10, 45)]]
        assert ends_of(run_both(closed, [10, None])) == [("CANCELLED", "UNSEEN")]

    def test_a_pause_between_two_looks_ends_trading_too(self):
        rows = [book(42, 45, at=0), book(42, 45, at=2, tradable=False), book(42, 45, at=5)]
        assert fills_in(universe_of(*rows), [10, None, None]) == [[], [], [(10, 45)]]

    def test_fees_are_those_of_the_arrival(self):
        half = USUAL._replace(taker_denominator=200, since=NOW + 2 * SECOND)
        universe = replace(universe_of(*[book(42, 45)] * 2), terms=[[USUAL, half]])
        (fill,) = [
            line for line in run_both(universe, [10, None]) if line["kind"] == EntryKind.FILL
        ]
        assert fill["fee"] == 173_300

    def test_a_price_that_fits_the_grid_of_its_arrival_is_taken(self):
        grids = [Grid(0, CENTS), Grid(NOW + SECOND, TENTHS), Grid(NOW + 3 * SECOND, CENTS)]
        universe = universe_of(*[book(42, 45.5)] * 2, grids=grids)
        assert fills_of(run_both(universe, [10, None])) == [(10, 45.5)]

    @pytest.mark.parametrize(
        ("books", "refused"),
        [
            ([book(42, 45), book(40, 42)], [True, True, False]),
            ([book(42, 45), book(43, 45)], [False, False, False]),
        ],
    )
    def test_post_only_is_refused_where_the_book_of_its_scenario_crosses(self, books, refused):
        universe = universe_of(*books)
        runs = [run_both(universe, [10, None], MAKE, fills=fills) for fills in FillModel]
        assert [ends_of(run) == [("REFUSED", "WOULD_CROSS")] for run in runs] == refused


ROWS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(40, 47), st.integers(0, 12), st.booleans()),
    min_size=1,
    max_size=4,
)


def books_of(rows):
    """A book at the start, and one for each (seconds later, bid, size, tradable)."""
    at = np.cumsum([0, *(wait for wait, _, _, _ in rows)]).tolist()
    later = [
        book(bid, bid + 2, at=when, size=size, tradable=tradable)
        for when, (_, bid, size, tradable) in zip(at[1:], rows, strict=True)
    ]
    return [book(43, 45, at=0, size=6), *later]


def fill_by_definition(rows, looks, target, latency):
    """The instant, contracts and price in cents in each scenario, read off the record."""
    observed = [at for at in sorted({*looks, *(row["at"] for row in rows)}) if at >= latency]
    there = [row["tradable"] for row in rows if row["at"] <= latency]
    if not observed or not there[-1]:
        return [None] * 3
    before = [row for row in rows if row["at"] < latency][-1]
    after = [row for row in rows if row["at"] <= observed[0]][-1]
    stops = any(not row["tradable"] for row in rows if latency < row["at"] <= observed[0])
    side = "ask" if target > 0 else "bid"
    sign, limit = (1 if target > 0 else -1), rows[0][side]

    def offer(row):
        count = min(abs(target), row["ask_size"] / 100) if sign * (limit - row[side]) >= 0 else 0
        return (count, -sign * row[side])  # the more the better, then the better price

    least, most = sorted([offer(before), (0, 0) if stops else offer(after)])
    expected = (0, 0) if stops else offer(after)
    return [
        (observed[0], sign * count, abs(price) / 100) if count else None
        for count, price in (least, expected, most)
    ]


@settings(max_examples=100)
@given(
    rows=ROWS.map(books_of),
    looks=st.lists(st.integers(1, 40), max_size=4),
    target=st.sampled_from([8, -8]),
    latency=st.integers(1, 12),
)
def test_one_order_fills_as_the_record_says_by_definition(rows, looks, target, latency):
    universe = observed_at(universe_of(*rows), looks)
    model, targets = ExecutionModel(latency_seconds=latency), [target, *[None] * (len(rows) - 1)]
    told = fill_by_definition(rows, looks, target, latency)
    for fills, wanted in zip(FillModel, told, strict=True):
        lines = run_both(universe, targets, model, fills=fills)
        found = zip(seconds_of(lines, EntryKind.FILL), fills_of(lines), strict=True)
        assert [(at, *fill) for at, fill in found] == ([wanted] if wanted else [])
    counts = [abs(each[1]) if each else 0 for each in told]
    assert counts == sorted(counts)


class TestGaps:
    SEEN = universe_of(book(42, 45, at=0), book(42, 45, at=300))

    def universe(self, *gaps):
        return replace(observed_at(self.SEEN, [5, 200]), gaps=gaps_of(list(gaps)))

    def test_an_order_on_its_way_ends_when_a_gap_begins(self):
        late = ExecutionModel(latency_seconds=8)
        lines = run_both(self.universe(gap(20, 200)), [10, None], late)
        assert ends_of(lines) == [("CANCELLED", "GAP")]
        assert seconds_of(lines, EntryKind.CANCELLED) == [20]

    def test_an_order_that_met_its_observation_before_is_not_touched(self):
        lines = run_both(self.universe(gap(20, 200)), [10, None])
        assert fills_of(lines) == [(10, 45)]

    def test_an_order_may_wait_for_what_comes_after_the_gap(self):
        waiting = ExecutionModel(latency_seconds=8, across_gaps="wait")
        lines = run_both(self.universe(gap(20, 200)), [10, None], waiting)
        assert seconds_of(lines, EntryKind.FILL) == [200]

    def test_patience_counts_in_a_gap_as_well(self):
        waiting = ExecutionModel(latency_seconds=8, across_gaps="wait", patience_seconds=60)
        lines = run_both(self.universe(gap(20, 200)), [10, None], waiting)
        assert ends_of(lines) == [("CANCELLED", "EXPIRED")]
        assert seconds_of(lines, EntryKind.CANCELLED) == [68]

    def test_what_rests_stays(self):
        rows = [book(42, 45, at=0), book(42, 45, at=5), book(39, 41, at=300)]
        universe = replace(observed_at(universe_of(*rows), []), gaps=gaps_of([gap(20, 300)]))
        assert fills_of(run_both(universe, [10, None, None], MAKE)) == [(10, 42)]
