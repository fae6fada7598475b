"""The ledger conserves money."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.rules.ledger import BUY, SELL, Ledger, LedgerError, flow, payout

DOLLARS = 1_000_000
COUNTS = st.integers(1, 100_000_000)
PRICES = st.integers(1, 9_999)
SIDES = st.sampled_from([BUY, SELL])
VALUES = st.integers(0, 1_000_000)


def a_ledger(dollars=1_000):
    return Ledger(dollars * DOLLARS)


class TestAFill:
    def test_buying_yes_costs_its_price(self):
        ledger = a_ledger()
        ledger.fill(1, BUY, 1_000, price=4_200, fee=0)
        assert (ledger.cash, ledger.position(1)) == (1_000 * DOLLARS - 4_200_000, 1_000)

    def test_selling_what_one_does_not_have_buys_no(self):
        ledger = a_ledger()
        ledger.fill(1, SELL, 1_000, price=4_200, fee=0)
        assert (ledger.cash, ledger.position(1)) == (1_000 * DOLLARS - 5_800_000, -1_000)

    def test_yes_and_no_of_one_market_net_to_a_dollar(self):
        ledger = a_ledger()
        ledger.fill(1, BUY, 1_000, price=4_200, fee=0)
        realised = ledger.fill(1, SELL, 400, price=4_500, fee=0)
        assert ledger.position(1) == 600
        # 4 contracts that cost 42 cents were closed at 45.
        assert realised == 4 * 30_000
        assert ledger.cash == 1_000 * DOLLARS - 4_200_000 + 1_800_000

    def test_a_fill_may_turn_a_position_over(self):
        ledger = a_ledger()
        ledger.fill(1, SELL, 500, price=9_000, fee=0)
        assert ledger.locked == 500_000
        ledger.fill(1, BUY, 800, price=8_000, fee=0)
        assert ledger.position(1) == 300
        # 5 NO that cost 10 cents each got 20, then 3 YES cost 80.
        assert ledger.cash == 1_000 * DOLLARS - 500_000 + 1_000_000 - 2_400_000
        assert ledger.locked == 2_400_000

    def test_a_fee_is_paid_in_cash_and_counted(self):
        ledger = a_ledger()
        ledger.fill(1, BUY, 100, price=5_000, fee=17_500)
        assert (ledger.cash, ledger.fees) == (1_000 * DOLLARS - 517_500, 17_500)

    def test_nothing_is_booked_that_cash_does_not_cover(self):
        ledger = Ledger(517_499)
        with pytest.raises(LedgerError, match="not enough cash"):
            ledger.fill(1, BUY, 100, price=5_000, fee=17_500)
        assert (ledger.cash, ledger.holdings.get(1), ledger.fees) == (517_499, None, 0)

    @pytest.mark.parametrize(
        ("count", "price", "fee"), [(0, 5_000, 0), (-1, 5_000, 0), (1, 10_001, 0), (1, 5_000, -1)]
    )
    def test_nonsense_is_no_fill(self, count, price, fee):
        with pytest.raises(LedgerError, match="not a fill"):
            a_ledger().fill(1, BUY, count, price=price, fee=fee)


class TestSettlement:
    @pytest.mark.parametrize(
        ("side", "value", "paid"),
        [
            (BUY, 1_000_000, 10_000_000),
            (BUY, 0, 0),
            (SELL, 0, 10_000_000),
            (SELL, 1_000_000, 0),
            (BUY, 720_000, 7_200_000),
            (SELL, 720_000, 2_800_000),
        ],
    )
    def test_each_side_gets_its_share_of_a_dollar(self, side, value, paid):
        ledger = a_ledger()
        ledger.fill(1, side, 1_000, price=5_000, fee=0)
        assert ledger.settle(1, value) == (paid, paid - 5_000_000)
        assert ledger.position(1) == 0
        assert ledger.cash == 1_000 * DOLLARS - 5_000_000 + paid

    def test_nobody_trades_what_has_ended(self):
        ledger = a_ledger()
        ledger.settle(1, 0)
        with pytest.raises(LedgerError, match="settled"):
            ledger.fill(1, BUY, 100, price=5_000, fee=0)
        with pytest.raises(LedgerError, match="settled"):
            ledger.settle(1, 0)

    @given(position=st.integers(-(10**8), 10**8), value=VALUES)
    def test_both_sides_together_never_get_more_than_there_is(self, position, value):
        exact = Fraction(abs(position) * (value if position > 0 else 1_000_000 - value), 100)
        assert 0 <= exact - payout(position, value) < 1
        assert payout(position, value) + payout(-position, value) <= abs(position) * 10_000


BOOKINGS = st.lists(
    st.tuples(st.integers(0, 2), SIDES, COUNTS, PRICES, st.integers(0, 10_000_000)), max_size=30
)


@given(bookings=BOOKINGS, cash=st.integers(0, 10**13), values=st.tuples(VALUES, VALUES, VALUES))
def test_start_and_every_flow_make_the_end(bookings, cash, values):
    ledger, flows, realised = Ledger(cash), 0, 0
    for market, side, count, price, fee in bookings:
        moved = flow(ledger.position(market), side, count, price)
        try:
            realised += ledger.fill(market, side, count, price=price, fee=fee) - fee
        except LedgerError:
            continue
        flows += moved - fee
        assert ledger.cash >= 0
        assert ledger.cash == cash + flows
        assert ledger.cash + ledger.locked == cash + realised
    for market, value in enumerate(values):
        paid, gained = ledger.settle(market, value)
        flows, realised = flows + paid, realised + gained
    assert ledger.cash == cash + flows == cash + realised
    assert not ledger.holdings
    assert not ledger.locked


@given(position=st.integers(-(10**8), 10**8), side=SIDES, count=COUNTS, price=PRICES)
def test_a_flow_is_the_price_but_for_the_dollars_of_pairs(position, side, count, price):
    moved = flow(position, side, count, price)
    after = position + side * count
    # The most that short positions can owe is set aside, so cash moves with it.
    owed_before, owed_after = max(0, -position), max(0, -after)
    assert moved == -side * count * price - (owed_after - owed_before) * 10_000
