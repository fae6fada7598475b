"""Amending an order at rest: a smaller one keeps its place in the queue, others lose it."""

import pytest

from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.scripted import clocked, lines_of, scripted
from backtests.tests.test_execution import book
from backtests.tests.test_makers import SOLD, taped

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


class TestRefusals:
    def test_an_order_that_was_filled_first_cannot_be_amended(self):
        universe = quiet((10.5, 41, 10, SOLD))
        assert lines_of(amended(universe, size=20))[1:] == [(11, "REFUSED", 1, 20, "GONE")]

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
