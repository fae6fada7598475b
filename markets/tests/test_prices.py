from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.prices import PriceRange, Quality, complement, mid, on_grid, quality, spread

PRICES = st.integers(0, 10_000).map(lambda units: Decimal(units) / 10_000)
CENT = (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)
TAPERED = (
    PriceRange(Decimal(0), Decimal("0.10"), Decimal("0.001")),
    PriceRange(Decimal("0.10"), Decimal("0.90"), Decimal("0.01")),
    PriceRange(Decimal("0.90"), Decimal(1), Decimal("0.001")),
)


def price(text):
    return None if text is None else Decimal(text)


@given(PRICES)
def test_a_price_and_its_complement_make_a_dollar(some):
    assert some + complement(some) == 1
    assert complement(complement(some)) == some


def test_mid_and_spread_need_both_sides():
    bid, ask = Decimal("0.42"), Decimal("0.45")
    assert (mid(bid, ask), spread(bid, ask)) == (Decimal("0.435"), Decimal("0.03"))
    for sides in ((None, ask), (bid, None), (None, None)):
        assert (mid(*sides), spread(*sides)) == (None, None)


def test_a_crossed_book_has_a_negative_spread():
    assert spread(Decimal("0.50"), Decimal("0.48")) == Decimal("-0.02")


@pytest.mark.parametrize(
    ("text", "fits"),
    [("0.001", True), ("0.0005", False), ("0.10", True), ("0.101", False), ("0.999", True)],
)
def test_the_grid_may_be_finer_at_its_edges(text, fits):
    assert on_grid(Decimal(text), TAPERED) is fits


def test_an_unknown_grid_refuses_nothing():
    assert on_grid(Decimal("0.1234"), ())


@given(PRICES)
def test_the_cent_grid_holds_whole_cents_alone(some):
    assert on_grid(some, CENT) is (some * 100 == int(some * 100))


@pytest.mark.parametrize(
    ("bid", "ask", "flags"),
    [
        ("0.42", "0.45", Quality(0)),
        (None, "0.45", Quality.ONE_SIDED),
        ("0.42", None, Quality.ONE_SIDED),
        (None, None, Quality(0)),
        ("0.45", "0.45", Quality.LOCKED),
        ("0.46", "0.45", Quality.CROSSED),
        ("0.425", "0.45", Quality.OFF_GRID),
        (None, "0.455", Quality.ONE_SIDED | Quality.OFF_GRID),
        ("0.465", "0.46", Quality.CROSSED | Quality.OFF_GRID),
    ],
)
def test_what_is_odd_about_a_book_is_flagged(bid, ask, flags):
    assert quality(price(bid), price(ask), CENT) == flags
    assert quality(price(bid), price(ask), CENT, trading=False) == flags | Quality.STALE


@pytest.mark.parametrize(
    "texts",
    [
        ("NaN", "1", "0.01"),
        ("0", "sNaN", "0.01"),
        ("0", "Infinity", "0.01"),
        ("0.5", "0.5", "0.01"),
        ("0", "1.01", "0.01"),
        ("-0.1", "1", "0.01"),
        ("0", "1", "0"),
        ("0", "1", "2"),
        ("0", "1", "1E-7"),
    ],
)
def test_a_senseless_range_is_refused(texts):
    with pytest.raises(ValueError, match=r"range|step|finite|finer"):
        PriceRange(*map(Decimal, texts))
