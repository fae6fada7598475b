"""The outcomes of an event side by side."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from markets import fees
from markets.outcomes import FALLING, RISING, Bundle, Offer, Rung, bundle, violations

ROUNDING = fees.rounding(datetime(2026, 11, 20, tzinfo=UTC), broker=False)
FEES = fees.rate("quadratic", Decimal(1), "taker")
FREE = fees.rate("quadratic", Decimal(0), "taker")


def offer(bid: str | None, size: str | None = "10", rate: fees.Rate | None = FREE) -> Offer:
    return Offer(number(bid), number(size), rate)


def rung(strike: int, bid: str | None, ask: str | None) -> Rung:
    return Rung(Decimal(strike), number(bid), number(ask))


def number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def a_bundle(*offers: Offer) -> Bundle:
    found = bundle(offers, ROUNDING)
    assert found
    return found


class TestBundle:
    def test_it_gains_what_the_bids_exceed_a_dollar_by(self):
        found = a_bundle(offer("0.40"), offer("0.35"), offer("0.30", "4.5"))
        assert (found.legs, found.bids, found.contracts) == (3, Decimal("1.05"), 4)
        assert found.gain == Decimal("0.20")

    def test_fees_are_those_of_each_leg_at_its_own_price(self):
        found = a_bundle(offer("0.50", "100", FEES), offer("0.60", "100", FEES))
        # 0.07 x 100 x P x (1 - P)
        assert found.fees == Decimal("1.75") + Decimal("1.68")
        assert found.gain == Decimal(10) - Decimal("3.43")

    def test_a_single_bundle_is_judged_where_sizes_are_unknown(self):
        found = a_bundle(offer("0.50", None), offer("0.60"))
        assert found.contracts == 0
        assert found.gain == Decimal("0.10")

    def test_an_outcome_without_a_bid_is_no_leg(self):
        assert bundle([offer("0.90"), offer("0"), offer(None)], ROUNDING) is None
        assert a_bundle(offer("0.90"), offer("0.05"), offer(None)).legs == 2

    def test_the_gain_is_unknown_where_a_fee_is(self):
        found = a_bundle(offer("0.90"), offer("0.50", rate=None))
        assert found.fees is None
        assert found.gain is None


class TestLadder:
    def test_a_dearer_rung_above_a_cheaper_one_is_a_violation(self):
        rungs = [rung(1, "0.60", "0.62"), rung(2, "0.63", "0.65"), rung(3, "0.10", "0.12")]
        assert violations(rungs, FALLING) == {1: 0}

    def test_of_strikes_below_which_a_value_must_lie_the_order_is_the_other_way(self):
        rungs = [rung(1, "0.60", "0.62"), rung(2, "0.40", "0.55")]
        assert violations(rungs, RISING) == {0: 1}
        assert violations(rungs, FALLING) == {}

    def test_overlapping_intervals_are_none(self):
        rungs = [rung(1, "0.50", "0.62"), rung(2, "0.55", "0.65")]
        assert violations(rungs, FALLING) == {}

    def test_an_unknown_side_proves_nothing(self):
        rungs = [rung(1, "0.50", None), rung(2, None, "0.20"), rung(3, "0.90", None)]
        assert violations(rungs, FALLING) == {2: 1}

    @given(
        st.lists(
            st.tuples(st.integers(1, 98), st.integers(1, 20)),
            min_size=1,
            max_size=6,
        ),
        st.sampled_from([RISING, FALLING]),
    )
    def test_each_violation_can_never_lose(self, quotes, direction):
        rungs = [
            Rung(Decimal(place), Decimal(bid), Decimal(bid + width))
            for place, (bid, width) in enumerate(quotes)
        ]
        found = violations(rungs, direction)
        for dear, cheap in found.items():
            assert quotes[dear][0] > sum(quotes[cheap])
            # Wherever the dear one pays, the cheap one does.
            assert (cheap < dear) == (direction == FALLING)
        easier = range(len(rungs)) if direction == FALLING else range(len(rungs))[::-1]
        for at, place in enumerate(easier):
            asks = [sum(quotes[other]) for other in easier[:at]]
            assert (place in found) == any(quotes[place][0] > ask for ask in asks)
