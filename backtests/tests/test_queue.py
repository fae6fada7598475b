"""The rules of resting orders: a queue that a tape eats, and bounds where there is no tape."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import SECOND
from backtests.rules.execution import FillModel
from backtests.rules.queue import (
    ENDLESS,
    LONGEST_QUEUE,
    is_evidence,
    level_after_trade,
    meet_trade,
    queue_after_book,
    queue_when_joining,
    shown_at,
)

FEWEST, EXPECTED, MOST = FillModel
SIDES = st.sampled_from([1, -1])
COUNTS = st.integers(0, 5_000)
BID = 4_200


class TestTrades:
    def meet(self, price, count, *, taker, ahead=100, left=10, fills=EXPECTED):
        return meet_trade(fills, 1, left, BID, ahead, price, count, taker)

    @pytest.mark.parametrize(
        ("count", "filled", "ahead"), [(40, 0, 60), (100, 0, 0), (104, 4, 0), (500, 10, 0)]
    )
    def test_a_seller_at_our_price_eats_the_queue_and_then_us(self, count, filled, ahead):
        assert self.meet(4_200, count, taker=-1) == (filled, ahead)

    @pytest.mark.parametrize("taker", [1, 0])
    def test_a_buyer_at_our_price_took_an_offer_and_met_no_bid_and_so_may_somebody_unknown(
        self, taker
    ):
        assert self.meet(4_200, 500, taker=taker) == (0, 100)

    def test_somebody_unknown_at_our_price_counts_for_most_fills_only(self):
        met = [self.meet(4_200, 104, taker=0, fills=fills) for fills in FillModel]
        assert met == [(0, 100), (0, 100), (4, 0)]

    @pytest.mark.parametrize("taker", [1, -1])
    @pytest.mark.parametrize(("count", "filled"), [(3, 3), (500, 10)])
    def test_a_trade_below_our_bid_fills_it_as_far_as_it_goes(self, taker, count, filled):
        assert self.meet(4_100, count, taker=taker) == (filled, 0)

    @pytest.mark.parametrize("taker", [1, -1])
    def test_a_trade_above_our_bid_says_nothing(self, taker):
        assert self.meet(4_300, 500, taker=taker) == (0, 100)

    def test_an_unknown_queue_is_eaten_by_no_trade_and_passed_by_one_beyond_our_price(self):
        assert self.meet(4_200, 10**9, taker=-1, ahead=ENDLESS) == (0, ENDLESS)
        assert self.meet(4_100, 3, taker=-1, ahead=ENDLESS) == (3, 0)

    @given(left=COUNTS, ahead=COUNTS, distance=st.integers(-2, 2), count=COUNTS, taker=SIDES)
    def test_an_ask_is_a_bid_seen_from_the_other_side(self, left, ahead, distance, count, taker):
        bid = meet_trade(EXPECTED, 1, left, 5_000, ahead, 5_000 + distance, count, taker)
        ask = meet_trade(EXPECTED, -1, left, 5_000, ahead, 5_000 - distance, count, -taker)
        assert bid == ask


class TestClocks:
    def counts(self, fills, seconds, *, arrived=0, met=0):
        instants = (round(each * SECOND) for each in (seconds, arrived, met, 1))
        return is_evidence(fills, *instants)

    @pytest.mark.parametrize("seconds", [-1, -0.5, 0, 0.5, 1])
    def test_near_the_arrival_trades_count_for_most_fills_only(self, seconds):
        assert [self.counts(fills, seconds) for fills in FillModel] == [False, False, True]

    @pytest.mark.parametrize(("seconds", "counts"), [(-1.1, False), (1.1, True)])
    def test_farther_off_all_agree(self, seconds, counts):
        assert [self.counts(fills, seconds) for fills in FillModel] == [counts] * 3

    def test_those_before_the_book_that_it_met_count_for_most_fills_only(self):
        assert [self.counts(fills, 3, met=4) for fills in FillModel] == [False, False, True]
        assert [self.counts(fills, 4, met=4) for fills in FillModel] == [False, False, True]
        assert [self.counts(fills, 4.1, met=4) for fills in FillModel] == [True] * 3


class TestJoining:
    @pytest.mark.parametrize(
        ("best", "size", "shown"),
        [
            (4_200, 70, 70),
            (4_100, 70, 0),  # we are the best
            (-1, -1, 0),
            (4_300, 70, -1),  # behind the best, where nothing is shown
            (4_200, -1, -1),
            (4_200, LONGEST_QUEUE + 1, -1),
        ],
    )
    def test_a_book_shows_the_queue_at_its_best_price_alone(self, best, size, shown):
        assert shown_at(1, BID, best, size) == shown

    def test_asks_go_the_other_way(self):
        assert shown_at(-1, BID, 4_300, 70) == 0
        assert shown_at(-1, BID, 4_100, 70) == -1

    @pytest.mark.parametrize(
        ("assumed", "queues"), [(-1, [ENDLESS, ENDLESS, 0]), (500, [500, 500, 0])]
    )
    def test_an_unknown_queue_is_assumed_or_endless_and_for_most_fills_empty(self, assumed, queues):
        assert [queue_when_joining(fills, -1, assumed) for fills in FillModel] == queues

    def test_a_known_queue_is_what_is_shown(self):
        assert [queue_when_joining(fills, 70, 500) for fills in FillModel] == [70] * 3


class TestBooks:
    def test_the_queue_is_at_most_what_is_shown(self):
        assert queue_after_book(FEWEST, 80, 100, 30) == 30

    def test_what_was_cancelled_stood_behind_us_in_proportion_or_before_us(self):
        # 80 of 100 are before us, and 50 go without a trade.
        queues = [queue_after_book(fills, 80, 100, 50) for fills in FillModel]
        assert queues == [50, 40, 30]

    def test_others_who_join_stand_behind_us(self):
        assert [queue_after_book(fills, 80, 100, 900) for fills in FillModel] == [80] * 3

    def test_an_unknown_queue_is_known_once_it_is_shown(self):
        assert [queue_after_book(fills, ENDLESS, ENDLESS, 30) for fills in (FEWEST, EXPECTED)] == [
            30,
            30,
        ]

    def test_behind_the_best_price_nothing_is_learned(self):
        assert [queue_after_book(fills, 80, 100, -1) for fills in FillModel] == [80] * 3


class OrderInQueue:
    """An order at a price, as a fill model follows it."""

    def __init__(self, fills, *, left, shown, assumed=-1):
        self.fills, self.left, self.filled = fills, left, 0
        self.ahead = queue_when_joining(fills, shown, assumed)
        self.level = shown if shown >= 0 else ENDLESS

    def trade(self, price, count, taker):
        fills, left = self.fills, self.left
        filled, self.ahead = meet_trade(fills, 1, left, BID, self.ahead, price, count, taker)
        self.level = level_after_trade(fills, 1, BID, self.level, price, count, taker)
        self.left -= filled
        self.filled += filled

    def book(self, shown):
        self.ahead = queue_after_book(self.fills, self.ahead, self.level, shown)
        self.level = shown if shown >= 0 else self.level


TAKERS = st.sampled_from([1, -1, 0])
TRADES = st.tuples(st.sampled_from([4_100, 4_200, 4_300]), COUNTS, TAKERS)
BOOKS = st.tuples(st.just("book"), st.integers(-1, 5_000))


@given(
    left=st.integers(1, 5_000),
    shown=st.integers(-1, 5_000),
    assumed=st.integers(-1, 5_000),
    events=st.lists(TRADES | BOOKS, max_size=12),
    doubtful=st.integers(0, 4),
)
def test_fewest_fills_at_most_expected_and_expected_at_most_most(
    left, shown, assumed, events, doubtful
):
    """Also where the first trades are so close to the arrival that they count for most only."""
    orders = [OrderInQueue(f, left=left, shown=shown, assumed=assumed) for f in FillModel]
    for number, event in enumerate(events):
        for order in orders:
            if event[0] == "book":
                order.book(event[1])
            elif number >= doubtful or order.fills == MOST:
                order.trade(*event)
        fewest, expected, most = orders
        assert fewest.filled <= expected.filled <= most.filled
        assert fewest.ahead >= expected.ahead >= most.ahead


class TrueLevel:
    """One price of a true book, where our order would have waited for `left` contracts."""

    def __init__(self, before, left):
        self.before, self.behind, self.left, self.filled = before, 0, left, 0

    @property
    def shown(self):
        return self.before + self.behind

    def trade(self, count):
        eaten = min(self.before, count)
        filled = min(self.left, count - eaten)
        self.before -= eaten
        self.behind -= count - eaten
        self.left -= filled
        self.filled += filled

    def cancel(self, before, behind):
        self.before -= min(before, self.before)
        self.behind -= min(behind, self.behind)

    def join(self, count):
        self.behind += count


@given(
    before=COUNTS,
    left=st.integers(1, 3_000),
    turns=st.lists(st.tuples(COUNTS, COUNTS | st.tuples(COUNTS, COUNTS)), max_size=10),
)
def test_the_true_fills_of_a_queue_lie_between_fewest_and_most(before, left, turns):
    """As long as nobody cancels before a trade or a join that no book was seen between."""
    truth = TrueLevel(before, left)
    fewest, _, most = orders = [OrderInQueue(f, left=left, shown=before) for f in FillModel]
    for wanted, change in turns:
        traded = min(wanted, truth.shown)
        truth.trade(traded)
        for order in orders:
            order.trade(BID, traded, -1)
        if isinstance(change, tuple):
            truth.cancel(*change)
        else:
            truth.join(change)
        for order in orders:
            order.book(truth.shown)
        assert fewest.filled <= truth.filled <= most.filled
        assert fewest.ahead >= truth.before >= most.ahead


@given(
    queue=COUNTS,
    lefts=st.lists(st.integers(1, 500), min_size=1, max_size=4),
    trades=st.lists(TRADES, max_size=8),
)
def test_orders_that_share_a_trade_fill_no_more_than_traded(queue, lefts, trades):
    orders = [OrderInQueue(EXPECTED, left=left, shown=queue) for left in lefts]
    for price, count, taker in trades:
        rest = count
        for order in orders:
            before = order.filled
            order.trade(price, rest, taker)
            rest -= order.filled - before
        assert rest >= 0
    for first, later in pairwise(orders):
        assert not (later.filled and first.left)
