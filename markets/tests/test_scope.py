"""Settings that name series or categories narrow everything that is recorded, trades included."""

from datetime import UTC, datetime, timedelta

import pytest

from markets.intervals import Interval
from markets.models import Event, Market, Series, TapeSpan, Trade, WaitingTrade
from markets.recording.scope import scope
from markets.tests.fake_exchange import market_json
from markets.tests.test_recorder import tick
from markets.tests.test_tape import tickers_of_trades

NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    """Let trades come while a test runs, however long after the others that is."""
    monkeypatch.setattr(f"{__name__}.NOW", datetime.now(UTC))


@pytest.fixture(autouse=True)
def fresh_scope():
    scope.forget()
    yield
    scope.forget()


def test_only_the_named_series_are_recorded(exchange, settings):
    settings.RECORD_SERIES = frozenset({"KXA"})
    exchange.list("KXA-1-X", "KXB-1-X")
    exchange.updates.append(market_json("KXC-1-X"))
    tick(exchange)
    tick(exchange)
    assert list(Market.objects.values_list("ticker", flat=True)) == ["KXA-1-X"]
    assert list(Event.objects.values_list("ticker", flat=True)) == ["KXA-1"]


def test_their_trades_are_kept_and_those_of_others_do_not_wait(exchange, settings):
    settings.RECORD_SERIES = frozenset({"KXA"})
    exchange.list("KXA-1-X", "KXB-1-X")
    tick(exchange)
    exchange.tape.add(1, NOW, "KXB-1-X")
    exchange.tape.add(2, NOW + SECOND, "KXA-1-X")
    tick(exchange)
    assert not WaitingTrade.objects.exists()
    exchange.requests.clear()
    exchange.tape.add(3, NOW + 2 * SECOND, "KXB-1-X")
    tick(exchange)
    assert tickers_of_trades() == ["KXA-1-X"]
    assert not [r for r in exchange.requests if "KXB-1-X" in str(r.url)]
    assert not Market.objects.filter(ticker="KXB-1-X").exists()


def test_a_market_has_a_tape_from_when_it_was_in_scope(exchange, settings):
    settings.RECORD_SERIES = frozenset({"KXA"})
    exchange.list("KXA-1-X", "KXB-1-X")
    tick(exchange)
    for n in range(1, 21):
        if n == 11:
            tick(exchange)
            settings.RECORD_SERIES = frozenset()
            scope.forget()
        exchange.tape.add(n, NOW + n * SECOND, "KXA-1-X" if n % 2 else "KXB-1-X")
    tick(exchange)
    tick(exchange)
    ids = Market.objects.ids(["KXA-1-X", "KXB-1-X"])
    window = Interval(NOW - HOUR, NOW + HOUR)
    whole = TapeSpan.objects.whole_for(list(ids.values()), list(ids), window, known_by=NOW + HOUR)
    times = {tuple(list(ids)[place] for place in each.places): each.times for each in whole}
    first, end = NOW + SECOND, NOW + 20 * SECOND
    assert times[("KXA-1-X",)] == [Interval(first, NOW + 10 * SECOND)]
    # The last ten seconds of the walk before are read again.
    [of_both] = times[("KXA-1-X", "KXB-1-X")]
    assert first <= of_both.start < NOW + 10 * SECOND
    assert of_both.end == end
    kept = Trade.objects.filter(market__ticker="KXB-1-X", created_time__gte=of_both.start)
    expected = [n for n in range(2, 21, 2) if of_both.start <= NOW + n * SECOND]
    assert kept.count() == len(expected)


def test_a_category_comes_from_the_series(exchange, settings):
    settings.RECORD_CATEGORIES = frozenset({"Climate"})
    Series.objects.create(ticker="KXA", category="Climate", refreshed_at=NOW)
    Series.objects.create(ticker="KXB", category="Sports", refreshed_at=NOW)
    exchange.list("KXA-1-X", "KXB-1-X", "KXNEW-1-X")
    tick(exchange)
    assert list(Market.objects.values_list("ticker", flat=True)) == ["KXA-1-X"]
    # A new series is read soon, and then its category decides.
    assert list(Series.objects.unread().values_list("ticker", flat=True)) == ["KXNEW"]
    Series.objects.filter(ticker="KXNEW").update(category="Climate", refreshed_at=NOW)
    scope.forget()
    tick(exchange)
    assert Market.objects.filter(ticker="KXNEW-1-X").exists()


def test_names_that_the_exchange_does_not_have_are_a_warning(exchange, settings):
    settings.RECORD_SERIES = frozenset({"kxa"})
    settings.RECORD_CATEGORIES = frozenset({"Climate", "climate"})
    Series.objects.create(ticker="KXA", category="Climate", refreshed_at=NOW)
    exchange.list("KXA-1-X")
    warning = tick(exchange).warning
    assert "RECORD_SERIES: the exchange has no series kxa" in warning
    assert "RECORD_CATEGORIES: the exchange has no category climate" in warning
    assert "Climate;" not in warning


def test_what_is_on_record_and_outside_is_not_followed_any_more(exchange, settings):
    exchange.list("KXA-1-X", "KXB-1-X")
    tick(exchange)
    settings.RECORD_SERIES = frozenset({"KXB"})
    exchange.quote("KXA-1-X", "0.1000", "0.2000")
    exchange.quote("KXB-1-X", "0.1000", "0.2000")
    assert Market.objects.hot_tickers() == ["KXB-1-X"]
    assert tick(exchange).snapshots == 1
    assert Market.objects.filter(is_hot=True).get().ticker == "KXB-1-X"
