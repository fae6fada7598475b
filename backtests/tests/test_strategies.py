from dataclasses import replace

import numpy as np
import pytest

from backtests.data import observations
from backtests.data.universe import (
    MISSING,
    MONEY,
    SECOND,
    Grid,
    Listing,
    QuoteHistory,
    Quotes,
    Terms,
    Universe,
    instant,
)
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import (
    HOLD,
    JOURNAL_COLUMN,
    EntryKind,
    ExecutionModel,
    FillModel,
)
from backtests.strategies import (
    STRATEGIES,
    YARDSTICKS,
    AlwaysFavourite,
    AlwaysNo,
    DoNothing,
    ExclusiveArbitrage,
    FadeLongshots,
    FavouriteHold,
    MeanReversion,
    Momentum,
    RandomEntry,
    UnknownStrategy,
    find,
)
from backtests.strategies.base import Signal
from backtests.strategies.exclusive_arbitrage import Leg, bundle
from backtests.strategies.parameters import BadParameter
from backtests.tests.random_universes import START, random_universe
from markets import fees

HOUR = 3_600 * SECOND
SIGNALS = [kind for kind in STRATEGIES.values() if issubclass(kind, Signal)]
SUMMER = fees.rounding(instant(START + 365 * 24 * HOUR), broker=False)


def books(*rows, close_in=12 * HOUR, **columns):
    """Rows of one market, an hour apart: bid and ask in cents, None for an empty side."""
    n = len(rows)
    at = START + np.arange(n) * HOUR
    ones = np.full(n, 100_000)
    bid, ask = np.array(
        [[MISSING if price is None else price * 100 for price in row] for row in rows]
    ).T
    arguments = {
        "at": at, "market": np.zeros(n, dtype=np.int64), "bid": bid, "ask": ask,
        "bid_size": ones, "ask_size": ones, "last": ones, "volume": ones,
        "close_at": at + close_in, "tradable": np.full(n, True),
    }  # fmt: skip
    return Quotes(**arguments | columns)


def targets(kind, quotes, ticker="M", **parameters):
    """The targets, None for `HOLD`."""
    target_positions = kind(**parameters).targets(
        QuoteHistory(quotes, [Listing(ticker=ticker, event="E")])
    )
    return [None if target == HOLD else target for target in target_positions.tolist()]


def test_every_strategy_is_found_by_its_name():
    assert all(find(name) is kind and kind.name == name for name, kind in STRATEGIES.items())
    assert len(STRATEGIES) == 11
    assert set(YARDSTICKS) < set(STRATEGIES)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(
        UnknownStrategy, match=r"'fade'\. The strategies are: fade-longshots, favourite-hold"
    ):
        find("fade")


@pytest.mark.parametrize("kind", STRATEGIES.values())
def test_a_strategy_says_what_it_does_in_one_sentence_and_what_it_can_be_told(kind):
    assert kind.version
    assert kind.summary.endswith(".")
    assert kind.summary.count(".") == 1
    for name, parameter in kind.schema.items():
        assert parameter.help.endswith(".")
        assert parameter.read(name, parameter.default) == parameter.default


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_parameter_out_of_its_range_is_refused_by_name(kind):
    for name, parameter in kind.schema.items():
        with pytest.raises(BadParameter, match=f"^{name}: Must be at least"):
            kind(**{name: parameter.least - 1})


@pytest.mark.parametrize("kind", [kind for kind in SIGNALS if kind is not DoNothing])
def test_a_signal_trades_in_a_small_world(kind):
    world = random_universe(1)
    history = QuoteHistory(world.quotes, world.listings)
    target_positions = history.to_quote_order(kind().targets(history))

    outcome = kernel.run(
        world, target_positions, ExecutionModel(), FillModel.FEWEST, cash=1_000 * MONEY
    )

    assert (outcome.journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL).any()


@pytest.mark.parametrize("kind", SIGNALS)
def test_nothing_is_wanted_where_a_market_does_not_trade(kind):
    world = random_universe(2)
    quotes = replace(world.quotes, tradable=np.zeros(len(world.quotes), dtype=np.bool_))

    assert (kind().targets(QuoteHistory(quotes, world.listings)) == HOLD).all()


@pytest.mark.parametrize("kind", SIGNALS)
def test_no_quotes_make_no_trouble(kind):
    empty = random_universe(2).quotes.until(0)

    assert len(kind().targets(QuoteHistory(empty, []))) == 0


def test_longshots_are_sold_where_they_are_dearer_than_their_chance():
    cheap_and_dear, too_cheap, no_longshot = (7, 9), (1, 2), (39, 41)
    too_wide, not_dear, one_sided = (7, 17), (2, 7), (7, None)
    quotes = books(cheap_and_dear, too_cheap, no_longshot, too_wide, not_dear, one_sided)

    target_positions = targets(
        FadeLongshots, quotes, ceiling=0.15, floor=0.02, belief=0.5, edge=0.0
    )

    assert target_positions == [-10, None, None, None, None, None]


def test_a_book_just_as_wide_as_allowed_is_not_too_wide():
    narrow = {"belief": 0.5, "edge": 0.0, "widest": 0.05}

    assert 0.2 - 0.15 > 0.05
    assert targets(FadeLongshots, books((15, 20)), ceiling=0.2, **narrow) == [-10]
    assert targets(FavouriteHold, books((80, 85)), threshold=0.8, **narrow) == [10]


def test_a_midpoint_at_the_ceiling_is_a_longshot():
    narrow = {"ceiling": 0.15, "belief": 0.5, "edge": 0.0}
    limits = [(n, 30 - n) for n in range(13, 16)]

    assert targets(FadeLongshots, books(*limits), **narrow) == [-10] * 3


def test_an_edge_just_as_large_as_demanded_is_enough():
    # YES at a midpoint of 11 cents is worth 7.7; at 9, its seller has 1.3 more.
    edge = {"belief": 0.7, "edge": 0.013, "widest": 0.05}

    assert 0.09 - 0.7 * 0.11 < 0.013
    assert targets(FadeLongshots, books((9, 13)), **edge) == [-10]
    assert targets(FavouriteHold, books((9, 13)), **edge) == [-10]


def test_a_close_as_far_away_as_allowed_is_near_enough():
    quotes = books((90, 92), close_in=round(8.2 * HOUR))

    assert 8.2 * 3_600 < 29_520
    assert targets(FavouriteHold, quotes, belief=0.5, hours_most=8.2) == [10]


def test_longshots_are_left_alone_too_early_too_late_and_without_a_schedule():
    quotes = books((7, 9), (7, 9), (7, 9))
    close_at = quotes.at + np.array([30 * HOUR, HOUR, 12 * HOUR])
    unknown = np.full(3, MISSING)

    timely = {"hours_least": 2, "hours_most": 24}
    assert targets(FadeLongshots, replace(quotes, close_at=close_at), **timely) == [None, None, -10]
    assert targets(FadeLongshots, replace(quotes, close_at=unknown), **timely) == [None] * 3


def test_a_longshots_chance_is_stated_as_a_share_of_its_midpoint():
    history = QuoteHistory(books((7, 9), (39, 41)), [Listing(ticker="M", event="E")])

    stated = FadeLongshots(belief=0.5).probabilities(history)

    assert stated[0] == pytest.approx(0.04)
    assert np.isnan(stated[1])


def test_the_favourite_is_bought_on_either_side():
    quotes = books((90, 92), (8, 10), (49, 51), (90, 99), (90, 92), close_in=2 * HOUR)
    far = replace(quotes, close_at=quotes.at + np.array([2, 2, 2, 2, 30]) * HOUR)

    target_positions = targets(
        FavouriteHold, far, belief=0.5, edge=0.01, widest=0.05, hours_most=24
    )

    assert target_positions == [10, -10, None, None, None]


def looked_at_every_minute(price):
    """A market whose quote never changes until its close, 30 hours later."""
    looks = START + np.arange(30 * 60) * 60 * SECOND
    observed = observations.flat(np.zeros(len(looks), np.int64), looks, markets=1)
    quotes, listing = books(price, close_in=30 * HOUR), Listing(ticker="M", event="E")
    terms = [Terms(0, 7, 100, 0, 1)]
    return Universe(quotes, [listing], [None], [terms], [[Grid(0)]], observed)


@pytest.mark.parametrize(
    ("kind", "wish", "parameters"),
    [
        (FavouriteHold, 10, {"belief": 0.5, "hours_most": 24}),
        (FadeLongshots, -10, {"floor": 0.5, "ceiling": 0.5, "belief": 0.1, "hours_most": 24}),
    ],
)
def test_who_waits_for_the_close_to_come_near_decides_on_a_quiet_market_too(kind, wish, parameters):
    price = (90, 92) if kind is FavouriteHold else (49, 51)
    stated = kind(**parameters).stated(looked_at_every_minute(price))
    wished = stated.universe.quotes.at[stated.targets == wish]
    assert wished[0] == START + 6 * HOUR
    outcome = kernel.run_stated(stated, ExecutionModel(), FillModel.FEWEST, cash=1_000 * MONEY)
    kinds = outcome.journal[:, JOURNAL_COLUMN["kind"]].tolist()
    assert kinds == [EntryKind.ORDER, EntryKind.FILL]
    assert set(outcome.journal[:, JOURNAL_COLUMN["row"]].tolist()) == {0}
    assert outcome.journal[1, JOURNAL_COLUMN["at"]] == START + 6 * HOUR + 60 * SECOND


def test_a_random_entry_comes_at_its_moment_on_a_quiet_market_too():
    universe = looked_at_every_minute((40, 42))
    stated = RandomEntry(hours=12, seed=3).stated(universe)
    assert (stated.targets == HOLD).any()
    assert (stated.targets != HOLD).any()


def test_a_favourite_that_costs_its_chance_is_left_alone():
    assert targets(FavouriteHold, books((90, 92)), belief=1.0, edge=0.0) == [None]


def test_a_favourite_is_not_bought_after_its_close_was_due():
    assert targets(FavouriteHold, books((90, 92), close_in=0), belief=0.5) == [10]
    assert targets(FavouriteHold, books((90, 92), close_in=-HOUR), belief=0.5) == [None]


def test_a_favourites_chance_is_what_the_other_side_leaves():
    history = QuoteHistory(books((90, 92), (8, 10), (49, 51)), [Listing(ticker="M", event="E")])

    stated = FavouriteHold(belief=0.5).probabilities(history)

    assert stated[:2] == pytest.approx([0.955, 0.045])
    assert np.isnan(stated[2])


def test_reversion_sells_what_has_risen_and_leaves_when_it_is_back():
    prices = [50, 51, 49, 50, 50, 60, 52, 50]
    quotes = books(*[(price - 1, price + 1) for price in prices])

    target_positions = targets(MeanReversion, quotes, window=5, enter=1.5, leave=0.5)

    assert target_positions[5] == -10
    assert target_positions[6] == 0
    assert targets(MeanReversion, quotes, window=5, enter=1.5, widest=0.01)[5] is None


def test_momentum_goes_with_a_rise_and_leaves_when_it_fades():
    prices = [50, 50, 50, 50, 60, 62, 62, 62, 62]
    quotes = books(*[(price - 1, price + 1) for price in prices])

    target_positions = targets(Momentum, quotes, fast=1, slow=4, threshold=0.03)

    assert target_positions[:4] == [None, None, None, 0]
    assert target_positions[4:6] == [10, 10]
    assert target_positions[-1] == 0


def test_momentum_goes_with_a_fall():
    prices = [50, 50, 50, 50, 40]
    quotes = books(*[(price - 1, price + 1) for price in prices])

    assert targets(Momentum, quotes, fast=1, slow=4, threshold=0.03)[-1] == -10


def test_means_just_as_far_apart_as_demanded_are_not_too_far():
    quotes = books(*[(price - 1, price + 1) for price in (50, 50, 50, 54)])

    assert 0.54 - 0.52 > 0.02
    assert targets(Momentum, quotes, fast=1, slow=2, threshold=0.02)[-1] is None


def test_means_just_half_as_far_apart_are_near_enough_to_leave():
    quotes = books(*[(price - 1, price + 1) for price in (50, 50, 50, 52)])

    assert 0.52 - 0.51 > 0.01
    assert targets(Momentum, quotes, fast=1, slow=2, threshold=0.02)[-1] == 0


def test_reversion_and_momentum_enter_where_the_book_is_just_narrow_enough():
    flat, risen = [(45, 50)] * 4, [(55, 60)]
    fallen = books(*flat, (35, 40), (15, 20))

    assert targets(Momentum, books(*flat, *risen), fast=1, slow=4, widest=0.05)[-1] == 10
    assert targets(MeanReversion, fallen, window=5, enter=1.0, widest=0.05)[-1] == 10


def test_no_is_bought_wherever_there_are_two_sides():
    assert targets(AlwaysNo, books((7, None), (7, 9), (90, 92))) == [None, -10, -10]


def test_the_first_favourite_is_kept():
    quotes = books((90, None), (60, 62), (30, 32))

    assert targets(AlwaysFavourite, quotes) == [None, 10, 10]
    assert targets(AlwaysFavourite, books((30, 32), (60, 62))) == [-10, -10]


def test_nothing_is_done():
    assert targets(DoNothing, books((7, 9), (90, 92))) == [None, None]


def test_a_random_entry_hangs_on_ticker_and_seed_and_on_no_price():
    one, other = books(*[(7, 9)] * 30), books(*[(60, 63)] * 30)
    drawn = {ticker: targets(RandomEntry, one, ticker=ticker) for ticker in "ABCDEFGHIJ"}

    assert targets(RandomEntry, other, ticker="A") == drawn["A"]
    assert targets(RandomEntry, one, ticker="A", seed=2) != drawn["A"]
    assert {target_positions[-1] for target_positions in drawn.values()} == {-10, 10}
    assert len({target_positions.count(None) for target_positions in drawn.values()}) > 4


def test_a_random_entry_comes_before_the_close_that_was_scheduled_first():
    quotes = books(*[(7, 9)] * 30, close_in=3 * HOUR)

    for ticker in "ABCDEFGHIJ":
        assert None not in targets(RandomEntry, quotes, ticker=ticker, hours=1_000)[4:]


# At 7 % of P x (1 - P), 10 contracts of each leg: fees of $0.168 at 40c and $0.147 at 30c.
LEGS = [Leg(4_000, 10, 7, 100), Leg(4_000, 10, 7, 100), Leg(3_000, 10, 7, 100)]


def test_a_bundle_is_sold_where_its_bids_exceed_a_dollar_and_the_fees():
    # Bids of $1.10 gain $1.00 for ten, and $0.483 of fees leave $0.0517 each.
    assert bundle(LEGS, SUMMER, edge=517, locked=1_000 * MONEY) == 10
    assert bundle(LEGS, SUMMER, edge=518, locked=1_000 * MONEY) == 0
    assert bundle(LEGS[:2], SUMMER, edge=-10_000, locked=1_000 * MONEY) == 10
    assert bundle(LEGS[:2], SUMMER, edge=0, locked=1_000 * MONEY) == 0


def test_a_bundle_is_no_larger_than_its_smallest_leg_and_what_may_be_locked():
    small = [*LEGS[:2], LEGS[2]._replace(contracts=4)]

    assert bundle(small, SUMMER, edge=0, locked=1_000 * MONEY) == 4
    # A bundle of NO costs 60c + 60c + 70c.
    assert bundle(LEGS, SUMMER, edge=0, locked=7 * 1_900_000) == 7
    assert bundle(LEGS, SUMMER, edge=0, locked=1_800_000) == 0


def test_one_leg_is_no_bundle():
    assert bundle([Leg(9_900, 10, 0, 1)], SUMMER, edge=-10_000, locked=1_000 * MONEY) == 0
    assert bundle([], SUMMER, edge=0, locked=MONEY) == 0


def test_dearer_fees_end_a_bundle():
    dear = [leg._replace(numerator=14) for leg in LEGS]

    assert bundle(dear, SUMMER, edge=517, locked=1_000 * MONEY) == 0


def an_event(*bids, exclusive=True, **columns):
    """The legs of one event with bids in cents, quoted three times, ten minutes apart."""
    n = len(bids)
    at = START + np.repeat(np.arange(3), n) * 600 * SECOND
    market = np.tile(np.arange(n), 3)
    bid = np.array(bids)[market] * 100
    sizes = np.full(3 * n, 2_000)
    quotes = Quotes(
        at=at, market=market, bid=bid, ask=bid + 200, bid_size=sizes, ask_size=sizes,
        last=bid, volume=sizes, close_at=at + 24 * HOUR, tradable=np.full(3 * n, True),
    )  # fmt: skip
    return Universe(
        quotes=replace(quotes, **columns),
        listings=[
            Listing(ticker=f"M{m}", event="E", mutually_exclusive=exclusive) for m in range(n)
        ],
        settlements=[None] * n,
        terms=[[Terms(0, 7, 100, 0, 1)]] * n,
        grids=[[Grid(0)]] * n,
    )


def arbitrage(universe, *, latency_seconds=1, **parameters):
    run = cerebro.run(
        universe, ExclusiveArbitrage, ExecutionModel(latency_seconds=latency_seconds),
        FillModel.FEWEST, cash=1_000 * MONEY, parameters=parameters,
    )  # fmt: skip
    return run.outcome


def test_no_of_every_leg_is_bought_once():
    outcome = arbitrage(an_event(40, 40, 30))

    assert outcome.positions == {0: -1_000, 1: -1_000, 2: -1_000}
    kinds = outcome.journal[:, JOURNAL_COLUMN["kind"]].tolist()
    assert kinds == [EntryKind.ORDER] * 3 + [EntryKind.FILL] * 3


def test_no_bundle_is_ordered_while_one_is_on_its_way():
    kinds = arbitrage(an_event(40, 40, 30), latency_seconds=601).journal[:, JOURNAL_COLUMN["kind"]]

    assert kinds.tolist() == [EntryKind.ORDER] * 3 + [EntryKind.FILL] * 3


def test_a_bundle_gains_whichever_leg_wins():
    universe = an_event(40, 40, 30)
    paid = [arbitrage(universe).cash + 10 * MONEY * (3 - winners) for winners in (0, 1)]

    assert min(paid) > 1_000 * MONEY


@pytest.mark.parametrize(
    "universe",
    [
        an_event(40, 40, 30, exclusive=False),
        an_event(33, 33, 33),
        an_event(99),
        an_event(40, 40, 30, bid_size=np.full(9, MISSING)),
        an_event(40, 40, 30, close_at=np.full(9, MISSING)),
    ],
    ids=["not exclusive", "too cheap", "alone", "unknown sizes", "unknown close"],
)
def test_what_is_not_sure_to_gain_is_not_bought(universe):
    assert not len(arbitrage(universe).journal)


def test_a_leg_counts_as_long_as_its_book_is_young_enough():
    event = an_event(40, 40, 30)
    first, third_leg = event.quotes.at == START, event.quotes.market == 2
    bid = np.where(first & ~third_leg, 2_000, event.quotes.bid)
    quotes = replace(event.quotes, bid=bid).select(first | ~third_leg)
    late = replace(event, quotes=quotes)

    assert not len(arbitrage(late, seconds=599).journal)
    assert len(arbitrage(late, seconds=600).journal)


@pytest.mark.parametrize("apart", [1, 7 * SECOND, 20 * SECOND])
def test_legs_need_not_tick_at_the_same_instant(apart):
    event = an_event(40, 40, 30)
    apart_at = event.quotes.at + event.quotes.market * apart

    outcome = arbitrage(replace(event, quotes=replace(event.quotes, at=apart_at)))

    assert outcome.positions == {0: -1_000, 1: -1_000, 2: -1_000}


def test_legs_that_hardly_anybody_bids_for_are_left_out():
    outcome = arbitrage(an_event(60, 55, 1), least_bid=0.02)

    assert outcome.positions == {0: -1_000, 1: -1_000}


def test_money_is_locked_up_no_longer_than_wished():
    assert not len(arbitrage(an_event(40, 40, 30), hours_most=23).journal)
    assert len(arbitrage(an_event(40, 40, 30), hours_most=24).journal)
