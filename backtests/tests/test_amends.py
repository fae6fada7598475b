"""Amending an order at rest: a smaller one keeps its place in the queue, others lose it."""

from dataclasses import replace

import pytest

from backtests.data.universe import SECOND
from backtests.metrics.waits import waits
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.rules.meetings import fills_across_gaps, meetings
from backtests.tests.scripted import clocked, lines_of, scripted
from backtests.tests.test_execution import book
from backtests.tests.test_gaps import gaps_of
from backtests.tests.test_makers import SOLD, moment, taped

LOOKS = range(0, 60, 5)


def quiet(*trades, rows=(), looks=LOOKS):
    """A quote of 42 at 45 cents with 100 contracts at both prices, and a whole tape."""
    return taped(clocked(book(42, 45, at=0), *rows, looks=looks), *trades)


def amended(universe, *, size=None, cents=None, at=10, fills=FillModel.EXPECTED, bid=10, **how):
    """Bid 42 cents, amend it at a second, and tell what came of it."""
    price = None if cents is None else cents / 100
    script = {
        0: lambda s: s.bid(bid, 42, **how),
        at: lambda s: s.sent.append(s.amend(s.sent[0], size=size, price=price)),
    }
    return scripted(universe, script, fills)


class TestTheQueue:
    """Forty of a hundred are eaten before the amendment."""

    @pytest.mark.parametrize("fills", FillModel)
    def test_a_smaller_order_keeps_its_place(self, fills):
        universe = quiet((8, 42, 40, SOLD), (20, 42, 63, SOLD), rows=[book(42, 45, at=14)])
        assert lines_of(amended(universe, size=5, fills=fills)) == [
            (11, "CANCELLED", 0, 10, "REPLACED"),
            (20, "FILL", 1, 3, "NONE"),
        ]

    @pytest.mark.parametrize("fills", FillModel)
    def test_a_larger_one_goes_to_the_end(self, fills):
        universe = quiet((8, 42, 40, SOLD), (20, 42, 103, SOLD), rows=[book(42, 45, at=14)])
        assert lines_of(amended(universe, size=20, fills=fills)) == [
            (11, "CANCELLED", 0, 10, "REPLACED"),
            (20, "FILL", 1, 3, "NONE"),
        ]

    def test_so_does_one_at_another_price(self):
        universe = quiet((8, 42, 40, SOLD), (20, 43, 4, SOLD), (21, 42, 99, SOLD))
        assert lines_of(amended(universe, cents=43))[1:] == [
            (20, "FILL", 1, 4, "NONE"), (21, "FILL", 1, 6, "NONE"),
        ]  # fmt: skip

    def test_until_it_arrives_the_order_stands_as_it_was(self):
        universe = quiet((10.5, 41, 4, SOLD), (30, 41, 50, SOLD))
        assert lines_of(amended(universe, size=5)) == [
            (10.5, "FILL", 0, 4, "NONE"),
            (11, "CANCELLED", 1, 4, "MEANWHILE"),
            (11, "CANCELLED", 0, 6, "REPLACED"),
            (30, "FILL", 1, 1, "NONE"),
        ]

    def test_the_size_counts_what_is_filled_already(self):
        universe = quiet((8, 41, 4, SOLD), (30, 41, 50, SOLD))
        assert lines_of(amended(universe, size=6))[1:] == [
            (11, "CANCELLED", 0, 6, "REPLACED"), (30, "FILL", 1, 2, "NONE"),
        ]  # fmt: skip

    def test_a_price_that_crosses_takes_at_the_next_observation(self):
        universe = quiet(looks=[5, 30])
        assert lines_of(amended(universe, cents=45))[1:] == [(30, "FILL", 1, 10, "NONE")]


def amended_twice(universe, sizes, seconds=(10, 10.5), fills=FillModel.EXPECTED, **how):
    """Bid 10 contracts for 42 cents, amend it, and amend the amendment."""
    first, second = seconds
    script = {
        0: lambda s: s.bid(10, 42, **how),
        first: lambda s: s.sent.append(s.amend(s.sent[0], size=sizes[0])),
        second: lambda s: s.sent.append(s.amend(s.sent[1], size=sizes[1])),
    }
    return scripted(universe, script, fills)


class TestAnAmendmentThatIsAmendedOnItsWay:
    """Contracts filled before count in the size of each, however many are on their way."""

    ROWS = (book(42, 45, at=10.5), book(42, 45, at=14))

    def test_counts_what_the_first_order_had_filled(self):
        universe = quiet((8, 41, 4, SOLD), (30, 41, 50, SOLD), rows=self.ROWS)
        lines = lines_of(amended_twice(universe, (8, 6)))
        assert [line for line in lines if line[1] == "FILL"] == [
            (8, "FILL", 0, 4, "NONE"), (30, "FILL", 2, 2, "NONE"),
        ]  # fmt: skip

    def test_counts_what_it_fills_before_the_first_amendment_arrives(self):
        universe = quiet((10.7, 41, 4, SOLD), (30, 41, 50, SOLD), rows=self.ROWS)
        assert lines_of(amended_twice(universe, (8, 6))) == [
            (10.7, "FILL", 0, 4, "NONE"),
            (11, "CANCELLED", 1, 4, "MEANWHILE"),
            (11, "CANCELLED", 0, 6, "REPLACED"),
            (11.5, "CANCELLED", 2, 4, "MEANWHILE"),
            (11.5, "CANCELLED", 1, 4, "REPLACED"),
            (30, "FILL", 2, 2, "NONE"),
        ]

    def test_ends_if_all_of_it_is_filled_by_then(self):
        universe = quiet((10.7, 41, 6, SOLD), (30, 41, 50, SOLD), rows=self.ROWS)
        assert lines_of(amended_twice(universe, (8, 6)))[-2:] == [
            (11.5, "CANCELLED", 2, 6, "MEANWHILE"), (11.5, "CANCELLED", 1, 2, "REPLACED"),
        ]  # fmt: skip


def test_an_amendment_counts_what_its_order_took_on_its_way():
    """At one instant it comes after the order that it means, which takes 4 at 30."""
    universe = quiet(rows=[book(40, 42, at=30, ask_size=4)], looks=[])
    assert lines_of(amended(universe, size=6, at=29)) == [
        (30, "FILL", 0, 4, "NONE"),
        (30, "CANCELLED", 1, 4, "MEANWHILE"),
        (30, "CANCELLED", 0, 6, "REPLACED"),
    ]


def test_a_larger_order_that_took_a_part_has_lost_its_place_all_the_same():
    rows = [book(42, 42, at=15, bid_size=300, ask_size=12)]
    universe = quiet((20, 42, 303, SOLD), rows=rows)
    assert lines_of(amended(universe, size=20)) == [
        (11, "CANCELLED", 0, 10, "REPLACED"),
        (15, "FILL", 1, 12, "NONE"),
        (20, "FILL", 1, 3, "NONE"),
    ]


class TestRefusals:
    def test_an_order_that_was_filled_first_cannot_be_amended(self):
        universe = quiet((10.5, 41, 10, SOLD))
        assert lines_of(amended(universe, size=20))[1:] == [(11, "REFUSED", 1, 20, "GONE")]

    @pytest.mark.parametrize(
        ("change", "contracts"), [({"cents": 43}, 10), ({"size": 6}, 6), ({"size": 20}, 20)]
    )
    def test_nor_one_that_is_over_already_and_the_strategy_goes_on(self, change, contracts):
        universe = quiet((8, 41, 10, SOLD))
        assert lines_of(amended(universe, **change)) == [
            (8, "FILL", 0, 10, "NONE"), (11, "REFUSED", 1, contracts, "GONE"),
        ]  # fmt: skip

    def test_nor_one_that_was_cancelled(self):
        script = {
            0: lambda s: s.bid(10, 42),
            10: lambda s: s.cancel(s.sent[0]),
            20: lambda s: s.sent.append(s.amend(s.sent[0], price=0.43)),
        }
        assert lines_of(scripted(quiet(), script)) == [
            (11, "CANCELLED", 0, 10, "ASKED"), (21, "REFUSED", 1, 10, "GONE"),
        ]  # fmt: skip

    def test_a_size_of_nothing_is_an_error_for_one_that_is_over_too(self):
        with pytest.raises(ValueError, match="size must be more than"):
            amended(quiet((8, 41, 10, SOLD)), size=0)

    def test_nor_one_that_is_still_on_its_way(self):
        universe = quiet(looks=[30])
        assert lines_of(amended(universe, size=20)) == [(11, "REFUSED", 1, 20, "GONE")]

    def test_what_the_exchange_refuses_leaves_the_order_as_it_was(self):
        universe = quiet((8, 42, 40, SOLD), (20, 42, 63, SOLD))
        assert lines_of(amended(universe, size=5_000)) == [
            (11, "REFUSED", 1, 5_000, "FUNDS"),
            (20, "FILL", 0, 3, "NONE"),
        ]

    def test_it_is_refused_while_the_market_does_not_trade(self):
        universe = quiet(rows=[book(42, 45, at=11, tradable=False)])
        assert lines_of(amended(universe, size=20)) == [
            (11, "CANCELLED", 0, 10, "CLOSED"),
            (11, "REFUSED", 1, 20, "GONE"),
        ]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({}, "size or price"),
            ({"size": 0}, "size must be more than the 4 contracts that are filled"),
            ({"size": 4}, "size must be more than the 4 contracts that are filled"),
            ({"cents": 100}, "price must be between 0 and 1 dollar"),
        ],
    )
    def test_what_makes_no_order_is_refused_with_words(self, change, words):
        with pytest.raises(ValueError, match=words):
            amended(quiet((8, 41, 4, SOLD)), **change)

    def test_an_order_that_never_rests_cannot_be_amended(self):
        with pytest.raises(ValueError, match="only an order that may rest can be amended"):
            amended(quiet(), size=5, tif="ioc")


def test_a_strategy_hears_of_both_orders():
    told = amended(quiet(), size=5).strategy.told
    assert told[1:] == [
        (5, "Accepted", ""),
        (11, "Submitted", ""),
        (11, "Canceled", "replaced by another order"),
        (11, "Accepted", ""),
    ]


def test_cash_is_held_back_for_what_is_left():
    """Of $1,000, a bid of 2,000 for 42 cents leaves $160; amended to 100, nearly all of it."""
    script = {
        0: lambda s: s.bid(2_000, 42),
        10: lambda s: s.sent.append(s.amend(s.sent[0], size=100)),
        20: lambda s: s.bid(2_000, 42),
    }
    finished = scripted(quiet(), script, execution=ExecutionModel())
    assert lines_of(finished) == [(11, "CANCELLED", 0, 2_000, "REPLACED")]


class TestWaits:
    """Orders wait for observations; the first of each run meets its own after four seconds."""

    def waited(self, universe, **change):
        found = waits(universe, amended(universe, **change).outcome, latency=SECOND)
        return found.met, found.never_met, found.longest

    def test_an_amendment_that_loses_its_place_waits_as_an_order_does(self):
        assert self.waited(quiet(looks=[5, 30]), cents=41) == (2, 0, 19.0)

    def test_so_does_one_whose_order_was_filled_in_part_meanwhile(self):
        universe = quiet((10.5, 41, 4, SOLD), looks=[5, 30])
        assert self.waited(universe, size=20) == (2, 0, 19.0)

    def test_one_that_keeps_its_place_waits_for_nothing(self):
        assert self.waited(quiet(looks=[5, 30]), size=5) == (1, 0, 4.0)

    def test_nor_does_one_of_which_nothing_was_left(self):
        universe = quiet((10.5, 41, 6, SOLD), looks=[5, 30])
        assert self.waited(universe, size=6) == (1, 0, 4.0)

    def test_one_that_keeps_its_place_is_not_on_its_way_across_a_gap(self):
        universe = quiet((40, 41, 50, SOLD), looks=[5, 30])
        universe = replace(universe, gaps=gaps_of([(moment(20), moment(30))], []))
        outcome = amended(universe, size=5).outcome
        orders = meetings(universe, outcome, latency=SECOND)
        assert len(fills_across_gaps(universe, outcome.journal, orders)) == 0
