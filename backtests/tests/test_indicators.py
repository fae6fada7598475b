import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import MISSING, SECOND, Listing, QuoteHistory, Quotes
from backtests.strategies import indicators
from backtests.tests.random_universes import random_universe

NAN = np.nan


def history_of(*markets, step=60 * SECOND, tradable=True):
    """A history of markets by midpoints in dollars, NaN for no bid, with one row a minute."""
    at = np.concatenate([np.arange(len(mids)) * step for mids in markets])
    market = np.repeat(np.arange(len(markets)), [len(mids) for mids in markets])
    mids = np.concatenate([np.array(mids, dtype=float) for mids in markets])
    bid = np.where(np.isnan(mids), MISSING, np.rint(np.nan_to_num(mids) * 10_000) - 50)
    ask = np.where(np.isnan(mids), 6_000, np.rint(np.nan_to_num(mids) * 10_000) + 50)
    ones = np.ones(len(at), dtype=np.int64)
    quotes = Quotes(
        at=at, market=market, bid=bid.astype(np.int64), ask=ask.astype(np.int64),
        bid_size=ones, ask_size=ones, last=ones, volume=ones, close_at=ones,
        tradable=np.full(len(at), tradable),
    )  # fmt: skip
    order = np.lexsort((market, at))
    return QuoteHistory(
        quotes.select(order), [Listing(ticker=f"M{m}", event="E") for m in range(len(markets))]
    )


def test_rows_begin_anew_with_each_market():
    history = history_of([0.1, 0.2, 0.3], [], [0.4, 0.5])

    assert indicators.first_rows(history).tolist() == [0, 0, 0, 3, 3]
    assert indicators.rows_before(history).tolist() == [0, 1, 2, 0, 1]


def test_the_value_before_is_never_another_markets():
    history = history_of([0.1, 0.2, 0.3], [0.4, 0.5])

    assert np.array_equal(
        indicators.previous(history, history.mid), [NAN, 0.1, 0.2, NAN, 0.4], equal_nan=True
    )
    assert np.isnan(indicators.previous(history, history.mid, 9)).all()


def test_how_long_ago_a_condition_held():
    history = history_of([0.1, 0.9, 0.1, 0.9], [0.1, 0.1], [0.9])

    assert indicators.rows_since(history, history.mid > 0.5).tolist() == [-1, 0, 1, 0, -1, -1, 0]


def test_the_first_value_under_a_condition_is_known_from_its_row_on():
    history = history_of([0.1, 0.8, 0.1, 0.9], [0.1, 0.1], [0.7], [0.2])

    first = indicators.first_where(history, history.mid, history.mid > 0.5)

    assert np.array_equal(first, [NAN, 0.8, 0.8, 0.8, NAN, NAN, 0.7, NAN], equal_nan=True)


def test_a_price_is_carried_on_within_its_market_until_it_is_stale():
    history = history_of([NAN, 0.2, NAN, NAN, NAN], [NAN, 0.5])

    carried = indicators.carry_forward(history, history.mid, seconds=120)

    assert np.array_equal(carried, [NAN, 0.2, 0.2, 0.2, NAN, NAN, 0.5], equal_nan=True)


def test_the_mid_is_carried_for_an_hour():
    history = history_of([0.2, NAN, NAN], step=1_800 * SECOND)
    late = history_of([0.2, NAN, NAN], step=1_801 * SECOND)

    assert indicators.carried_mid(history)[2] == 0.2
    assert np.isnan(indicators.carried_mid(late)[2])


def test_a_window_is_unknown_until_it_is_full_and_while_it_has_a_gap():
    history = history_of([0.1, 0.3, 0.2, NAN, 0.4, 0.6], [0.5, 0.7])

    windows = indicators.rolling_windows(history, history.mid)

    expected = [NAN, 0.2, 0.25, NAN, NAN, 0.5, NAN, 0.6]
    assert np.allclose(windows.mean(2), expected, equal_nan=True)
    assert np.isnan(windows.mean(99)).all()


def test_a_price_that_has_not_moved_has_no_score():
    history = history_of([0.37, 0.37, 0.37, 0.38])

    windows = indicators.rolling_windows(history, history.mid)

    assert windows.standard_deviation(3)[2] == 0
    assert np.isnan(windows.z_score(3)[2])
    assert windows.z_score(3)[3] == pytest.approx(np.sqrt(2))


@given(
    prices=st.lists(
        st.lists(st.integers(50, 9_950), min_size=1, max_size=40), min_size=1, max_size=3
    ),
    rows=st.integers(2, 12),
)
def test_windows_are_what_numpy_says_of_each_of_them(prices, rows):
    history = history_of(*[[price / 10_000 for price in market] for market in prices])
    windows = indicators.rolling_windows(history, history.mid)
    mean, deviation, score = (
        windows.mean(rows),
        windows.standard_deviation(rows),
        windows.z_score(rows),
    )

    for row in np.flatnonzero(indicators.rows_before(history) >= rows - 1):
        window = history.mid[row - rows + 1 : row + 1]
        assert mean[row] == pytest.approx(window.mean())
        assert deviation[row] == pytest.approx(window.std(), abs=1e-9)
        if window.std() > 1e-9:
            assert score[row] == pytest.approx(
                (window[-1] - window.mean()) / window.std(), abs=1e-6
            )


def test_sums_that_wrap_around_change_no_window():
    long_ago, rows = np.full(50, 0.5), 10
    lately = np.array([0.2, 0.4, 0.3, 0.7, 0.6, 0.1, 0.9, 0.5, 0.8, 0.2])
    history = history_of(np.concatenate((long_ago, lately)))
    windows = indicators.rolling_windows(history, history.mid)
    # The sums start as if they had passed 2**63 long before.
    wrapped = windows.squares + np.int64(2**63 - 1) - windows.squares[55]

    shifted = indicators.RollingWindows(
        windows.units, windows.known_for, windows.sums, wrapped, windows.max_rows
    )

    assert wrapped.min() < 0
    assert (
        shifted.standard_deviation(rows)[-1]
        == windows.standard_deviation(rows)[-1]
        == pytest.approx(lately.std())
    )


def test_a_window_that_could_overflow_is_refused():
    history = history_of([0.5, 0.6])
    windows = indicators.rolling_windows(history, history.mid)

    with pytest.raises(ValueError, match="at most"):
        windows.z_score(1_000_000)


def test_the_exponential_mean_weighs_what_is_known_and_begins_anew_with_each_market():
    history = history_of([NAN, 0.2, 0.4, NAN, 0.8], [0.5, 0.5])

    mean = indicators.exponential_mean(history, history.mid, 3)

    third = (0.2 / 2 + 0.4) / 1.5
    last = (0.2 / 8 + 0.4 / 4 + 0.8) / (1 / 8 + 1 / 4 + 1)
    assert np.allclose(mean, [NAN, 0.2, third, third, last, 0.5, 0.5], equal_nan=True)


@pytest.mark.parametrize("rows", [2, 5, 30])
def test_every_row_is_to_the_last_bit_what_it_was_before_later_rows_came(rows):
    universe = random_universe(7, markets=4, rows=120)
    whole = causal(universe.quotes, universe.listings, rows)

    for at in np.unique(universe.quotes.at)[::7]:
        known = causal(universe.quotes.until(at), universe.listings, rows)
        for name, values in known.items():
            assert np.array_equal(values, whole[name][: len(values)], equal_nan=True), name


def causal(quotes, listings, rows):
    history = QuoteHistory(quotes, listings)
    windows = indicators.mid_windows(history)
    values = {
        "mid": indicators.carried_mid(history),
        "mean": windows.mean(rows),
        "deviation": windows.standard_deviation(rows),
        "score": windows.z_score(rows),
        "exponential": indicators.exponential_mean(history, history.mid, rows),
        "previous": indicators.previous(history, history.mid, rows),
        "since": indicators.rows_since(history, history.mid > 0.5),
        "first": indicators.first_where(history, history.mid, history.mid > 0.5),
    }
    return {name: history.to_quote_order(column) for name, column in values.items()}


def test_what_was_computed_for_one_record_is_not_taken_for_another():
    one, other = history_of([0.1, 0.2]), history_of([0.3, 0.4])

    assert indicators.carried_mid(one).tolist() == [0.1, 0.2]
    assert indicators.carried_mid(other).tolist() == [0.3, 0.4]
    assert indicators.carried_mid(one) is indicators.carried_mid(one)


def test_two_sides_count_only_where_a_market_trades():
    assert indicators.two_sided(history_of([0.1, NAN])).tolist() == [True, False]
    assert indicators.two_sided(history_of([0.1, NAN], tradable=False)).tolist() == [False, False]
