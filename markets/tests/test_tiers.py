"""The recorder beside quotes: ages, status, order books, combos, raw payloads, drift."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import msgspec
import pytest

from markets.models import (
    Drift,
    HotPeriod,
    Market,
    MarketSnapshot,
    OrderBookSnapshot,
    Poll,
    Sweep,
    Tier,
)
from markets.recording.recorder import record_tick
from markets.tests.fake_exchange import market_json
from markets.tests.test_recorder import INTERVAL, tick

pytestmark = pytest.mark.django_db(transaction=True)

BOOK = {
    "yes_dollars": [["0.4000", "10.00"], ["0.4200", "100.00"]],
    "no_dollars": [["0.5000", "7.00"], ["0.5500", "12.50"]],
}


def backdate(**by: float) -> None:
    """Move all polls and sweeps into the past."""
    age = timedelta(**by)
    for row in (*Poll.objects.all(), *Sweep.objects.all()):
        row.started_at -= age
        if isinstance(row, Sweep):
            row.pages = [[page[0] - age.total_seconds(), *page[1:]] for page in row.pages]
        row.save()


def tick_again(exchange, signer=None) -> Poll:
    with exchange.client(signer) as client:
        poll = record_tick(client, interval=INTERVAL)
    assert poll is not None
    return poll


def test_the_ages_of_each_tier_are_stored_with_the_poll(exchange):
    exchange.list("KXA-1-X", "KXB-1-X", "KXC-1-X")
    assert tick(exchange).ages == {}
    after_an_hour = tick(exchange)
    assert "hot" not in after_an_hour.ages
    backdate(seconds=40)
    ages = tick_again(exchange).ages
    assert ages["hot"] == pytest.approx({"p50": 40, "p95": 40, "max": 40}, abs=3)
    assert ages["universe"] == pytest.approx({"p50": 40, "p95": 40, "max": 40}, abs=3)


def test_the_exchange_status_is_carried_over_until_it_is_fetched_again(exchange):
    exchange.list("KXA-1-X")
    exchange.trading_active = False
    assert (tick(exchange).exchange_active, Poll.objects.first().trading_active) == (True, False)
    backdate(seconds=22)
    exchange.requests.clear()
    assert tick_again(exchange).trading_active is False
    assert "/trade-api/v2/exchange/status" not in {r.url.path for r in exchange.requests}


def test_the_exchange_status_is_unknown_if_it_cannot_be_fetched(exchange):
    exchange.list("KXA-1-X")
    exchange.failing["/exchange/status"] = httpx.Response(404)
    poll = tick(exchange)
    assert (poll.exchange_active, poll.trading_active, poll.error) == (None, None, "")
    assert "status" in poll.warning


def test_a_repeated_page_makes_the_sweep_incomplete(exchange):
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
    exchange.repeats_first_page = True
    poll = tick(exchange)
    assert "second time" in poll.error
    assert Sweep.objects.newest_complete(Tier.UNIVERSE) is None
    assert poll.snapshots == 2


def test_a_failed_hot_sweep_is_recorded_as_incomplete(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.failing["/markets"] = httpx.Response(404)
    assert "hot" in tick(exchange).error
    failed = Sweep.objects.newest(Tier.HOT)
    assert (failed.complete, failed.finished_at is None) == (False, False)


def test_changes_of_the_hot_list_are_recorded(exchange, settings):
    settings.HOT_MARKETS = 1
    exchange.list("KXA-1-X", volume_24h_fp="9000.00")
    exchange.list("KXA-1-Y")
    tick(exchange)
    exchange.markets["KXA-1-Y"]["volume_24h_fp"] = "9001.00"
    exchange.markets["KXA-1-Y"]["volume_fp"] = "9001.00"
    tick(exchange)
    left, came = HotPeriod.objects.order_by("started_at")
    assert (left.market.ticker, left.ended_at is None) == ("KXA-1-X", False)
    assert (came.market.ticker, came.ended_at) == ("KXA-1-Y", None)


def test_order_books_of_hot_markets_are_written_when_they_change(exchange):
    exchange.list("KXA-1-X", "KXA-1-Y")
    exchange.books["KXA-1-X"] = BOOK
    tick(exchange)
    assert [tick(exchange).order_books, tick(exchange).order_books] == [1, 0]
    book = OrderBookSnapshot.objects.get()
    assert book.market.ticker == "KXA-1-X"
    assert book.bid_prices == [Decimal("0.42"), Decimal("0.40")]
    assert book.bid_sizes == [100, 10]
    assert book.ask_prices == [Decimal("0.45"), Decimal("0.50")]
    assert book.ask_sizes == [Decimal("12.5"), 7]
    exchange.books["KXA-1-X"] = {"yes_dollars": [], "no_dollars": []}
    tick(exchange)
    tick(exchange)
    assert OrderBookSnapshot.objects.last().bid_prices == []


def test_with_a_key_order_books_are_fetched_in_one_request(exchange, signer):
    exchange.list("KXA-1-X", "KXA-1-Y")
    exchange.books |= {"KXA-1-X": BOOK, "KXA-1-Y": BOOK}
    tick(exchange)
    backdate(hours=1)
    exchange.requests.clear()
    assert tick_again(exchange, signer).order_books == 2
    assert [r.url.path for r in exchange.requests if "book" in r.url.path] == [
        "/trade-api/v2/markets/orderbooks"
    ]


def test_combos_are_recorded_only_on_request(exchange, settings):
    exchange.combos = ["KXMVESPORTS-1"]
    tick(exchange)
    assert not Market.objects.exists()
    settings.RECORD_COMBOS = True
    tick(exchange)
    assert Market.objects.get().ticker == "KXMVESPORTS-1-X"


def test_the_payload_of_every_snapshot_is_kept_for_a_while(exchange, settings):
    exchange.list("KXA-1-X")
    tick(exchange)
    payload = MarketSnapshot.objects.get().raw_payload
    assert payload is not None
    assert msgspec.json.decode(payload)["yes_bid_dollars"] == "0.4200"
    settings.RAW_PAYLOAD_HOURS = 0
    exchange.quote("KXA-1-X", "0.4300", "0.4500")
    assert tick(exchange).snapshots == 1
    assert MarketSnapshot.objects.newest().raw_payload is None


def test_an_unknown_field_an_unknown_word_and_an_old_shape_are_drift(exchange):
    exchange.list("KXA-1-X", status="resting", some_new_field=7)
    exchange.list("KXA-1-Y")
    exchange.markets["KXA-1-Y"]["yes_bid_dollars"] = 42
    tick(exchange)
    by_kind = {drift.kind: drift for drift in Drift.objects.all()}
    assert by_kind["field"].where == "market.some_new_field"
    assert by_kind["field"].sample == "7"
    assert by_kind["word"].where == "market.status=resting"
    assert "yes_bid_dollars" in by_kind["shape"].where
    first, counted = by_kind["shape"].first_seen_at, by_kind["shape"].count
    tick(exchange)
    seen_again = Drift.objects.get(kind="shape")
    assert seen_again.count > counted
    assert (seen_again.first_seen_at, seen_again.last_seen_at > first) == (first, True)


def test_a_market_of_the_current_contract_is_no_drift(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    assert not Drift.objects.exists()


def test_there_are_no_ages_against_a_sweep_without_pages():
    sweep = Sweep(tier=Tier.HOT, started_at=datetime.now(UTC), pages=[[100.0, 3, ""]])
    assert sweep.ages_against(Sweep(pages=[]), of=range(1)) == []


def test_a_listing_that_lost_half_of_its_markets_is_complete_only_the_second_time(exchange):
    exchange.list("KXA-1-X", "KXB-1-X", "KXC-1-X")
    tick(exchange)
    exchange.markets.clear()
    complete = []
    for _ in range(2):
        tick(exchange)
        complete.append(Sweep.objects.newest(Tier.UNIVERSE).complete)
    assert complete == [False, True]


def test_a_changed_definition_that_was_refused_is_asked_for_until_it_can_be_read(exchange):
    exchange.list("KXA-1-X")
    ended = {"status": "finalized", "result": "yes", "settlement_ts": "2026-11-20T12:00:00Z"}
    exchange.updates = [market_json("KXB-1-X", **ended, yes_bid_dollars=42)]
    tick(exchange)
    exchange.historical["KXB-1-X"], exchange.updates = exchange.updates[0], []
    for _ in range(2):
        tick(exchange)
        assert Sweep.objects.newest(Tier.UPDATES).skipped == ["KXB-1-X"]
    exchange.historical["KXB-1-X"]["yes_bid_dollars"] = "0.4200"
    tick(exchange)
    assert Market.objects.get(ticker="KXB-1-X").result == "yes"
    assert Sweep.objects.newest(Tier.UPDATES).skipped == []


def test_a_reply_that_has_a_market_twice_with_two_quotes_is_drift(exchange):
    twice = market_json("KXB-1-X"), market_json("KXB-1-X", yes_bid_dollars="0.4100")
    exchange.updates = [twice[0], twice[0]]
    tick(exchange)
    assert not Drift.objects.filter(kind="shape").exists()
    exchange.updates = list(twice)
    tick(exchange)
    assert Drift.objects.get(kind="shape").where == (
        "market.$.ticker: one reply has it twice, and differently"
    )
