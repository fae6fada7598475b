"""Evidence without a tape: bounds from volume, last price, candlesticks and books."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.rules.execution import FillModel
from backtests.rules.queue import ENDLESS
from backtests.rules.untaped import (
    fresh_offers,
    least_or_most_offered,
    meet_evidence,
    offer_evidence,
    volume_evidence,
)

BID = 4_200
PRICES = st.integers(4_197, 4_203)
UNKNOWN = -1


def filled(volume, last, *, left=10**9, ahead=0, low=UNKNOWN, high=UNKNOWN, limit=BID):
    """The contracts of a bid that each fill model fills, in 1/100."""
    return [
        meet_evidence(left, ahead, *volume_evidence(fills, 1, limit, volume, last, low, high))[0]
        for fills in FillModel
    ]


class TestVolume:
    def test_of_a_volume_whose_last_trade_was_below_our_bid_only_that_trade_is_sure(self):
        assert filled(100_100, 4_100) == [1, 100_100, 100_100]

    def test_of_a_volume_whose_last_trade_was_above_it_all_but_that_trade_may_have_met_us(self):
        assert filled(100_100, 4_500) == [0, 0, 100_099]

    def test_at_our_price_the_expected_fill_is_what_the_queue_leaves_of_the_volume(self):
        assert filled(100_100, 4_200, ahead=60_000) == [0, 40_100, 100_100]

    def test_without_a_last_price_anything_may_have_happened(self):
        assert filled(100_100, UNKNOWN) == [0, 0, 100_100]

    def test_no_volume_is_no_evidence(self):
        assert filled(0, 4_100) == [0, 0, 0]

    def test_no_order_fills_more_than_its_rest(self):
        assert filled(100_100, 4_100, left=30) == [1, 30, 30]


class TestCandlesticks:
    @pytest.mark.parametrize(
        ("low", "high", "last", "fewest_to_most"),
        [
            (4_100, 4_150, 4_150, [500, 500, 500]),  # all of it below our bid
            (4_100, 4_500, 4_500, [1, 1, 499]),  # some of it
            (4_200, 4_500, 4_500, [0, 0, 499]),  # it came to our price
            (4_300, 4_500, 4_400, [0, 0, 0]),  # none of it
        ],
    )
    def test_the_range_of_a_candlestick_bounds_what_traded_where(
        self, low, high, last, fewest_to_most
    ):
        assert filled(500, last, low=low, high=high) == fewest_to_most


class TestOffers:
    @pytest.mark.parametrize(
        ("best", "fewest_to_most"),
        [(4_100, [30, 30, 30]), (4_200, [0, 30, 30]), (4_300, [0, 0, 0]), (UNKNOWN, [0, 0, 0])],
    )
    def test_an_offer_below_our_bid_fills_it_and_one_at_its_price_in_all_but_the_fewest(
        self, best, fewest_to_most
    ):
        met = [
            meet_evidence(50, 20, *offer_evidence(fills, 1, BID, best, 30))[0]
            for fills in FillModel
        ]
        assert met == fewest_to_most

    def test_only_new_offers_count(self):
        assert fresh_offers(4_100, 30, 4_100, 30) == 0
        assert fresh_offers(4_100, 30, 4_100, 45) == 15
        assert fresh_offers(4_100, 30, 4_100, 20) == 0
        assert fresh_offers(4_100, 30, 4_000, 20) == 20
        assert fresh_offers(4_100, 30, UNKNOWN, 0) == 0

    @pytest.mark.parametrize(
        ("best", "fewest_to_most"),
        [(4_100, [1, 1, 50]), (4_200, [0, 1, 50]), (4_300, [0, 0, 0]), (UNKNOWN, [0, 0, 0])],
    )
    def test_of_an_offer_of_unknown_size_one_unit_is_sure_and_any_number_possible(
        self, best, fewest_to_most
    ):
        met = [
            meet_evidence(
                50, 20, *offer_evidence(fills, 1, BID, best, least_or_most_offered(fills))
            )[0]
            for fills in FillModel
        ]
        assert met == fewest_to_most


def test_an_unknown_queue_stays_unknown_until_something_traded_beyond_it():
    assert meet_evidence(10, ENDLESS, 500, 0) == (0, ENDLESS)
    assert meet_evidence(10, ENDLESS, 500, 3) == (3, 0)


RANGES = st.just((UNKNOWN, UNKNOWN)) | st.tuples(PRICES, PRICES).map(
    lambda pair: tuple(sorted(pair))
)


@given(
    side=st.sampled_from([1, -1]),
    left=st.integers(1, 500),
    ahead=st.integers(0, 500),
    looks=st.lists(
        st.tuples(
            st.integers(0, 500), PRICES | st.just(UNKNOWN), RANGES, PRICES, st.integers(0, 90)
        ),
        max_size=8,
    ),
)
def test_fewest_fills_at_most_expected_and_expected_at_most_most(side, left, ahead, looks):
    rests = {fills: [left, ahead] for fills in FillModel}
    for volume, last, (low, high), best, fresh in looks:
        for fills, rest in rests.items():
            traded = volume_evidence(fills, side, BID, volume, last, low, high)
            offered = offer_evidence(fills, side, BID, best, fresh)
            at, beyond = map(max, traded, offered)
            part, rest[1] = meet_evidence(rest[0], rest[1], at, beyond)
            rest[0] -= part
            assert part <= max(volume, fresh)
        (fewest, longest), (expected, usual), (most, shortest) = rests.values()
        assert fewest >= expected >= most
        assert longest >= usual >= shortest


@given(
    volume=st.integers(1, 500),
    last=PRICES | st.just(UNKNOWN),
    between=RANGES,
    distance=st.integers(-3, 3),
)
def test_an_ask_is_a_bid_seen_from_the_other_side(volume, last, between, distance):
    def turned(price):
        return price if price < 0 else 10_000 - price

    low, high = between
    for fills in FillModel:
        bid = volume_evidence(fills, 1, BID + distance, volume, last, low, high)
        ask = volume_evidence(
            fills, -1, turned(BID + distance), volume, turned(last), turned(high), turned(low)
        )
        assert bid == ask
