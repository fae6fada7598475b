"""The worked examples of docs/strategies.md: a market maker and an event ladder."""

from dataclasses import replace

import numpy as np
import pytest

from backtests.data.gaps import MarketGaps
from backtests.data.tape import tape_of
from backtests.data.universe import MISSING, MONEY, SECOND, Listing
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import EventLadder, MarketMaker
from backtests.tests.scripted import lines_of
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import FREE, NOW, USUAL, book, universe_of
from backtests.tests.test_further_columns import second

HOUR = 3_600


def ran(strategy, universe, **parameters):
    return cerebro.run(
        universe, strategy, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY,
        parameters=parameters,
    )  # fmt: skip


def sent(finished):
    """Second, market, contracts (negative for sold ones) and cents of each order."""
    journal = finished.outcome.journal.tolist()
    return [
        ((at - NOW) / SECOND, market, side * count / 100, price / 100)
        for at, kind, market, _, side, count, price, *_ in journal
        if kind == 0
    ]


def quoted(*prices, terms=FREE, close=9 * HOUR, trades=(), seconds=5):
    """A market of these bids and asks, observed every five seconds, with a tape."""
    rows = [
        book(bid, ask, at=seconds * n, close_at=second(close))
        for n, (bid, ask) in enumerate(prices)
    ]
    end = seconds * len(prices)
    universe = observed_at(universe_of(*rows, terms=terms), range(0, end, 5), [])
    return replace(universe, tape=tape_of(trades, [[(second(0), second(end))]]))


def made(universe, **parameters):
    return ran(MarketMaker, universe, **{"observed": 0, **parameters})


class TestTheMarketMaker:
    def test_it_rests_a_bid_and_an_ask_around_the_midpoint(self):
        finished = made(quoted(*[(40, 50)] * 4))
        assert sent(finished) == [(0, 0, 10, 43), (0, 0, -10, 47)]
        assert not finished.outcome.positions

    def test_the_maker_fee_comes_on_top_of_the_margin(self):
        # $0.0175 x 10 x 0.45 x 0.55 are 0.44 cents for each contract.
        finished = made(quoted(*[(40, 50)] * 4, terms=USUAL))
        assert sent(finished) == [(0, 0, 10, 42), (0, 0, -10, 48)]

    def test_it_earns_the_spread_where_takers_come_from_both_sides(self):
        trades = [
            (second(12), 0, 4_300, 1_000, -1, second(12)),
            (second(17), 0, 4_700, 1_000, 1, second(17)),
        ]
        finished = made(quoted(*[(40, 50)] * 8, trades=trades), lean=0)
        assert [each for each in lines_of(finished) if each[1] == "FILL"] == [
            (12, "FILL", 0, 10, "NONE"),
            (17, "FILL", 1, -10, "NONE"),
        ]
        assert finished.outcome.cash == 1_000 * MONEY + 10 * 40_000

    def test_it_leans_against_what_it_holds_and_moves_its_order(self):
        trades = [(second(12), 0, 4_300, 1_000, -1, second(12))]
        finished = made(quoted(*[(40, 50)] * 6, trades=trades))
        assert sent(finished)[2:] == [(15, 0, 10, 42), (15, 0, -10, 46)]

    def test_it_follows_the_midpoint(self):
        finished = made(quoted((40, 50), (40, 50), (44, 54), (44, 54)))
        assert sent(finished)[2:] == [(10, 0, 10, 47), (10, 0, -10, 51)]

    def test_a_side_that_would_make_too_large_a_position_is_taken_back(self):
        trades = [(second(12), 0, 4_300, 1_000, -1, second(12))]
        finished = made(quoted(*[(40, 50)] * 6, trades=trades), held=15)
        assert sent(finished)[2:] == [(15, 0, -10, 46)]

    @pytest.mark.parametrize(
        "universe",
        [
            quoted(*[(44, 47)] * 4),
            quoted(*[(40, None)] * 4),
            quoted(*[(40, 50)] * 4, close=HOUR // 2),
        ],
        ids=["narrow", "one-sided", "near its close"],
    )
    def test_where_there_is_nothing_to_earn_or_too_much_to_lose_it_does_not_quote(self, universe):
        assert not sent(made(universe))

    def test_it_takes_its_orders_back_where_the_market_gets_narrow(self):
        finished = made(quoted((40, 50), (40, 50), (44, 46), (44, 46)))
        assert [each[1:] for each in lines_of(finished)] == [
            ("CANCELLED", 0, 10, "ASKED"),
            ("CANCELLED", 1, -10, "ASKED"),
        ]

    def test_it_takes_its_orders_back_before_the_close(self):
        finished = made(quoted(*[(40, 50)] * 30, close=HOUR + 100))
        assert [each[:2] for each in lines_of(finished)] == [(106, "CANCELLED")] * 2

    def test_it_takes_its_orders_back_where_nobody_looks_any_more(self):
        other = [book(10, 11, at=at, market=1) for at in range(0, 200, 5)]
        rows = [book(40, 50, at=at, close_at=second(9 * HOUR)) for at in range(0, 30, 5)]
        every = sorted([*rows, *other], key=lambda row: (row["at"], row["market"]))
        gap = np.array([second(40)]), np.array([second(500)]), np.zeros(1, np.int64)
        universe = replace(
            universe_of(*every, markets=2), gaps=MarketGaps(np.array([0, 1, 1]), *gap)
        )
        finished = made(universe)
        assert [each[:2] for each in lines_of(finished)] == [(61, "CANCELLED")] * 2

    def test_what_was_hardly_observed_is_not_quoted(self):
        assert not sent(made(quoted(*[(40, 50)] * 4), observed=0.5))

    def test_a_price_that_there_is_not_is_not_quoted(self):
        assert sent(made(quoted(*[(0, 4)] * 3, terms=FREE))) == [(0, 0, -10, 4)]


def ladder_of(*prices, types=("greater",) * 9, strikes=range(10, 99, 10), apart=0, **columns):
    """Markets of one event: their bids and asks in cents, twice, ten seconds apart."""
    rows = [
        book(bid, ask, at=10 * n + apart * market, market=market, **columns)
        for n in range(2)
        for market, (bid, ask) in enumerate(prices)
    ]
    universe = universe_of(*rows, terms=USUAL, markets=len(prices))
    listings = [
        Listing(
            ticker=f"T{n}",
            event="E",
            strike_type=kind,
            floor_strike=strike if kind.startswith("greater") else None,
            cap_strike=strike if kind.startswith("less") else None,
        )
        for n, (kind, strike, _) in enumerate(zip(types, strikes, prices, strict=False))
    ]
    return replace(universe, listings=listings)


class TestTheEventLadder:
    def test_it_buys_the_wider_and_sells_the_narrower_where_that_is_sure_to_gain(self):
        finished = ran(EventLadder, ladder_of((40, 42), (50, 52), (20, 22)))
        assert sent(finished) == [(0, 0, 10, 42), (0, 1, -10, 50)]
        assert finished.outcome.positions == {0: 1_000, 1: -1_000}

    @pytest.mark.parametrize("value", [(0, 0), (1, 0), (1, 1)])
    def test_the_pair_gains_whatever_happens(self, value):
        finished = ran(EventLadder, ladder_of((40, 42), (50, 52)))
        paid = sum(
            10 * (worth if held > 0 else 1 - worth) * MONEY
            for held, worth in zip(finished.outcome.positions.values(), value, strict=True)
        )
        assert finished.outcome.cash + paid > 1_000 * MONEY

    @pytest.mark.parametrize(("side", "market"), [("ask_size", 0), ("bid_size", 1)])
    def test_neither_leg_is_sent_where_the_size_of_one_is_unknown(self, side, market):
        universe = ladder_of((40, 42), (50, 52))
        quotes = universe.quotes
        sizes = np.where(quotes.market == market, MISSING, getattr(quotes, side))
        unsure = replace(universe, quotes=replace(quotes, **{side: sizes}))
        assert not sent(ran(EventLadder, unsure))

    def test_of_markets_below_a_cap_the_higher_is_the_wider(self):
        crossed = ladder_of((50, 52), (40, 42), types=("less_or_equal",) * 2)
        assert sent(ran(EventLadder, crossed)) == [(0, 1, 10, 42), (0, 0, -10, 50)]
        assert not sent(ran(EventLadder, ladder_of((40, 42), (50, 52), types=("less",) * 2)))

    @pytest.mark.parametrize(
        "universe",
        [
            ladder_of((40, 42), (43, 52)),
            ladder_of((40, 42), (50, 52), strikes=(10, 10)),
            ladder_of((40, 42), (50, 52), types=("between",) * 2),
            ladder_of((40, 42), (50, 52), types=("greater", "less")),
            ladder_of((40, 42), (50, 52), strikes=(None, 10)),
            ladder_of((40, 42), (50, 52), size=None),
            ladder_of((40, None), (None, 52)),
        ],
        ids=["fees", "one strike", "between", "both kinds", "no strike", "no size", "one-sided"],
    )
    def test_what_is_not_sure_to_gain_is_not_bought(self, universe):
        assert not sent(ran(EventLadder, universe))

    def test_it_takes_the_cheapest_of_the_wider_and_the_pair_that_gains_most(self):
        finished = ran(EventLadder, ladder_of((50, 52), (40, 42), (48, 55), (55, 60), (45, 50)))
        assert sent(finished)[:2] == [(0, 1, 10, 42), (0, 3, -10, 55)]

    def test_legs_need_not_tick_at_the_same_instant_but_must_have_been_observed_lately(self):
        apart = ladder_of((40, 42), (50, 52), apart=4)
        assert sent(ran(EventLadder, apart, seconds=4))[:2] == [(4, 0, 10, 42), (4, 1, -10, 50)]
        assert not sent(ran(EventLadder, apart, seconds=3))

    def test_a_pair_is_as_large_as_its_smaller_leg_and_not_bought_twice(self):
        assert [each[2] for each in sent(ran(EventLadder, ladder_of((40, 42), (50, 52), size=7)))
                ] == [7, -7, 3, -3]  # fmt: skip
