import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from backtests.analysis.counterfactuals import (
    mirrored,
    shuffled,
    truncated,
    with_plain_observations,
    without_some_markets,
)
from backtests.analysis.lookahead import LookaheadVerdict, check
from backtests.data.universe import DOLLAR, SECOND, QuoteHistory, Terms
from backtests.strategies import STRATEGIES, DoNothing
from backtests.strategies.base import Signal, Strategy, bt
from backtests.strategies.statements import BadStatement
from backtests.tests.clean_strategies import CLEAN, tape_so_far
from backtests.tests.further_records import with_further_record
from backtests.tests.leaky_strategies import LEAKY, FeesThatAreYetToCome, long_or_short, signal
from backtests.tests.random_tapes import with_candles, with_tape
from backtests.tests.random_universes import STEP, random_universe, watched

WORLD = with_further_record(random_universe(4, rows=150), 4)
SMALL = with_further_record(random_universe(4, markets=3, rows=80), 4)
WATCHED = watched(WORLD, 4)
NOBODY_KNOWS = np.random.default_rng()


def checked(kind, **parameters):
    if issubclass(kind, Signal):
        return check(kind, WORLD, parameters=parameters)
    return check(kind, SMALL, parameters=parameters, rows_shown=8_000)


@pytest.mark.parametrize("kind", LEAKY, ids=lambda kind: kind.__name__)
def test_a_leaky_strategy_is_caught(kind):
    report = checked(kind)

    assert report.verdict == LookaheadVerdict.LOOKS_AHEAD
    assert report.evidence.decided != report.evidence.instead


@pytest.mark.parametrize(
    ("kind", "parameters"), CLEAN, ids=lambda case: getattr(case, "__name__", "")
)
def test_a_clean_strategy_is_not_accused(kind, parameters):
    report = checked(kind, **parameters)

    assert (report.verdict, report.evidence) == (LookaheadVerdict.CLEAN, None)
    assert (report.decisions > 0) == (kind is not DoNothing)


class Hindsight(Signal):
    """Buys at once everywhere, and states what each midpoint will come to."""

    name, version, summary = "hindsight", "1", "Knows it afterwards."

    def targets(self, history):
        return np.full(len(history), 5)

    def probabilities(self, history):
        return np.concatenate(
            [np.full(b - a, np.nan_to_num(history.mid[b - 1])) for a, b in pairwise(history.starts)]
        )


class HindsightInOrders(Strategy):
    name, version, summary = "hindsight-in-orders", "1", "Knows it afterwards, too."

    def next(self):
        bids = self.broker.universe.quotes
        for feed in self.fresh:
            last = bids.bid[bids.market == feed.market][-1]
            self.state_probability(feed, max(0, last) / DOLLAR)
            self.buy(feed, 1)


class HindsightAlone(HindsightInOrders):
    """States what it knows, and trades nothing."""

    name = "hindsight-alone"

    def buy(self, feed, size):
        return None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Hindsight, "at a probability of"),
        (HindsightInOrders, "a probability of"),
        (HindsightAlone, "stated a probability of"),
    ],
)
def test_probabilities_that_know_the_future_are_caught(kind, words):
    report = checked(kind)

    assert report.verdict == LookaheadVerdict.LOOKS_AHEAD
    assert words in report.evidence.decided


def test_probabilities_of_who_trades_nothing_are_compared_and_not_accused():
    class Stating(Strategy):
        def next(self):
            for feed in self.fresh:
                self.state_probability(feed, min(1, max(0, feed.close[0])))

    report = checked(Stating)
    assert (report.verdict, report.evidence) == (LookaheadVerdict.CLEAN, None)
    assert report.decisions > 0


def decided_often(kind):
    """The same strategy, which also decides at observations."""
    return type(kind.__name__, (kind,), {"decide_every": 120.0})


@pytest.mark.parametrize("kind", LEAKY[:6])
def test_a_leak_is_found_in_decisions_by_the_clock_too(kind):
    assert check(decided_often(kind), WATCHED).verdict == LookaheadVerdict.LOOKS_AHEAD


@pytest.mark.parametrize(
    ("kind", "parameters"), [each for each in CLEAN if issubclass(each[0], Signal)][:5]
)
def test_decisions_by_the_clock_are_not_accused(kind, parameters):
    report = check(decided_often(kind), WATCHED, parameters=parameters)

    assert (report.verdict, report.evidence) == (LookaheadVerdict.CLEAN, None)


def test_a_strategy_that_asks_when_a_market_will_be_observed_is_caught():
    class Foreseeing(Strategy):
        def next(self):
            for feed in self.fresh:
                looks = self.broker.universe.observations().of_market(feed.market)
                coming = looks[looks > self.now]
                if len(coming) and coming[0] - self.now < 60 * SECOND:
                    self.buy(data=feed, size=1)

    small = watched(SMALL, 4)
    report = check(Foreseeing, small, rows_shown=8_000)
    assert report.verdict == LookaheadVerdict.LOOKS_AHEAD


def test_another_future_has_other_observations_and_gaps_and_the_same_past():
    at = int(WATCHED.quotes.at[400])
    for other in (mirrored, shuffled):
        universe = other(WATCHED, at, np.random.default_rng(1)).universe
        for market in range(len(WATCHED.listings)):
            mine, theirs = (u.observations().of_market(market) for u in (WATCHED, universe))
            assert np.array_equal(mine[mine <= at], theirs[theirs <= at])
        observed = (u.observations() for u in (WATCHED, universe))
        assert len(set(map(looks_after(at), observed))) == 2
        assert len(universe.gaps.since) < len(WATCHED.gaps.since)


def looks_after(at):
    def count(observed):
        own = (observed.of_market(market) for market in range(observed.markets))
        return sum(int((instants > at).sum()) for instants in own)

    return count


def test_a_record_that_is_cut_off_has_no_later_observations_and_gaps():
    plain = with_plain_observations(WATCHED)
    at = int(WATCHED.quotes.at[400])
    cut = truncated(plain, at)
    for place, market in enumerate(cut.markets.tolist()):
        mine = WATCHED.observations().of_market(market)
        theirs = cut.universe.observations().of_market(place)
        assert np.array_equal(mine[mine <= at], theirs)
    assert cut.universe.gaps.since.max() <= at


def trades_until(tape, at):
    """The trades up to an instant, all columns of them."""
    return [column[tape.at <= at].tolist() for column in tape[:6]]


@pytest.mark.parametrize("another_future", [mirrored, shuffled])
def test_another_future_has_other_trades_and_candlesticks_and_the_same_past(another_future):
    at = int(WATCHED.quotes.at[400])
    world = with_candles(with_tape(WATCHED, 4), 4)
    other = another_future(world, at, np.random.default_rng(1)).universe
    assert trades_until(other.tape, at) == trades_until(world.tape, at)
    end = int(world.tape.at[-1])
    assert trades_until(other.tape, end) != trades_until(world.tape, end)
    ended = world.candles.at <= at
    for name in ("low", "high", "contracts", "ask_low", "bid_high"):
        mine, theirs = (getattr(u.candles, name) for u in (world, other))
        assert np.array_equal(mine[ended], theirs[ended])
        assert name == "contracts" or not np.array_equal(mine, theirs)


def test_a_record_that_is_cut_off_has_no_later_trades_and_candlesticks():
    at = int(WATCHED.quotes.at[400])
    world = with_candles(with_tape(WATCHED, 4), 4)
    cut = truncated(world, at)
    known = world.subset(cut.markets.tolist())
    assert trades_until(cut.universe.tape, at) == trades_until(known.tape, at)
    last = max(cut.universe.tape.at.max(), cut.universe.tape.until.max())
    assert max(last, cut.universe.candles.at.max()) <= at


def test_who_trades_on_the_tape_as_it_comes_is_not_accused():
    assert check(FollowingTrades, with_tape(SMALL, 4), rows_shown=8_000).verdict == "clean"


def test_columns_of_the_tape_are_not_accused():
    report = check(tape_so_far, with_tape(WATCHED, 4))

    assert report.verdict == LookaheadVerdict.CLEAN
    assert report.decisions


def test_who_knows_of_fees_that_are_yet_to_come_is_caught():
    later = Terms(int(SMALL.quotes.at[100]), 7, 100, 0, 1)
    universe = replace(SMALL, terms=[[terms[0], later] for terms in SMALL.terms])

    verdict = check(FeesThatAreYetToCome, universe, rows_shown=8_000).verdict
    assert verdict == LookaheadVerdict.LOOKS_AHEAD


class FollowingTrades(Strategy):
    """Rests a bid below the last price of each trade that it hears of."""

    name, version, summary = "following-trades", "1", "Follows trades."

    def __init__(self):
        self.heard = -1

    def next(self):
        for feed in self.live:
            for trade in self.trades(feed, self.heard)[-1:]:
                price = max(0.01, trade.price - 0.02)
                self.buy(feed, 5, round(price, 2), exectype=bt.Order.Limit)
        self.heard = self.now


def test_there_are_twenty_of_each_and_every_shipped_strategy_among_them():
    assert len(LEAKY) >= 20
    assert len(CLEAN) >= 20
    assert set(STRATEGIES.values()) <= {kind for kind, _ in CLEAN}


def test_the_evidence_names_the_market_the_instant_and_both_decisions():
    @signal
    def buys_before_a_rise(history):
        return np.where(np.roll(history.mid, -1) > history.mid, 5, 0)

    findings = str(checked(buys_before_a_rise).evidence)

    pattern = "wanted (5 YES|none)"
    assert re.match(
        rf"KXW\S+, 2026-.* UTC: it {pattern}, but {pattern} on the record up to", findings
    )


def test_the_same_seed_finds_the_same():
    assert check(LEAKY[0], WORLD, seed=3) == check(LEAKY[0], WORLD, seed=3)


def test_dice_without_a_seed_are_no_look_ahead():
    @signal
    def throws_dice(history):
        return NOBODY_KNOWS.integers(-5, 5, len(history))

    assert checked(throws_dice).verdict == LookaheadVerdict.NOT_DETERMINISTIC


def test_what_a_strategy_remembers_from_other_runs_is_found():
    remembered: dict[tuple[str, int], float] = {}

    @signal
    def remembers(history):
        tickers = [history.listings[place].ticker for place in history.market.tolist()]
        rows = list(zip(tickers, history.at.tolist(), history.mid.tolist(), strict=True))
        ahead = [remembered.get((ticker, at + STEP), np.nan) for ticker, at, _ in rows]
        for ticker, at, mid in rows:
            remembered.setdefault((ticker, at), mid)
        return long_or_short(np.array(ahead) - history.mid)

    assert checked(remembers).verdict != LookaheadVerdict.CLEAN


def test_a_strategy_that_looks_at_its_neighbour_minds_other_markets():
    @signal
    def others_in_the_run(history):
        return np.full(len(history), ord(history.listings[0].ticker[-1]) % 2)

    assert checked(others_in_the_run).verdict == LookaheadVerdict.DEPENDS_ON_OTHERS


def test_a_strategy_that_cannot_do_without_many_rows_is_no_look_ahead():
    @signal
    def needs_many_rows(history):
        if len(history) < 100:
            raise ValueError("too few rows")
        return np.zeros(len(history), dtype=np.int64)

    report = checked(needs_many_rows)

    assert report.verdict == LookaheadVerdict.FAILS
    assert "too few rows" in str(report.evidence)


def test_a_strategy_that_never_works_says_why():
    @signal
    def broken(history):
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        checked(broken)


def test_targets_that_are_no_whole_numbers_are_refused():
    @signal
    def halves(history):
        return np.full(len(history), 0.5)

    with pytest.raises(BadStatement, match=r"0\.5 at row 0"):
        checked(halves)


def test_what_it_would_gain_with_slower_orders_is_told():
    (gain,) = checked(CLEAN[0][0], **CLEAN[0][1]).notes

    assert gain.startswith("It gains $")
    assert gain.endswith("with 60 seconds.")


def test_a_strategy_that_goes_by_names_is_told_of_and_not_accused():
    @signal
    def likes_the_first_of_each_event(history):
        liked = np.array([listing.ticker.endswith("T0") for listing in history.listings])
        return np.where(liked[history.market], 5, 0)

    report = checked(likes_the_first_of_each_event)

    assert report.verdict == LookaheadVerdict.CLEAN
    assert report.notes[0].startswith("It goes by the markets' names.")


def test_a_strategy_that_decides_nothing_is_clean_and_the_report_says_what_that_is_worth():
    assert checked(DoNothing).notes == (
        "It made no decision on this record, so the check could find nothing.",
    )


def test_a_record_that_is_cut_off_has_nothing_from_later():
    at = int(WORLD.quotes.at[5])
    cut = truncated(WORLD, at)

    assert cut.universe.quotes.at.max() == at
    assert cut.universe.quotes.at.base is None
    assert [listing.ticker for listing in cut.universe.listings] == [
        WORLD.listings[place].ticker for place in np.unique(WORLD.quotes.until(at).market)
    ]
    assert len(cut.universe.listings) < len(WORLD.listings)
    assert not any(cut.universe.settlements)
    assert all(t.since <= at for terms in cut.universe.terms for t in terms)


def test_a_record_that_is_cut_off_knows_a_market_s_grids_until_then():
    market = 1
    finer = WORLD.grids[market][1].since
    for at, many in ((finer - 1, 1), (finer, 2), (int(WORLD.quotes.at[-1]), 3)):
        cut = truncated(WORLD, at)
        place = cut.markets.tolist().index(market)
        assert cut.universe.grids[place] == WORLD.grids[market][:many]


@pytest.mark.parametrize("another_future", [mirrored, shuffled])
def test_another_future_has_the_same_past_and_other_prices_and_outcomes(another_future):
    at = int(WORLD.quotes.at[400])
    other = another_future(WORLD, at, np.random.default_rng(1)).universe
    past, theirs = WORLD.quotes.until(at), other.quotes.until(at)

    assert all(
        np.array_equal(getattr(past, name), getattr(theirs, name))
        for name in past.__dataclass_fields__
    )
    assert not np.array_equal(WORLD.quotes.bid[-100:], other.quotes.bid[-100:])
    assert other.settlements != WORLD.settlements
    assert (other.terms, other.grids) == (WORLD.terms, WORLD.grids)
    assert (np.diff(other.quotes.at) >= 0).all()


def test_outcomes_that_were_known_stay_as_they_were():
    known_at = max(end.known_at for end in WORLD.settlements if end)

    for another_future in (mirrored, shuffled):
        other = another_future(WORLD, known_at, np.random.default_rng(1)).universe
        known = [place for place, end in enumerate(WORLD.settlements) if end]
        assert [other.settlements[m] for m in known] == [WORLD.settlements[m] for m in known]


def test_among_others_each_market_keeps_its_rows():
    other = without_some_markets(WORLD, np.random.default_rng(2))
    history, theirs = (QuoteHistory(u.quotes, u.listings) for u in (WORLD, other.universe))

    for place, original in enumerate(other.markets.tolist()):
        rows = slice(*theirs.starts[[place, place + 1]])
        same = slice(*history.starts[[original, original + 1]])
        assert np.array_equal(theirs.quotes.bid[rows], history.quotes.bid[same])
        assert other.universe.listings[place] is WORLD.listings[original]
        assert other.universe.grids[place] is WORLD.grids[original]
