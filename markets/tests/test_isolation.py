"""One object's fault costs that object: in texts that are no JSON, and in replies never given."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from markets.kalshi import splitting
from markets.kalshi.errors import ServerError, Unintelligible
from markets.models import (
    Drift,
    Event,
    Market,
    MarketSnapshot,
    OrderBookSnapshot,
    Poll,
    Series,
    Sweep,
    Tier,
)
from markets.recording import listings
from markets.recording.reference import refresh_series
from markets.tests.fake_exchange import Exchange, market_json
from markets.tests.test_recorder import tick
from markets.tests.test_tiers import BOOK, backdate, tick_again

SURROGATE, CONTROL, NUL, ESCAPE = "\\ud83d", "\x02", "\0", "\\x"
FAULTS = pytest.mark.parametrize("fault", [SURROGATE, CONTROL, NUL, ESCAPE])
pytestmark = pytest.mark.django_db(transaction=True)


def recorded() -> set[str]:
    return set(Market.objects.values_list("ticker", flat=True))


def last_universe() -> Sweep:
    return Sweep.objects.filter(tier=Tier.UNIVERSE, complete=True).latest("id")


def ticks(exchange: Exchange, count: int) -> Poll:
    """Run so many ticks; an interval without a good tick would end a sweep as abandoned."""
    for _ in range(count):
        poll = tick(exchange, keep_sweeps=True)
    return poll


@FAULTS
class TestTexts:
    """One market's title holds what makes the JSON of the whole reply invalid."""

    def spoil(self, exchange: Exchange, ticker: str, fault: str) -> None:
        exchange.markets[ticker]["title"] = f"A FAULT in {ticker}"
        exchange.garbled["A FAULT"] = fault

    def test_the_pages_of_the_universe_lose_that_market_alone(self, exchange, fault):
        exchange.list("KXA-1-X", "KXA-1-Y", "KXB-1-X", "KXC-1-X", "KXD-1-X")
        self.spoil(exchange, "KXA-1-Y", fault)
        poll = tick(exchange)
        assert recorded() == {"KXA-1-X", "KXB-1-X", "KXC-1-X", "KXD-1-X"}
        assert (poll.error, poll.rejected, poll.rejects[0]["ticker"]) == ("", 1, "KXA-1-Y")
        assert Sweep.objects.newest_complete(Tier.UNIVERSE).skipped == ["KXA-1-Y"]
        assert Drift.objects.get(kind="shape").where.startswith("market.")

    def test_the_hot_list_and_the_census_lose_that_market_alone(self, exchange, fault):
        exchange.list("KXA-1-X", "KXA-1-Y", "KXA-1-Z")
        tick(exchange)
        self.spoil(exchange, "KXA-1-Y", fault)
        for ticker in exchange.markets:
            exchange.quote(ticker, "0.1000", "0.2000")
        exchange.failing["/events"] = httpx.Response(503)
        tick(exchange)
        bids = dict(Market.objects.values_list("ticker", "yes_bid"))
        moved, stayed = Decimal("0.1"), Decimal("0.42")
        assert bids == {"KXA-1-X": moved, "KXA-1-Y": stayed, "KXA-1-Z": moved}
        assert set(Market.objects.values_list("status", flat=True)) == {"active"}

    def test_a_settlement_is_recorded_beside_it(self, exchange, fault):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        Market.objects.update(close_time=datetime.now(UTC) - timedelta(minutes=1), is_hot=False)
        exchange.markets["KXA-1-X"] |= {"status": "finalized", "result": "yes"}
        exchange.failing["/events"] = httpx.Response(503)
        self.spoil(exchange, "KXA-1-Y", fault)
        tick(exchange)
        assert Market.objects.get(ticker="KXA-1-X").result == "yes"

    def test_updates_are_recorded_beside_it(self, exchange, fault):
        exchange.updates += [market_json("KXA-1-X"), market_json("KXA-1-Y", title="A FAULT")]
        exchange.garbled["A FAULT"] = fault
        tick(exchange)
        assert recorded() == {"KXA-1-X"}

    def test_an_event_s_own_fault_does_not_stop_the_quotes_of_its_markets(self, exchange, fault):
        exchange.list("KXA-1-X", "KXB-1-X")
        tick(exchange)
        exchange.garbled["What of KXA-1?"] = fault
        exchange.quote("KXA-1-X", "0.1000", "0.2000")
        Market.objects.update(is_hot=False)
        poll = tick(exchange)
        assert Market.objects.get(ticker="KXA-1-X").yes_bid == Decimal("0.1")
        assert poll.rejects[0]["ticker"] == "KXA-1"
        assert Event.objects.get(ticker="KXA-1").title == "What of KXA-1?"

    def test_a_series_keeps_its_old_record_and_the_others_get_theirs(self, exchange, fault):
        exchange.list("KXA-1-X", "KXB-1-X")
        tick(exchange)
        exchange.garbled["Series KXA"] = fault
        with exchange.client() as client:
            refresh_series(client)
        titles = dict(Series.objects.values_list("ticker", "title"))
        assert titles == {"KXA": "", "KXB": "Series KXB"}
        assert Sweep.objects.get(tier=Tier.SERIES).skipped == ["KXA"]

    def test_a_page_keeps_its_items_and_its_cursor(self, exchange, fault):
        exchange.list("KXA-1-X", "KXB-1-X", "KXC-1-X")
        self.spoil(exchange, "KXB-1-X", fault)
        with exchange.client() as client:
            page = client.markets(status="open")
        assert [splitting.text_member(raw, "ticker") for raw in page.items] == [
            "KXA-1-X",
            "KXB-1-X",
        ]
        assert page.cursor == "2"


def test_a_reply_that_ends_too_early_is_not_taken_for_a_short_one(exchange):
    cut = httpx.Response(200, text='{"markets": [{"ticker": "KXA-1-X"}, {"ticker')
    exchange.failing["/markets"] = cut
    with exchange.client() as client, pytest.raises(Unintelligible):
        client.markets(status="open")


@pytest.mark.parametrize("text", ["", "oops", 'oops "x"', "<html>{}</html>", '{"error": "\x02"}'])
def test_what_is_no_list_at_all_is_not_taken_for_an_empty_one(exchange, text):
    exchange.failing["/markets"] = httpx.Response(200, text=text)
    with exchange.client() as client, pytest.raises(Unintelligible):
        client.markets(status="open")


def test_a_field_that_is_no_utf8_does_not_lose_the_run(exchange):
    exchange.list("KXA-1-X", some_new_field="NEW", other="OTHER")
    exchange.list("KXA-1-Y")
    tick(exchange)
    exchange.quote("KXA-1-X", "0.1000", "0.2000")
    broken = exchange.answer(httpx.Request("GET", "http://exchange.test/trade-api/v2/events"))
    content = broken.content.replace(b"NEW", b"\xff").replace(b"other", b"oth\xff")
    exchange.failing["/events"] = httpx.Response(200, content=content)
    Market.objects.update(is_hot=False)
    poll = tick(exchange)
    assert (poll.error, poll.snapshots) == ("", 1)
    kept = MarketSnapshot.objects.latest("timestamp").raw_data
    assert kept
    assert "KXA-1-X" in kept[""]


class TestNoReply:
    """Every reply with one certain object fails with status 500."""

    def test_a_hot_market_costs_itself(self, exchange):
        exchange.list(*(f"KXA-1-{n}" for n in range(9)))
        tick(exchange)
        exchange.poison = {"KXA-1-3"}
        exchange.failing["/events"] = httpx.Response(404)
        ticks(exchange, 3)
        for ticker in exchange.markets:
            exchange.quote(ticker, "0.1000", "0.2000")
        exchange.requests.clear()
        poll = ticks(exchange, 1)
        assert poll.rejects[0]["ticker"] == "KXA-1-3"
        assert "hot" not in poll.error
        late = Market.objects.exclude(yes_bid="0.1")
        assert [market.ticker for market in late] == ["KXA-1-3"]
        # The culprit is remembered: the others in one request, it in another.
        requested = [r for r in exchange.requests if "tickers" in r.url.params]
        assert len([r for r in requested if r.url.path.endswith("v2/markets")]) <= 4

    def test_a_settlement_behind_it_is_recorded(self, exchange):
        exchange.list(*(f"KXA-1-{n}" for n in range(5)))
        tick(exchange)
        Market.objects.update(close_time=datetime.now(UTC) - timedelta(minutes=1), is_hot=False)
        for ticker in exchange.markets:
            exchange.markets[ticker] |= {"status": "finalized", "result": "yes"}
        exchange.poison = {"KXA-1-0"}
        exchange.failing["/events"] = httpx.Response(404)
        ticks(exchange, 4)
        unsettled = Market.objects.exclude(status="finalized")
        assert [market.ticker for market in unsettled] == ["KXA-1-0"]
        assert Market.objects.get(ticker="KXA-1-0").status == "active"

    @pytest.mark.parametrize("culprit", ["KXA-1-X", "KXC-1-X", "KXF-1-X"])
    def test_the_universe_goes_on_behind_a_market(self, exchange, culprit):
        exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
        exchange.poison = {culprit}
        ticks(exchange, 3)
        assert recorded() == exchange.markets.keys() - {culprit}
        sweep = last_universe()
        assert (sweep.skipped, sweep.by_market) == ([culprit.removesuffix("-X")], False)

    def test_the_siblings_of_a_market_are_kept(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y", "KXB-1-X")
        tick(exchange)
        exchange.poison = {"KXA-1-Y"}
        exchange.quote("KXA-1-X", "0.1000", "0.2000")
        Market.objects.update(is_hot=False)
        ticks(exchange, 3)
        assert Market.objects.get(ticker="KXA-1-X").yes_bid == Decimal("0.1")
        assert last_universe().skipped == ["KXA-1-Y"]

    def test_a_known_culprit_costs_no_run_any_more(self, exchange):
        exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
        exchange.poison = {"KXC-1-X"}
        ticks(exchange, 3)
        assert [ticks(exchange, 1).error for _ in range(3)] == ["", "", ""]

    def test_the_combos_go_on_behind_one(self, exchange, settings):
        settings.RECORD_COMBOS = True
        exchange.combos = [f"KXMVE-{n}" for n in range(5)]
        exchange.poison = {"KXMVE-2-X"}
        ticks(exchange, 3)
        assert recorded() == {f"KXMVE-{n}-X" for n in (0, 1, 3, 4)}

    def test_the_universe_goes_on_behind_an_event(self, exchange):
        exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
        exchange.poison = {"What of KXC-1?"}
        warnings = [ticks(exchange, 1).warning for _ in range(4)]
        assert recorded() == exchange.markets.keys() - {"KXC-1-X"}
        assert any("the markets are listed instead of the events" in each for each in warnings)
        assert {r["ticker"] for poll in Poll.objects.all() for r in poll.rejects} == {"KXC-1"}
        assert last_universe().by_market

    @pytest.mark.parametrize("has_key", [True, False])
    def test_an_order_book_costs_itself(self, exchange, signer, has_key):
        exchange.list(*(f"KXA-1-{n}" for n in range(6)))
        exchange.books |= dict.fromkeys(exchange.markets, BOOK)
        tick(exchange)
        exchange.failing["/markets/KXA-1-5/orderbook"] = httpx.Response(500)
        exchange.poison, exchange.poisoned_path = {"KXA-1-5"}, "/orderbooks"
        for _ in range(6):
            backdate(seconds=40)
            tick_again(exchange, signer if has_key else None)
        books = set(OrderBookSnapshot.objects.values_list("market__ticker", flat=True))
        assert books == exchange.markets.keys() - {"KXA-1-5"}
        sweeps = Sweep.objects.filter(tier=Tier.ORDER_BOOKS, complete=True)
        # A slow machine may also leave others to the next run.
        assert "KXA-1-5" in sweeps.latest("id").skipped

    def test_a_new_series_is_read_although_the_list_of_all_fails(self, exchange):
        exchange.list("KXA-1-X", "KXB-1-X")
        tick(exchange)
        exchange.poison, exchange.poisoned_path = {"KXA"}, "/series"
        with exchange.client() as client, pytest.raises(ServerError):
            refresh_series(client)
        titles = dict(Series.objects.values_list("ticker", "title"))
        assert titles == {"KXA": "", "KXB": "Series KXB"}

    def test_an_exchange_that_fails_as_a_whole_accuses_nobody(self, exchange):
        exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
        ticks(exchange, 1)
        exchange.failing |= dict.fromkeys(("/events", "/markets"), httpx.Response(503))
        polls = [ticks(exchange, 1) for _ in range(4)]
        assert [poll.rejected for poll in polls] == [0, 0, 0, 0]
        assert all("hot: " in poll.error and "universe: " in poll.error for poll in polls)
        assert Market.objects.open().count() == 6
        exchange.failing.clear()
        poll = ticks(exchange, 2)
        assert (poll.error, Sweep.objects.newest(Tier.HOT).skipped) == ("", [])

    def test_a_page_grows_again_behind_the_culprit(self, exchange, monkeypatch):
        monkeypatch.setattr(listings, "EVENTS_PER_PAGE", 20)
        exchange.list(*(f"KXA-{n:02}-X" for n in range(20)))
        exchange.poison = {"KXA-04-X"}
        ticks(exchange, 4)
        limits = [
            int(r.url.params["limit"]) for r in exchange.requests if r.url.path.endswith("events")
        ]
        assert min(limits) == 1
        assert last_universe().page_size is None
        assert limits[-1] == 20
        assert recorded() == exchange.markets.keys() - {"KXA-04-X"}
