"""The calibration of the recorded real data sets, each beside a computation of its own.

The other computation reads the files by pandas and shares nothing with ours.
"""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from django.conf import settings
from django.core.cache import cache

from markets.calibration.anchors import Exclusion
from markets.calibration.reliability import reliability
from markets.calibration.report import calibrate
from markets.calibration.request import CalibrationRequest
from markets.calibration.scores import scores
from markets.importing.research_tables import find_tables, import_tables

RECORDED = settings.BASE_DIR.parent / "shared" / "kalshi" / "recorded"
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.recorded,
    pytest.mark.skipif(
        not RECORDED.is_dir(), reason="the recordings (../shared/kalshi/recorded) are not here"
    ),
]
BINS = np.arange(11) / 10
HOUR = timedelta(hours=1)


def imported(name):
    cache.clear()
    (folder,) = find_tables(RECORDED / name)
    import_tables(folder, lambda share, doing: None)
    return folder


def of(**request):
    return calibrate(CalibrationRequest(source="backfilled", **request))


def assert_same(found, price, outcome, event):
    """Compare the curve and the scores of a report with those of plain columns."""
    price, outcome = price.round(5), outcome.astype(float)
    table = pd.DataFrame({"price": price, "outcome": outcome, "event": event})
    table["bin"] = np.minimum(np.digitize(table.price, BINS[:-1]) - 1, 9)
    by_bin = table.groupby("bin")
    assert found.coverage.used == len(table)
    assert found.coverage.events == table.event.nunique()
    for number, each in enumerate(found.curve):
        assert each.count == (table.bin == number).sum()
        if each.outcome is not None:
            assert each.price == pytest.approx(by_bin.price.mean()[number])
            assert each.outcome == pytest.approx(by_bin.outcome.mean()[number])
            assert each.events == by_bin.event.nunique()[number] >= 20
    scores = found.scores
    assert scores.brier == pytest.approx(((table.price - table.outcome) ** 2).mean())
    mean = table.outcome.mean()
    weights = by_bin.size() / len(table)
    assert scores.uncertainty == pytest.approx(mean * (1 - mean))
    gap = by_bin.price.mean() - by_bin.outcome.mean()
    assert scores.reliability == pytest.approx((weights * gap**2).sum())
    assert scores.resolution == pytest.approx((weights * (by_bin.outcome.mean() - mean) ** 2).sum())
    told = np.where(table.outcome == 1, table.price, 1 - table.price)
    assert scores.log_loss == pytest.approx(-np.log(told).mean())
    assert scores.bias == pytest.approx((table.outcome - table.price).mean())


def two_sided(bid, ask):
    return (bid > 0) & (bid < 1) & (ask > 0) & (ask < 1)


def taker_fee(price):
    """Return dollars a contract of an order of a hundred, to a hundredth of a cent or a cent."""
    return 0.07 * price * (1 - price)


# --- temperatures in New York, hour by hour -----------------------------------------------------


def weather_at(folder, lead):
    """Return the quotes in force so long before the close that was announced at the opening."""
    markets = pd.read_parquet(folder / "kalshi_markets_nyc.parquet")
    markets = markets[markets.result.isin(["yes", "no"])]
    candles = pd.read_parquet(folder / "kalshi_candles_nyc.parquet")
    rows = []
    for market in markets.itertuples():
        at = market.close_time - lead
        ends = pd.to_datetime(candles.end_ts[candles.ticker == market.ticker], unit="s")
        fresh = ends[(ends <= at) & (ends > at - HOUR)]
        if at >= market.open_time and len(fresh):
            quote = candles.loc[fresh.idxmax()]
            rows.append(
                (market.event_ticker, market.result, quote.yes_bid_close, quote.yes_ask_close)
            )
    return len(markets), pd.DataFrame(rows, columns=["event", "result", "bid", "ask"])


def test_temperatures():
    folder = imported("weather_hourly_ariadne")
    for moment, lead in (("24h", 24 * HOUR), ("6h", 6 * HOUR)):
        eligible, quotes = weather_at(folder, lead)
        found = of(moment=moment)
        assert found.coverage.eligible == eligible == 816
        both = quotes[two_sided(quotes.bid, quotes.ask)]
        narrow = both[(both.ask - both.bid).round(6) <= 0.1]
        assert found.coverage.left_out[Exclusion.ONE_SIDED] == len(quotes) - len(both)
        assert_same(found, (narrow.bid + narrow.ask) / 2, narrow.result == "yes", narrow.event)
        asked = quotes[(quotes.ask > 0) & (quotes.ask < 1)]
        of_yes = of(moment=moment, price="ask-yes")
        assert_same(of_yes, asked.ask, asked.result == "yes", asked.event)
        for each in of_yes.returns_yes:
            bought = asked[(asked.ask >= each.low) & (asked.ask < each.high)]
            if each.net is not None:
                spent = (bought.ask + taker_fee(bought.ask)).sum()
                net = (bought.result == "yes").sum() / spent - 1
                assert each.net == pytest.approx(net, abs=0.005)


# --- baseball, one quote at the start of each game ----------------------------------------------


def test_baseball():
    folder = imported("mlb_closing")
    games = pd.read_csv(folder / "kalshi_history_to_2026-06-30.csv")
    bid, ask = games.close_bid / 100, games.close_ask / 100
    used = games[two_sided(bid, ask) & ((ask - bid).round(6) <= 0.1)]
    found = of(moment="first")
    assert found.coverage.eligible == len(games) == 3_477
    mid = (used.close_bid + used.close_ask) / 200
    assert_same(found, mid, used.result == "yes", used.event)


# --- early prices of six categories, which are no quotes ------------------------------------------


def test_early_prices():
    table = pd.read_csv(RECORDED / "calibration_kola" / "m4_trades.csv")
    event = table.ticker.str.rpartition("-")[0]
    codes = event.astype("category").cat.codes.to_numpy()
    assert len(table) > 7_800
    for _, own in table.groupby("category"):
        price, outcome, of = own.p.to_numpy(), own.y.to_numpy(), codes[own.index]
        curve = reliability(price, outcome, of)
        places = np.minimum(np.digitize(price.round(5), BINS[:-1]) - 1, 9)
        by_bin = own.assign(event=of).groupby(places)
        for number, each in enumerate(curve):
            assert each.count == (places == number).sum()
            if each.outcome is not None:
                assert each.price == pytest.approx(by_bin.p.mean()[number])
                assert each.outcome == pytest.approx(by_bin.y.mean()[number])
                assert each.events == by_bin.event.nunique()[number]
        found = scores(price, outcome, of)
        assert found
        assert found.brier == pytest.approx(((own.p - own.y) ** 2).mean())
        assert found.events == event[own.index].nunique()


# --- asks of sports markets before their games --------------------------------------------------


def asks_before(folder, until):
    """Return the last asks of both sides within an hour before `until` of each settled market."""
    rows = pd.read_csv(folder / "asks_with_results_2026-08-07_16.csv.gz")
    rows = rows[rows.market_result.isin(["yes", "no"])]
    eligible = rows.ticker.nunique()
    end = until(rows)
    before = rows[(rows.created_ms <= end) & (rows.created_ms > end - 3_600_000)]
    newest = before.groupby("ticker").created_ms.transform("max")
    return eligible, before[before.created_ms == newest]


def test_asks_of_sports_markets():
    folder = imported("sports_asks_cockpit")
    eligible, last = asks_before(folder, lambda rows: rows.commence_ms - 6 * 3_600_000)
    for price, side in (("ask-yes", "yes"), ("ask-no", "no")):
        found = of(moment="6h", price=price)
        assert found.coverage.eligible == eligible == 585
        asked = last[last.side == side]
        ours = asked.entry_ask_tenths / 1_000
        assert_same(found, ours, asked.market_result == side, asked.event_ticker)
    rows = pd.read_csv(folder / "asks_with_results_2026-08-07_16.csv.gz")
    rows = rows[rows.market_result.isin(["yes", "no"])].sort_values("created_ms")
    for price, side in (("ask-yes", "yes"), ("ask-no", "no")):
        first = rows[rows.side == side].groupby("ticker").first()
        ours = first.entry_ask_tenths / 1_000
        found = of(moment="first", price=price)
        assert_same(found, ours, first.market_result == side, first.event_ticker)
