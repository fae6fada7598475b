"""Gaps between candles, of their own periods."""

import numpy as np

from backtests.data.candle_gaps import candle_gaps
from backtests.data.observed_rows import QuotedInstants

MINUTE, HOUR = 60, 3_600
NEVER = 2**63 - 1


def quoted(*markets, live=(), imported=None):
    """Make quotes of markets at instants; `imported` has the numbers of imports by instant."""
    imported = imported or {}
    market = np.repeat(np.arange(len(markets)), [len(own) for own in markets])
    at = np.array([each for own in markets for each in own], np.int64)
    starts = np.cumsum([0, *map(len, markets)])
    imports = np.array([imported.get(each, 0) for each in at.tolist()], np.int64)
    return QuotedInstants(market, at, ~np.isin(at, live), imports, starts)


def found(gaps):
    return list(zip(gaps.since.tolist(), gaps.until.tolist(), strict=True))


def ends(*each):
    return np.array(each, np.int64)


def test_a_candle_is_fresh_for_three_of_its_periods():
    hours = [0, HOUR, 4 * HOUR, 8 * HOUR]
    gaps = candle_gaps(quoted(hours), [(0, HOUR, 0, 8 * HOUR)], ends(8 * HOUR))
    assert found(gaps) == [(7 * HOUR, 8 * HOUR)]


def test_the_shortest_of_two_periods_counts_where_both_are():
    instants = [0, HOUR, HOUR + MINUTE, HOUR + 10 * MINUTE]
    periods = [(0, MINUTE, HOUR + MINUTE, HOUR + 10 * MINUTE), (0, HOUR, 0, 2 * HOUR)]
    gaps = candle_gaps(quoted(instants), periods, ends(HOUR + 11 * MINUTE))
    assert found(gaps) == [(HOUR + 4 * MINUTE, HOUR + 10 * MINUTE)]


def test_a_quote_of_which_no_period_is_known_claims_no_gap():
    assert found(candle_gaps(quoted([0, 9 * HOUR]), [], ends(NEVER))) == []


def test_an_imported_row_is_fresh_for_three_of_the_periods_that_its_import_states():
    instants = quoted([0, MINUTE, 10 * MINUTE])
    stated = [(0, MINUTE, 0, 10 * MINUTE)]
    gaps = candle_gaps(instants, [], ends(11 * MINUTE), stated=stated)
    assert found(gaps) == [(4 * MINUTE, 10 * MINUTE)]


def test_what_an_import_states_later_counts_instead():
    instants = quoted([0, 10 * MINUTE, HOUR])
    stated = [(0, MINUTE, 0, HOUR), (0, 5 * MINUTE, 0, 10 * MINUTE)]
    gaps = candle_gaps(instants, [], ends(HOUR + MINUTE), stated=stated)
    assert found(gaps) == [(25 * MINUTE, HOUR)]


def test_of_a_candle_and_an_import_the_shorter_period_counts():
    instants = quoted([0, HOUR], [0, HOUR])
    candles = [(0, HOUR, 0, HOUR), (1, MINUTE, 0, HOUR)]
    stated = [(0, MINUTE, 0, HOUR), (1, HOUR, 0, HOUR)]
    gaps = candle_gaps(instants, candles, ends(HOUR, HOUR), stated=stated)
    assert found(gaps) == [(3 * MINUTE, HOUR)] * 2


def test_candlesticks_say_nothing_of_the_rows_of_an_import():
    candles = [(0, MINUTE, 0, 9 * HOUR)]
    rows = quoted([0, HOUR, 9 * HOUR], imported={HOUR: 7})
    assert found(candle_gaps(rows, candles, ends(9 * HOUR))) == [(3 * MINUTE, HOUR)]
    fresh = [(0, 10 * MINUTE, 7), (0, MINUTE, 8)]
    gaps = candle_gaps(rows, candles, ends(9 * HOUR), fresh_for=fresh)
    assert found(gaps) == [(3 * MINUTE, HOUR), (HOUR + 10 * MINUTE, 9 * HOUR)]


def test_a_live_quote_follows_other_rules():
    gaps = candle_gaps(
        quoted([0, HOUR, 9 * HOUR], live=[HOUR]), [(0, MINUTE, 0, 9 * HOUR)], ends(NEVER)
    )
    assert found(gaps)[0] == (3 * MINUTE, HOUR)
    assert len(found(gaps)) == 2


def test_each_market_has_its_own_gaps_and_none_after_its_end():
    gaps = candle_gaps(
        quoted([0, HOUR], [0]), [(0, HOUR, 0, HOUR), (1, HOUR, 0, 0)], ends(9 * HOUR, 2 * HOUR)
    )
    assert gaps.spans.tolist() == [0, 1, 1]
    assert found(gaps) == [(4 * HOUR, 9 * HOUR)]
