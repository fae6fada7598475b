"""Fees of fills. Money is in millionths of a dollar, so 10,000 is a cent."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from markets import fees
from markets.fees import CENT, MOST_COUNT, MOST_NUMERATOR, Rate, Rounding, UnknownFees

ONE, HALF = Decimal(1), Decimal("0.5")
INSTANT = timedelta(microseconds=1)
TAKER = fees.rate("quadratic", ONE, "taker")
FREE = fees.rate("quadratic", ONE, "maker")
QUARTER = fees.rate("quadratic_with_maker_fees", ONE, "maker")
COMBO = fees.rate("quadratic_with_combo_maker_fees", ONE, "maker")

DIRECT = fees.roundings(broker=False)
BROKER = fees.roundings(broker=True)
WHOLE_CENTS, SPRING, SUMMER, NOW = DIRECT
THROUGH_BROKER = BROKER[-1]
RULES = sorted({*DIRECT, *BROKER})


@dataclass(frozen=True)
class Fill:
    count: int
    price: int
    flow: int
    rate: Rate = TAKER

    @property
    def exact(self) -> Fraction:
        """The fee before any rounding."""
        price = Fraction(self.price, 10_000)
        return Fraction(*self.rate) * Fraction(self.count, 100) * price * (1 - price) * 1_000_000


def bought(contracts: str, price: str, rate: Rate = TAKER) -> Fill:
    count, at = int(Decimal(contracts) * 100), int(Decimal(price) * 10_000)
    return Fill(count, at, -count * at, rate)


def sold(contracts: str, price: str) -> Fill:
    fill = bought(contracts, price)
    return replace(fill, flow=-fill.flow)


def charged(fill: Fill, rule: Rounding, accumulated: int = 0) -> tuple[int, int]:
    units = (rule.step, rule.grid, rule.rebate)
    return fees.charge(fill.count, fill.price, fill.flow, *fill.rate, *units, accumulated)


def bound(fill: Fill, rule: Rounding) -> int:
    return fees.bound(fill.count, fill.price, *fill.rate, rule.grid)


def order(fills: list[Fill], rule: Rounding) -> list[tuple[int, int]]:
    """The net fee of each fill of an order, and its accumulator after it."""
    expected, accumulated = [], 0
    for fill in fills:
        net, accumulated = charged(fill, rule, accumulated)
        expected.append((net, accumulated))
    return expected


def total(fills: list[Fill], rule: Rounding) -> int:
    return sum(net for net, _ in order(fills, rule))


# --- rates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fee_type", "multiplier", "taker", "maker"),
    [
        ("quadratic", "1", (7, 100), (0, 1)),
        ("quadratic", "0.5", (7, 200), (0, 1)),  # the S&P and Nasdaq families
        ("quadratic", "1.000000", (7, 100), (0, 1)),
        ("quadratic_with_maker_fees", "1", (7, 100), (7, 400)),
        ("quadratic_with_maker_fees", "2", (7, 50), (7, 200)),
        ("quadratic_with_combo_maker_fees", "1", (7, 100), (7, 200)),
        ("quadratic_with_combo_maker_fees", "0", (0, 1), (0, 1)),
    ],
)
def test_a_rate_is_the_types_coefficient_times_the_multiplier(fee_type, multiplier, taker, maker):
    assert fees.rate(fee_type, Decimal(multiplier), "taker") == taker
    assert fees.rate(fee_type, Decimal(multiplier), "maker") == maker


@pytest.mark.parametrize("fee_type", ["flat", "", "cubic"])
def test_a_type_without_a_table_is_refused_by_its_name(fee_type):
    with pytest.raises(UnknownFees, match=f"'{fee_type}'"):
        fees.rate(fee_type, ONE, "taker")


@pytest.mark.parametrize(
    ("multiplier", "why"),
    [
        (None, "on record"),
        ("-1", "not a fee multiplier"),
        ("NaN", "not a fee multiplier"),
        ("Infinity", "not a fee multiplier"),
        ("0.0000001", "too fine"),
        ("1E-999999", "too fine"),
        ("0.517", "too fine"),  # 3619/100000
        ("14.3", "too large"),  # 1.001 dollars of a dollar
        ("1E+999999", "too large"),
    ],
)
def test_an_unusable_multiplier_is_refused(multiplier, why):
    with pytest.raises(UnknownFees, match=why):
        fees.rate("quadratic", None if multiplier is None else Decimal(multiplier), "taker")


def test_the_finest_usable_multipliers_are_used():
    assert fees.rate("quadratic", Decimal("0.513"), "taker") == (3591, 100_000)
    finest = fees.rate("quadratic_with_maker_fees", Decimal("0.000001"), "maker")
    assert finest == (7, 400_000_000)
    assert fees.rate("quadratic", Decimal("14.28"), "taker") == (2499, 2500)


# --- the rules of rounding ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "before", "after"),
    [
        (datetime(2026, 3, 12, tzinfo=UTC), (1, 10_000, 10_000), (100, 10_000, 10_000)),
        (datetime(2026, 5, 28, tzinfo=UTC), (100, 10_000, 10_000), (100, 100, 10_000)),
        (datetime(2026, 8, 26, tzinfo=UTC), (100, 100, 10_000), (1, 100, 100)),
    ],
    ids=str,
)
def test_a_rule_holds_from_the_first_instant_of_its_day(day, before, after):
    assert fees.rounding(day - INSTANT, broker=False)[1:] == before
    assert fees.rounding(day, broker=False) == (day, *after)


def test_members_through_a_broker_never_left_the_cent():
    assert [rule[1:] for rule in BROKER] == [
        (1, 10_000, 10_000),
        (100, 10_000, 10_000),
        (100, 10_000, 10_000),
        (1, 10_000, 10_000),
    ]


def test_rules_follow_each_other_from_the_beginning_of_time():
    beginning = datetime.min.replace(tzinfo=UTC)
    for broker in (False, True):
        rules = fees.roundings(broker=broker)
        assert rules[0].since == beginning
        assert sorted(rules) == list(rules)
        assert fees.rounding(beginning, broker=broker) == rules[0]
        assert fees.rounding(datetime(2100, 1, 1, tzinfo=UTC), broker=broker) == rules[-1]


@pytest.mark.parametrize("rule", RULES)
def test_a_rebate_is_whole_grid_units(rule):
    assert rule.rebate % rule.grid == 0
    assert rule.grid % rule.step == 0


# --- examples computed by hand ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "fee"),
    [
        (bought("100", "0.05"), 332_500),  # 0.07 x 100 x 0.05 x 0.95
        (bought("100", "0.50"), 1_750_000),  # 0.07 x 100 x 0.25
        (bought("100", "0.95"), 332_500),
        (sold("100", "0.95"), 332_500),
        (bought("100", "0.50", fees.rate("quadratic", HALF, "taker")), 875_000),
        (bought("100", "0.50", QUARTER), 437_500),
        (
            bought("100", "0.50", COMBO),
            875_000,
        ),
        (bought("100", "0.50", FREE), 0),
        (bought("100", "0.50", fees.rate("quadratic", Decimal(0), "taker")), 0),
        (bought("1", "0.50"), 17_500),
        (bought("0.40", "0.50"), 7_000),  # 0.07 x 0.40 x 0.25
        (bought("1", "0.05"), 3_400),  # 0.003325, on a grid of 0.0001
        (sold("1", "0.05"), 3_400),
        # 0.07 x 0.01 x 0.3301 x 0.6699 = 0.00015479...: 155; -0.003301 - 0.000155 = -0.003456,
        # which goes down to -0.0035: 44 more
        (bought("0.01", "0.3301"), 199),
    ],
)
def test_a_fill_of_today_by_a_direct_member(fill, fee):
    assert charged(fill, NOW)[0] == fee


@pytest.mark.parametrize(
    ("rule", "fee", "kept"),
    [
        (WHOLE_CENTS, 20_000, 2_500),  # -0.5175 goes down to -0.52
        (SPRING, 20_000, 2_500),
        (SUMMER, 17_500, 0),
        (NOW, 17_500, 0),
        (BROKER[2], 20_000, 2_500),
        (THROUGH_BROKER, 20_000, 2_500),
    ],
)
def test_one_contract_at_50_cents_under_each_rule(rule, fee, kept):
    assert charged(bought("1", "0.50"), rule) == (fee, kept)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # 3325 each. -0.053325 goes down to -0.06: 6675 kept. 13350 gives a cent back, 3350 stay;
        # 10025 gives a cent back, 25 stay. A cent for 0.009975 in all.
        (WHOLE_CENTS, [(10_000, 6_675), (0, 3_350), (0, 25)]),
        # 3400 each. 6600 kept; 13200 gives a cent back, 3200 stay; 9800 stay.
        (SPRING, [(10_000, 6_600), (0, 3_200), (10_000, 9_800)]),
        (BROKER[2], [(10_000, 6_600), (0, 3_200), (10_000, 9_800)]),
        # 3400 each, and -0.0534 is on the grid.
        (SUMMER, [(3_400, 0), (3_400, 0), (3_400, 0)]),
        # 3325 each. -0.053325 goes down to -0.0534: 75 kept. 150 gives 100 back, 50 stay; 125
        # gives 100 back, 25 stay. 0.01 for 0.009975 in all.
        (NOW, [(3_400, 75), (3_300, 50), (3_300, 25)]),
        (THROUGH_BROKER, [(10_000, 6_675), (0, 3_350), (0, 25)]),
    ],
)
def test_three_fills_of_one_contract_at_5_cents_under_each_rule(rule, expected):
    assert order([bought("1", "0.05")] * 3, rule) == expected


@pytest.mark.parametrize(
    ("rule", "cost"),
    [
        (WHOLE_CENTS, 340_000),  # 0.3325, and not a cent begun for each fill
        (SPRING, 340_000),
        (SUMMER, 340_000),  # 100 x 0.0034
        (NOW, 332_500),
        (THROUGH_BROKER, 340_000),
    ],
)
def test_a_hundred_fills_of_one_contract_at_5_cents(rule, cost):
    assert total([bought("1", "0.05")] * 100, rule) == cost


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        # The page does not give the rates of the first two; these produce its 0.0085 and 0.0041.
        (
            bought("1", "0.055", Rate(163, 1000)),
            [(15_000, 6_500), (5_000, 3_000), (15_000, 9_500)],
        ),
        (bought("0.30", "0.50", Rate(109, 2000)), [(10_000, 5_900), (0, 1_800), (10_000, 7_700)]),
        (bought("0.03", "0.3301"), [(10_097, 9_597), (97, 9_194), (97, 8_791)]),
    ],
    ids=["subpenny prices", "fractional contracts", "both"],
)
def test_the_examples_of_the_fee_rounding_page(fill, expected):
    assert order([fill] * 3, SPRING) == expected


def test_taker_and_maker_fills_of_an_order_share_its_accumulator():
    # Taker: 3325, 75 kept. Maker: a quarter, 831.25, is 832; -0.050832 goes down to -0.0509, 68
    # more make 143, of which 100 are given back.
    fills = [bought("1", "0.05"), bought("1", "0.05", QUARTER)]
    assert order(fills, NOW) == [(3_400, 75), (800, 43)]


def test_an_accumulator_survives_a_change_of_the_rule():
    # 9800 kept in summer's whole cents; then 75 more, and of the 34 units of 0.0001 that the next
    # fill costs all are given back.
    assert charged(bought("1", "0.05"), NOW, 9_800) == (0, 6_475)


def test_an_accumulator_that_just_reaches_a_unit_gives_it_back():
    # 0.0125; -0.5125 goes down to -0.52, and 7500 more make 10000.
    fill = bought("1", "0.50", Rate(5, 100))
    assert charged(fill, THROUGH_BROKER, 2_500) == (10_000, 0)


def test_fills_smaller_than_a_unit_get_nothing_back():
    # Free of fees at 55.5 cents: half a cent of rounding each, and no fill covers a whole cent.
    fills = [bought("1", "0.555", FREE)] * 3
    assert order(fills, THROUGH_BROKER) == [(5_000, 5_000), (5_000, 10_000), (5_000, 15_000)]
    # The first fill that covers a cent gives one back.
    paying = bought("100", "0.50")
    assert charged(paying, THROUGH_BROKER, 15_000) == (1_740_000, 5_000)


def test_an_order_in_many_pieces_can_cost_more_than_the_bound_of_one_fill():
    whole, piece = bought("10", "0.555", FREE), bought("1", "0.555", FREE)
    assert (total([whole], THROUGH_BROKER), bound(whole, THROUGH_BROKER)) == (0, 20_000)
    assert total([piece] * 10, THROUGH_BROKER) == 50_000


# --- at the bounds of 64 bits -------------------------------------------------------------------


DEAREST = Rate(MOST_NUMERATOR, MOST_NUMERATOR + 1)
FINEST = Rate(MOST_NUMERATOR - 1, 400 * 10**6)


def bits(*numbers: int) -> Any:
    """Convert to numpy's 64-bit integers, whose overflow warning fails a test."""
    return [np.int64(number) for number in numbers]


def test_the_largest_order_at_the_largest_numerator_just_fits():
    largest = MOST_COUNT * 5_000 * 5_000
    assert largest * MOST_NUMERATOR < 2**63 < largest * (MOST_NUMERATOR + 100)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rate", [DEAREST, FINEST])
def test_the_largest_order_is_charged_exactly_in_64_bits(rate, rule):
    fill = Fill(MOST_COUNT, 5_000, -MOST_COUNT * 5_000, rate)
    cost, kept = charged(fill, rule)
    assert cost - kept == math.ceil(fill.exact / rule.step) * rule.step
    count, price, flow, *wide_rate = bits(fill.count, fill.price, fill.flow, *rate)
    wide = Fill(count, price, flow, Rate(*wide_rate))
    assert charged(wide, Rounding(rule.since, *bits(*rule[1:]))) == (cost, kept)
    assert bound(wide, rule) == bound(fill, rule) >= cost


# --- properties of every order ------------------------------------------------------------------


counts = st.integers(1, 2_000) | st.integers(1, MOST_COUNT)
prices = st.integers(1, 9_999)
rates = st.sampled_from(
    [
        fees.rate(fee_type, Decimal(multiplier), liquidity)
        for fee_type in fees.COEFFICIENTS
        for multiplier in ("0", "0.000001", "0.5", "0.513", "1", "1.1", "14")
        for liquidity in ("taker", "maker")
    ]
)
rules = st.sampled_from(RULES)


@st.composite
def some_fills(draw: st.DrawFn, *, whole: bool = False) -> Fill:
    """A fill that opens or closes a position; `whole` means whole contracts at whole cents."""
    unit = 100 if whole else 1
    count = draw(counts) // unit * unit or unit
    price = draw(st.integers(1, 99)) * 100 if whole else draw(prices)
    closing = draw(st.integers(0, count // unit)) * unit
    side = draw(st.sampled_from((1, -1)))
    opened = price if side > 0 else 10_000 - price
    return Fill(count, price, closing * (10_000 - opened) - (count - closing) * opened, draw(rates))


fills = some_fills()
orders = st.lists(fills, min_size=1, max_size=20)


def published(fill: Fill, rule: Rounding, kept: Fraction) -> tuple[Fraction, Fraction]:
    """Compute the five steps of Kalshi's fee page one by one, in exact dollars."""
    step, grid, unit = (Fraction(each, 1_000_000) for each in rule[1:])
    trade_fee = math.ceil(fill.exact / 1_000_000 / step) * step
    change = Fraction(fill.flow, 1_000_000) - trade_fee
    rounding_fee = change - math.floor(change / grid) * grid
    kept += rounding_fee
    net = trade_fee + rounding_fee
    while kept >= unit and net >= unit:
        kept, net = kept - unit, net - unit
    return net, kept


@given(orders, rules)
def test_fees_are_those_of_the_published_steps(fills, rule):
    kept = Fraction(0)
    for fill, expected in zip(fills, order(fills, rule), strict=True):
        net, kept = published(fill, rule, kept)
        assert expected == (net * 1_000_000, kept * 1_000_000)


@given(orders, rules)
def test_no_fee_is_negative(fills, rule):
    assert all(net >= 0 and kept >= 0 for net, kept in order(fills, rule))


@given(orders, rules)
def test_the_balance_stays_on_its_grid(fills, rule):
    for fill, (net, _) in zip(fills, order(fills, rule), strict=True):
        assert (fill.flow - net) % rule.grid == 0


@given(orders, rules)
def test_an_order_never_pays_less_than_its_exact_fees(fills, rule):
    exact = Fraction(0)
    for n, fill in enumerate(fills, start=1):
        exact += fill.exact
        assert total(fills[:n], rule) >= exact


@given(orders, rules)
def test_what_an_order_overpays_is_in_its_accumulator_or_was_a_step(fills, rule):
    kept = order(fills, rule)[-1][1]
    steps = total(fills, rule) - kept - sum(fill.exact for fill in fills)
    assert 0 <= steps < rule.step * len(fills)


@given(orders, rules)
def test_more_than_a_unit_is_kept_only_where_the_fill_could_not_give_it_back(fills, rule):
    assert all(kept < rule.rebate or net < rule.rebate for net, kept in order(fills, rule))


@given(st.lists(some_fills(whole=True), min_size=1, max_size=20), rules)
def test_at_whole_cents_less_than_a_grid_unit_is_kept(fills, rule):
    assert all(kept < rule.grid for _, kept in order(fills, rule))


@given(st.lists(some_fills(whole=True), min_size=1, max_size=20))
def test_before_fractions_an_order_paid_its_fees_up_to_the_cent(fills):
    """The trade fees of its fills, each rounded up to a millionth of a dollar."""
    trade = sum(math.ceil(fill.exact) for fill in fills)
    assert total(fills, WHOLE_CENTS) == math.ceil(Fraction(trade, CENT)) * CENT


def bought_at(price: int, rate: Rate) -> Callable[[int], Fill]:
    return lambda count: Fill(count, price, -count * price, rate)


@given(counts, counts, prices, rates, rules)
def test_more_contracts_never_take_less_cash(one, other, price, rate, rule):
    few, many = map(bought_at(price, rate), sorted((one, other)))
    assert charged(few, rule)[0] - few.flow <= charged(many, rule)[0] - many.flow


wholes = st.integers(1, 500).map(lambda contracts: contracts * 100)
cents = st.integers(1, 99).map(lambda each: each * 100)


@given(wholes, wholes, cents, rates, rules)
def test_more_contracts_never_cost_a_lower_fee_at_whole_cents(one, other, price, rate, rule):
    few, many = map(bought_at(price, rate), sorted((one, other)))
    assert charged(few, rule)[0] <= charged(many, rule)[0]


pieces = st.lists(st.integers(1, 50_000), min_size=1, max_size=30)


@given(pieces, prices, rates, rules)
def test_pieces_cost_no_less_than_the_whole(pieces, price, rate, rule):
    buy = bought_at(price, rate)
    assert total([buy(count) for count in pieces], rule) >= total([buy(sum(pieces))], rule)


@given(st.lists(wholes, min_size=1, max_size=30), cents, rates, rules)
def test_a_piece_more_at_whole_cents_costs_less_than_a_step_and_all_of_them_a_grid_unit(
    pieces, price, rate, rule
):
    buy = bought_at(price, rate)
    more = total([buy(count) for count in pieces], rule) - total([buy(sum(pieces))], rule)
    assert more < (len(pieces) - 1) * rule.step + rule.grid


@given(fills, counts, rules, st.integers(0, 100_000))
@example(bought("1", "0.5551"), 1, THROUGH_BROKER, 0)
def test_a_fill_costs_no_more_than_the_bound_of_its_order(fill, more, rule, kept):
    rest = replace(fill, count=min(fill.count + more, MOST_COUNT))
    assert charged(fill, rule, kept)[0] <= bound(rest, rule)


@given(pieces, prices, rates, rules)
def test_each_further_fill_adds_two_grid_units_to_the_bound(pieces, price, rate, rule):
    buy = bought_at(price, rate)
    most = bound(buy(sum(pieces)), rule) + 2 * rule.grid * (len(pieces) - 1)
    assert total([buy(count) for count in pieces], rule) <= most


@given(counts, prices, prices, rates, rules)
def test_funds_for_a_limit_are_enough_at_any_better_price(count, one, other, rate, rule):
    low, high = sorted((one, other))
    buy, limit = bought_at(low, rate)(count), bought_at(high, rate)(count)
    assert charged(buy, rule)[0] - buy.flow <= bound(limit, rule) - limit.flow
    # The better prices of a sale are the higher ones.
    limit, sale = (replace(each, flow=-count * (10_000 - each.price)) for each in (buy, limit))
    assert charged(sale, rule)[0] - sale.flow <= bound(limit, rule) - limit.flow


def test_the_example_of_the_documentation():
    ten = bought("10", "0.42")
    assert ten.exact == 170_520
    assert charged(ten, NOW)[0] == 170_600
    assert charged(ten, THROUGH_BROKER)[0] == 180_000
