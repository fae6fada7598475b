"""Looks that the pages of a recorder prove, market by market."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import connection

from markets.models import HotPeriod, Market, MarketSnapshot, Poll, Sweep, Tier, Watch
from markets.models.observations import instant, microseconds
from markets.observed import ObservedInstants
from markets.pages.contents import encode_page
from markets.recording.recorder import run
from markets.recording.shown import memory
from markets.tests.factories import a_market, a_poll, a_sweep, observe
from markets.tests.fake_exchange import Exchange

pytestmark = pytest.mark.django_db(transaction=True)

# Long enough that no tier's turn ends early on a machine that is busy with other tests.
INTERVAL = 20.0
SECOND = timedelta(seconds=1)
LISTINGS = ("/events", "/events/multivariate")


class Looking(Exchange):
    """An exchange that notes which quotes it has sent, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[datetime, set[str]]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        response = super().answer(request)
        path = request.url.path.removeprefix("/trade-api/v2")
        is_listing = path in LISTINGS and "tickers" not in request.url.params
        is_quoted = path == "/markets" and "min_updated_ts" not in request.url.params
        if response.status_code == httpx.codes.OK and (is_quoted or is_listing):
            content = msgspec.json.decode(response.content, strict=False)
            quoted = [*content.get("markets", ())]
            quoted += [m for event in content.get("events", ()) for m in event["markets"]]
            self.sent.append((datetime.now(UTC), {market["ticker"] for market in quoted}))
        return response


@pytest.fixture
def exchange() -> Looking:
    return Looking()


@pytest.fixture(autouse=True)
def _often(settings) -> None:
    # A sweep of the universe begins with every run.
    settings.UNIVERSE_INTERVAL, settings.POLL_INTERVAL = 0, 5


def tick(exchange: Exchange) -> Poll:
    poll = Poll.objects.create(started_at=datetime.now(UTC))
    with exchange.client() as client:
        run(poll, client, interval=INTERVAL)
    return poll


def observed(*tickers: str, known_by: datetime | None = None) -> ObservedInstants:
    ids = Market.objects.ids(tickers)
    now = datetime.now(UTC)
    around = (now - timedelta(minutes=30), now + SECOND)
    return Sweep.objects.observed([ids[t] for t in tickers], *around, known_by=known_by or now)


def looks(ticker: str, known_by: datetime | None = None) -> list[int]:
    instants: list[int] = observed(ticker, known_by=known_by).of_market(0).tolist()
    return instants


def newest_replies(exchange: Looking, ticker: str) -> list[tuple[int, int]]:
    """For each run, when the last reply with the market was sent, and when the next one was."""
    found = {}
    times = [at for at, _ in exchange.sent]
    starts = list(Poll.objects.order_by("id").values_list("started_at", flat=True))
    for began, ended in pairwise([*starts, datetime.now(UTC)]):
        for n, (at, tickers) in enumerate(exchange.sent):
            if ticker in tickers and began <= at <= ended:
                after = times[n + 1] if n + 1 < len(times) else datetime.now(UTC)
                found[began] = microseconds(at), microseconds(max(after, at + SECOND / 5))
    return list(found.values())


def check(exchange: Looking, ticker: str) -> None:
    replies, own = newest_replies(exchange, ticker), looks(ticker)
    assert len(own) == len(replies)
    assert all(sent <= at <= after for at, (sent, after) in zip(own, replies, strict=True))


def test_every_run_that_showed_a_market_observed_it_changed_or_not(exchange):
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDE"))
    for _ in range(4):
        tick(exchange)
    for ticker in exchange.markets:
        check(exchange, ticker)
    assert MarketSnapshot.objects.count() == 5


def test_one_run_gives_a_market_one_observation_the_newest(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    tick(exchange)
    both = observed("KXA-1-X")
    # The second run asked for the market by name, too.
    assert len(both.instants) == 3
    assert len(looks("KXA-1-X")) == 2
    runs = list(Poll.objects.order_by("id").values_list("id", flat=True))
    assert sorted(both.runs.tolist()) == [runs[0], runs[1], runs[1]]


def test_the_observation_of_a_run_is_the_instant_of_its_row(exchange):
    exchange.list("KXA-1-X", "KXB-1-X", "KXC-1-X")
    for bid in range(3):
        exchange.quote("KXB-1-X", f"0.1{bid}00", "0.5000")
        tick(exchange)
    rows = MarketSnapshot.objects.filter(market__ticker="KXB-1-X").order_by("timestamp")
    assert looks("KXB-1-X") == [microseconds(row.timestamp) for row in rows]


def test_a_quote_that_was_another_for_a_moment_leaves_a_row(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    answered = exchange.answer

    def answer(request: httpx.Request) -> httpx.Response:
        by_ticker = "tickers" in request.url.params
        exchange.quote("KXA-1-X", "0.1000" if by_ticker else "0.4200", "0.4500")
        response: httpx.Response = answered(request)
        return response

    exchange.answer = answer
    tick(exchange)
    bids = MarketSnapshot.objects.order_by("timestamp").values_list("yes_bid", flat=True)
    assert [f"{bid:.2f}" for bid in bids] == ["0.42", "0.42"]


def test_what_was_refused_was_not_observed_and_its_siblings_were(exchange):
    exchange.list("KXA-1-X", "KXA-1-Y")
    tick(exchange)
    exchange.markets["KXA-1-Y"]["yes_bid_dollars"] = 42
    tick(exchange)
    assert [len(looks(f"KXA-1-{each}")) for each in "XY"] == [2, 1]
    exchange.markets["KXA-1-Y"]["yes_bid_dollars"] = "0.4200"
    tick(exchange)
    assert [len(looks(f"KXA-1-{each}")) for each in "XY"] == [3, 2]


def test_a_sweep_that_does_not_end_proves_the_pages_that_came(exchange):
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
    tick(exchange)
    Market.objects.update(is_hot=False)
    exchange.pages_left, exchange.status_afterwards = 2, 404
    tick(exchange)
    assert not Sweep.objects.newest(Tier.UNIVERSE).complete
    assert [len(looks(f"KX{letter}-1-X")) for letter in "ABCDEF"] == [2, 2, 2, 2, 1, 1]


def test_an_event_that_left_the_listing_is_not_observed_any_more(exchange):
    exchange.list("KXA-1-X", "KXB-1-X", "KXC-1-X")
    tick(exchange)
    gone = exchange.markets.pop("KXB-1-X")
    tick(exchange)
    assert [len(looks(f"KX{letter}-1-X")) for letter in "ABC"] == [2, 1, 2]
    exchange.markets["KXB-1-X"] = gone
    tick(exchange)
    assert [len(looks(f"KX{letter}-1-X")) for letter in "ABC"] == [3, 2, 3]


def test_a_market_is_observed_by_name_while_it_is_on_the_list(exchange, settings):
    settings.HOT_MARKETS = 1
    exchange.list("KXA-1-X", volume_24h_fp="9000.00")
    exchange.list("KXA-1-Y")
    tick(exchange)
    # From now on only the hot list is read.
    settings.UNIVERSE_INTERVAL = 3600
    tick(exchange)
    tick(exchange)
    watcher = User.objects.create(username="ada")
    watch = Watch.objects.create(user=watcher, market=Market.objects.get(ticker="KXA-1-Y"))
    tick(exchange)
    assert [len(looks(f"KXA-1-{each}")) for each in "XY"] == [4, 2]
    watch.delete()
    tick(exchange)
    assert [len(looks(f"KXA-1-{each}")) for each in "XY"] == [5, 2]


def test_a_hot_market_that_never_answers_costs_the_others_nothing(exchange):
    exchange.list(*(f"KXA-1-{n}" for n in range(6)))
    tick(exchange)
    exchange.poison = {"KXA-1-3"}
    for _ in range(3):
        tick(exchange)
    for ticker in exchange.markets:
        check(exchange, ticker)


def test_markets_that_are_listed_instead_of_events_are_observed(exchange):
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
    exchange.poison = {"What of KXC-1?"}
    for _ in range(5):
        tick(exchange)
    assert Sweep.objects.filter(tier=Tier.UNIVERSE, by_market=True).exists()
    for ticker in exchange.markets:
        if Market.objects.filter(ticker=ticker).exists():
            check(exchange, ticker)


def test_a_market_beside_a_culprit_is_observed_when_it_came(exchange):
    exchange.list("KXA-1-X", "KXA-1-Y", "KXB-1-X")
    tick(exchange)
    Market.objects.update(is_hot=False)
    exchange.poison = {"KXA-1-Y"}
    for _ in range(3):
        tick(exchange)
    for ticker in exchange.markets:
        check(exchange, ticker)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_sweep_of_many_runs_is_told_whatever_its_process_remembers(
    exchange, forgets, monkeypatch
):
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
    tick(exchange)
    for _ in range(3):
        # The exchange counts too many requests in the middle of each sweep.
        exchange.pages_left, exchange.status_afterwards = 1, 429
        tick(exchange)
        exchange.pages_left = None
        if forgets:
            monkeypatch.setattr(memory, "_newest", {})
        tick(exchange)
    for ticker in exchange.markets:
        check(exchange, ticker)


def test_a_run_that_was_not_written_proves_nothing(exchange):
    exchange.list("KXA-1-X", "KXB-1-X")
    tick(exchange)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE markets_sweep ADD CONSTRAINT broken CHECK (false) NOT VALID")
        assert "IntegrityError" in tick(exchange).error
        cursor.execute("ALTER TABLE markets_sweep DROP CONSTRAINT broken")
    tick(exchange)
    assert len(looks("KXA-1-X")) == 2


def test_unchanged_sweeps_take_no_room_but_for_their_instants(exchange):
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
    for _ in range(4):
        tick(exchange)
    universe = Sweep.objects.filter(tier=Tier.UNIVERSE).order_by("id")
    sizes = [len(bytes(sweep.contents or b"")) for sweep in universe]
    # A new hour begins with all names, which may have happened meanwhile.
    assert sizes[0] > 0
    assert sizes.count(0) >= 2


def test_nothing_is_known_of_later_pages(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    between = datetime.now(UTC)
    tick(exchange)
    assert len(observed("KXA-1-X", known_by=between).of_market(0)) == 1


def test_pages_are_known_when_the_rows_of_their_run_are(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.quote("KXA-1-X", "0.1000", "0.5000")
    run_under_way = tick(exchange)
    rows = MarketSnapshot.objects.order_by("timestamp")
    received, written = rows[1].timestamp, rows[1].recorded_at + SECOND
    Poll.objects.filter(pk=run_under_way.pk).update(finished_at=written)
    for known_by in (received, rows[1].recorded_at - timedelta(microseconds=1)):
        known = looks("KXA-1-X", known_by=known_by)
        assert known == [microseconds(row.timestamp) for row in rows[:1]]
    known = looks("KXA-1-X", known_by=written)
    assert known == [microseconds(row.timestamp) for row in rows]


def test_a_run_that_was_killed_hides_nothing(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    now = datetime.now(UTC)
    Poll.objects.create(started_at=now - 20 * SECOND)
    assert len(looks("KXA-1-X", known_by=now)) == 1


def test_a_market_that_is_not_on_record_is_refused(exchange):
    now = datetime.now(UTC)
    with pytest.raises(ValueError, match=r"^ids: "):
        Sweep.objects.observed([1], now - SECOND, now, known_by=now)


class TestOlderSweeps:
    """Sweeps from before pages stored what they showed."""

    START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

    def at(self, seconds: float) -> datetime:
        return self.START + timedelta(seconds=seconds)

    def looks(self, market: Market, first: float = 0, last: float = 180) -> list[float]:
        now = datetime.now(UTC)
        found = Sweep.objects.observed(
            [market.pk], self.at(first), self.at(last), known_by=now
        ).of_market(0)
        return [(instant(int(at)) - self.START).total_seconds() for at in found]

    def pages(self, *pages: tuple[float, str]) -> list[tuple[float, int, str]]:
        return [(self.at(second).timestamp(), 1, first) for second, first in pages]

    def test_the_end_of_a_complete_sweep_observed_whom_it_did_not_skip(self):
        market, other = a_market("KXA-1-X"), a_market("KXB-1-X")
        for each in (market, other):
            observe(each, self.at(-60), "0.42", "0.45")
        a_sweep(Tier.UNIVERSE, self.at(0), pages=self.pages((1, "KXC-1"), (9, "KXD-1")))
        a_sweep(Tier.UNIVERSE, self.at(30), pages=self.pages((31, "KXC-1")), complete=False)
        a_sweep(Tier.UNIVERSE, self.at(60), pages=self.pages((65, "KXC-1")), skipped=["KXA-1"])
        a_sweep(Tier.UNIVERSE, self.at(90), pages=self.pages((95, "KXC-1")), skipped=["KXA-1-X"])
        assert self.looks(market) == [9]
        assert self.looks(other) == [9, 65, 95]

    def test_the_page_that_an_event_begins_observed_it(self):
        market = a_market("KXA-1-X")
        observe(market, self.at(-60), "0.42", "0.45")
        a_sweep(Tier.UNIVERSE, self.at(0), pages=self.pages((1, "KXA-1"), (9, "KXD-1")))
        a_sweep(Tier.UNIVERSE, self.at(30), pages=self.pages((31, "KXC-1"), (39, "KXD-1")))
        a_sweep(Tier.UNIVERSE, self.at(60), pages=self.pages((61, "KXC-1"), (65, "KXA-1-X")))
        assert self.looks(market) == [1, 39, 65]

    def test_sweeps_of_the_hot_list_observed_those_that_were_hot(self):
        market = a_market("KXA-1-X")
        HotPeriod.objects.create(market=market, started_at=self.at(4), ended_at=self.at(16))
        for second in range(0, 30, 5):
            a_sweep(Tier.HOT, self.at(second), pages=self.pages((second + 0.5, "")))
        assert self.looks(market) == [5.5, 10.5, 15.5]

    def test_a_clock_that_stepped_back_loses_no_sweep(self):
        market = a_market("KXA-1-X")
        HotPeriod.objects.create(market=market, started_at=self.at(-900))
        for second in (0, 5, 3, 8):
            a_sweep(Tier.HOT, self.at(second), pages=self.pages((second + 0.5, "")))
        assert self.looks(market) == [0.5, 3.5, 5.5, 8.5]

    def test_a_market_without_a_heartbeat_was_not_listed(self):
        market = a_market("KXA-1-X")
        observe(market, self.at(0), "0.42", "0.45")
        for second in range(0, 3_600, 30):
            a_sweep(Tier.UNIVERSE, self.at(second - 3600), pages=self.pages((second - 3600, "KXB")))
        assert self.looks(market, -3600, 0) == []

    def test_runs_are_known_by_their_instants(self):
        market = a_market("KXA-1-X")
        HotPeriod.objects.create(market=market, started_at=self.at(-900))
        polls = [a_poll(self.at(second)) for second in (0, 5)]
        for second in (0.1, 0.7, 5.1):
            a_sweep(Tier.HOT, self.at(second), pages=self.pages((second, "")))
        found = Sweep.objects.observed(
            [market.pk], self.at(0), self.at(60), known_by=datetime.now(UTC)
        )
        assert found.runs.tolist() == [polls[0].pk, polls[0].pk, polls[1].pk]
        assert self.looks(market) == [0.7, 5.1]


def test_streams_are_shared_by_the_markets_of_a_page(exchange):
    exchange.list(*(f"KXA-1-{n}" for n in range(50)))
    tick(exchange)
    tick(exchange)
    together = observed(*exchange.markets)
    assert {len(together.of_market(n)) for n in range(50)} == {2}
    assert len(together.instants) == 3


def a_stored_sweep(started_at: datetime, *pages: str) -> None:
    """Store a sweep of the hot list that showed one name on each page, a second apart."""
    a_sweep(
        Tier.HOT,
        started_at,
        pages=[[(started_at + n * SECOND).timestamp(), 1, ""] for n in range(len(pages))],
        contents=b"".join(encode_page([name], {}) for name in pages),
    )


def test_a_sweep_that_refused_a_market_takes_nothing_from_one_at_the_same_time():
    market, now = a_market("KXA-1-X"), datetime.now(UTC).replace(microsecond=0)
    observe(market, now - 600 * SECOND, "0.42", "0.45")
    for began, skipped in ((now - 60 * SECOND, ["KXA-1-X"]), (now - 58 * SECOND, [])):
        instants = [began + 5 * n * SECOND for n in range(2)]
        a_sweep(
            Tier.UNIVERSE,
            began,
            skipped=skipped,
            pages=[[each.timestamp(), 1, ""] for each in instants],
            contents=b"".join(encode_page([name], {}) for name in ("KXA-1", "KXB-1")),
        )
    assert looks("KXA-1-X") == [microseconds(now - 58 * SECOND)]


def test_streams_of_pages_that_never_showed_a_market_are_left_out():
    a_market("KXA-1-X")
    a_stored_sweep(datetime.now(UTC) - 60 * SECOND, "KXB-1-X", "KXA-1-X", "KXC-1-X")
    found = observed("KXA-1-X")
    assert len(found.of_market(0)) == len(found.instants) == 1


def test_all_sweeps_of_a_long_window_are_read():
    market, now = a_market("KXA-1-X"), datetime.now(UTC).replace(microsecond=0)
    times = [now - timedelta(hours=hours) for hours in (61, 60, 37, 25, 13, 12, 1)]
    for at in times:
        a_stored_sweep(at, "KXA-1-X")
    found = Sweep.objects.observed([market.pk], now - timedelta(days=90), now, known_by=now)
    assert found.of_market(0).tolist() == [microseconds(at) for at in times]
