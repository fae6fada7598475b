"""Imports on the API and in the admin, and imported rows beside those of the record."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from accounts.tests.factories import a_token
from markets import charts
from markets.coverage.coverage import coverage
from markets.models import Import, Market
from markets.models.imports import ImportState, Kind
from markets.tests.factories import a_market, a_trade, observe
from markets.tests.import_builders import START, imported, quote

pytestmark = pytest.mark.django_db
TICKER = "KXOWN-26NOV20-T40"
QUOTES = [(TICKER, 0, quote(42, 45)), (TICKER, 60, quote(50, 52))]
TRADE = {"yes_price": 4_500, "count": 100, "taker_side": 1, "is_block_trade": 0}
API = "/api/v1/imports/"
HOUR = timedelta(hours=1)


def milliseconds(seconds: float) -> int:
    return int((START.timestamp() + seconds) * 1000)


def undoer(**values) -> User:
    user = User.objects.create_user("ann", password="a long word", **values)
    user.user_permissions.add(Permission.objects.get(codename="undo_import"))
    return user


class TestApi:
    def test_imports_are_listed_newest_first_and_filtered(self, client):
        first, second = imported(Kind.QUOTES, QUOTES), imported(Kind.TRADES, [(TICKER, 1, TRADE)])

        def ids(**query):
            return [row["id"] for row in client.get(API, query).json()["results"]]

        assert ids() == [second.pk, first.pk]
        assert ids(kind="quotes") == ids(group=first.group) == [first.pk]
        assert ids(state="undone") == []

    def test_one_import_is_shown(self, client):
        row = imported(Kind.QUOTES, QUOTES, unit="cents")

        shown = client.get(f"{API}{row.pk}/").json()

        assert (shown["rows"], shown["line"], shown["state"]) == (2, 3, "finished")
        assert shown["said"] == {"unit": "cents"}
        assert client.get(f"{API}999/").status_code == 404

    def test_whoever_may_undoes_an_import(self, client):
        row = imported(Kind.QUOTES, QUOTES)
        client.force_login(undoer())

        answer = client.delete(f"{API}{row.pk}/")

        assert (answer.status_code, answer.json()["state"]) == (202, "undoing")
        assert client.delete(f"{API}999/").status_code == 404

    def test_others_may_not(self, client):
        row = imported(Kind.QUOTES, QUOTES)
        assert client.delete(f"{API}{row.pk}/").status_code == 401
        client.force_login(User.objects.create_user("bob"))
        assert client.delete(f"{API}{row.pk}/").status_code == 403
        row.refresh_from_db()
        assert row.state == ImportState.FINISHED

    def test_a_token_needs_the_scope_to_operate(self, client):
        row = imported(Kind.QUOTES, QUOTES)
        secret = a_token(undoer(is_staff=True), "read")

        answer = client.delete(f"{API}{row.pk}/", headers={"Authorization": f"Token {secret}"})

        assert answer.status_code == 403
        assert "operate" in answer.json()["message"]


class TestAdmin:
    def test_the_action_marks_imports_and_tells_who_used_them(self, admin_client):
        row = imported(Kind.QUOTES, QUOTES)
        Import.objects.note_use([row.pk], "backtest 7")

        page = admin_client.post(
            reverse("admin:markets_import_changelist"),
            {"action": "undo", "_selected_action": [row.pk]},
            follow=True,
        )

        row.refresh_from_db()
        assert row.state == ImportState.UNDOING
        assert "backtest 7" in page.content.decode()


class TestBesideTheRecord:
    """Imported rows come where they are asked for by their source, and nowhere else."""

    def address(self, name):
        return f"/api/v1/markets/{TICKER}/{name}/"

    def count(self, client, name, **query):
        return len(client.get(self.address(name), query).json()["results"])

    def test_snapshots_and_trades_of_the_api(self, client):
        observe(a_market(TICKER), START, "0.4000", "0.4100")
        a_trade(Market.objects.get(), START)
        imported(Kind.QUOTES, QUOTES)
        imported(Kind.TRADES, [(TICKER, 1, TRADE)])

        assert self.count(client, "snapshots") == self.count(client, "trades") == 1
        assert self.count(client, "snapshots", source="IMPORT") == 2
        assert self.count(client, "trades", source="IMPORT") == 1

    def test_candlesticks_of_the_api(self, client):
        observe(a_market(TICKER), START, "0.4000", "0.4100")
        imported(Kind.QUOTES, QUOTES)
        span = {"start": f"{START:%Y-%m-%dT%H:%M:%SZ}", "end": "2026-11-20T12:01:00Z"}

        def bid(**query):
            answer = client.get(self.address("candlesticks"), {**span, **query}).json()
            return answer["results"][0]["yes_bid_close"]

        assert bid() == "0.4000"
        assert bid(source="IMPORT") == "0.4200"

    def test_the_newest_quote_the_chart_and_the_book(self, client):
        market = a_market(TICKER)
        observe(market, START, "0.4000", "0.4100")
        imported(Kind.QUOTES, QUOTES)
        imported(Kind.BOOKS, [(TICKER, 90, {"bids": [(4200, 100)]})])

        chart = charts.chart(market, span="1h", since=None, now=START + timedelta(minutes=30))

        assert chart["bid"] == [0.4]
        assert client.get(self.address("latest")).json()["yes_bid"] == "0.4000"
        assert client.get(self.address("orderbook")).status_code == 404

    def test_a_market_as_of_an_instant(self):
        market = a_market(TICKER)
        observe(market, START, "0.4000", "0.4100")
        market.revisions.create(
            known_at=START, recorded_at=START, status="active", open_time=market.open_time
        )
        imported(Kind.QUOTES, QUOTES)
        imported(Kind.SETTLEMENTS, [(TICKER, 70, {"result": "yes"})])

        [past] = Market.objects.rewind([market], START + timedelta(minutes=30))

        assert (str(past.yes_bid), past.status) == ("0.4000", "active")


class TestShown:
    """The chart, the page and the coverage of imported rows, by themselves."""

    def test_a_chart_of_imported_quotes_ends_with_the_last_one(self):
        imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=20)

        chart = charts.chart(
            Market.objects.get(), span="1h", since=None, now=START + 48 * HOUR, source="IMPORT"
        )

        assert chart["bid"] == [0.42, 0.5]
        assert chart["until"] == milliseconds(60) + 1
        assert (milliseconds(20), milliseconds(60)) in chart["gaps"]

    def test_the_chart_s_address_takes_the_source(self, client):
        imported(Kind.QUOTES, QUOTES)
        address = reverse("markets:chart", args=[TICKER])

        assert client.get(address).json()["t"] == []
        assert len(client.get(address, {"source": "IMPORT"}).json()["t"]) == 2
        assert client.get(address, {"source": "TAPE"}).status_code == 400

    def test_a_page_leads_to_imported_quotes_where_there_are_some(self, client):
        page = reverse("markets:detail", args=[a_market(TICKER).ticker])
        assert "imported" not in client.get(page).content.decode()
        imported(Kind.QUOTES, QUOTES)
        imported(Kind.TRADES, [(TICKER, 1, TRADE)])

        answer = client.get(page, {"table": "all"})
        own = client.get(page, {"table": "all", "imported": ""}).content.decode()

        assert "?imported#chart" in answer.content.decode()
        assert not answer.context["trades"]
        assert "Price, imported" in own
        assert 'data-source="IMPORT"' in own
        assert "50" in own.split("History as a table, imported")[1]

    @pytest.mark.parametrize(
        ("said", "seconds"),
        [
            ({}, 0),
            ({"recording": "sampled", "gap_after": 20}, 40),
            ({"recording": "on-change"}, 60),
            ({"recording": "on-change", "gap_after": 20}, 40),
            ({"recording": "on-change", "gap_after": 90}, 150),
        ],
    )
    def test_coverage_tells_what_imported_rows_prove(self, said, seconds):
        imported(Kind.QUOTES, QUOTES, **said)

        covered = coverage(Market.objects.get(), START, START + HOUR)

        assert covered.sources["IMPORT"].total_seconds() == seconds

    def test_a_row_before_the_window_may_prove_its_beginning(self):
        imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=7200)

        covered = coverage(Market.objects.get(), START + HOUR, START + 3 * HOUR)

        assert covered.sources["IMPORT"].total_seconds() == 3660

    def test_imported_rows_close_no_gap_of_the_record(self):
        market = a_market(TICKER, open_time=START - HOUR, quoted_at=None)
        before = coverage(market, START, START + HOUR)
        imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=3600)

        after = coverage(market, START, START + HOUR)

        assert (after.gaps, after.observed) == (before.gaps, before.observed)
