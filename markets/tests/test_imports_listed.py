"""Imports on the API and in the admin, and imported rows beside those of the record."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from accounts.tests.factories import a_token
from markets import charts
from markets.coverage.coverage import coverage, unobserved
from markets.intervals import Interval
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

    def test_who_imported_it_is_told_and_not_where_the_file_lay(self, client):
        row = imported(Kind.QUOTES, QUOTES)
        Import.objects.update(file="/home/ann/logs/own.csv", account="ann")
        other = imported(Kind.TRADES, [(TICKER, 1, TRADE)])
        Import.objects.filter(pk=other.pk).update(user=User.objects.create_user("bob"))

        rows = client.get(API).json()["results"]

        assert [(each["file"], each["by"]) for each in rows] == [
            ("own.csv", "bob"), ("own.csv", "ann"),
        ]  # fmt: skip
        assert "/home" not in client.get(f"{API}{row.pk}/").content.decode()

    def test_a_list_of_imports_takes_as_many_queries_as_one_import(
        self, client, django_assert_num_queries
    ):
        for _ in range(3):
            imported(Kind.QUOTES, QUOTES)
        with django_assert_num_queries(2):
            client.get(API)

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

    def test_the_rows_of_one_import_are_asked_for_by_its_number(self, client):
        rows: dict[Kind, tuple[str, Mapping[str, Any]]] = {
            Kind.QUOTES: ("snapshots", quote(42, 45)),
            Kind.TRADES: ("trades", TRADE),
            Kind.BOOKS: ("orderbooks", {"bids": [(4200, 100)]}),
        }
        for kind, (path, row) in rows.items():
            one = imported(kind, [(TICKER, 0, row)] * 3)
            other = imported(kind, [(TICKER, 1, row)])
            counts = [self.count(client, path, **{"import": each.pk}) for each in (one, other)]
            assert counts == [3, 1]
        day = {"start": f"{START:%Y-%m-%dT%H:%M:%SZ}", "end": "2026-11-20T13:00:00Z"}
        trades = Import.objects.filter(kind="trades").earliest("pk")
        every = client.get("/api/v1/trades/", {"import": trades.pk, **day}).json()
        assert len(every["results"]) == 3

    def test_of_several_imports_the_finished_ones_are_read(self, client):
        finished, others = imported(Kind.QUOTES, QUOTES), ("running", "interrupted", "undoing")
        for state in others:
            row = imported(Kind.QUOTES, QUOTES)
            Import.objects.filter(pk=row.pk).update(state=state)

        shown = client.get(self.address("snapshots"), {"source": "IMPORT"}).json()["results"]

        assert {each["sequence"] >> 36 for each in shown} == {finished.pk}

    @pytest.mark.parametrize("path", ["snapshots", "trades", "orderbooks", "candlesticks"])
    def test_an_import_of_which_nothing_can_be_read_is_refused(self, client, path):
        row = imported(Kind.QUOTES, QUOTES)

        def refused(number, **query):
            answer = client.get(self.address(path), {"import": number, **query})
            assert answer.status_code == 400
            return answer.json()["message"]

        assert "import: Must be the number" in refused("x")
        assert "import: Import 999 is not on record" in refused("999")
        if path != "orderbooks":
            assert "source: Rows of an import have the source" in refused(row.pk, source="BACKFILL")
        Import.objects.update(state="undone")
        assert "was undone" in refused(row.pk)

    def test_candlesticks_of_one_import_cover_its_own_time(self, client):
        observe(a_market(TICKER), START - 48 * HOUR, "0.4000", "0.4100")
        one = imported(Kind.QUOTES, QUOTES)
        other = imported(Kind.QUOTES, [(TICKER, 30, quote(60, 61)), (TICKER, 200, quote(62, 63))])
        trades = imported(Kind.TRADES, [(TICKER, 1, TRADE)])

        def bids(number, **query):
            query |= {"import": number}
            answer = client.get(self.address("candlesticks"), query).json()
            return [row["yes_bid_close"] for row in answer["results"]]

        assert bids(one.pk) == ["0.4200", "0.5000"]
        assert bids(other.pk) == ["0.6000", None, None, "0.6200"]
        assert bids(other.pk, start="2026-11-20T12:02:00Z") == [None, "0.6200"]
        assert bids(trades.pk) == bids(one.pk, start="2026-11-21T00:00:00Z") == []

    @pytest.mark.parametrize(
        ("said", "states"),
        [
            ({}, ["quiet", "quiet"]),
            ({"recording": "sampled"}, ["quiet", "quiet"]),
            ({"recording": "on-change"}, ["quiet", "quiet"]),
            ({"gap_after": 150}, ["quiet", "unobserved"]),
            ({"recording": "on-change", "gap_after": 60}, ["unobserved", "unobserved"]),
        ],
    )
    def test_candlesticks_the_chart_and_coverage_tell_the_same_gaps(self, client, said, states):
        rows = [(TICKER, 0, quote(60, 61)), (TICKER, 220, quote(62, 63))]
        row = imported(Kind.QUOTES, rows, **said)
        market, end = Market.objects.get(), START + timedelta(seconds=220)

        answer = client.get(self.address("candlesticks"), {"import": row.pk}).json()["results"]
        chart = charts.chart(market, span="1h", since=None, now=end + HOUR, import_id=row.pk)
        missed = end - START - coverage(market, START, end).sources["IMPORT"]

        assert [each["state"] for each in answer] == ["recorded", *states, "recorded"]
        assert sum(b - a for a, b in chart["gaps"]) == missed.total_seconds() * 1000
        assert unobserved(market, START - HOUR, end + HOUR, import_id=row.pk)[1] == [
            Interval(START + timedelta(seconds=said["gap_after"]), end)
            for _ in range("unobserved" in states)
        ]

    def test_a_time_within_an_import_is_no_gap_because_its_rows_prove_all_of_it(self, client):
        rows = [(TICKER, 0, quote(60, 61)), (TICKER, 10 * 86_400, quote(62, 63))]
        row = imported(Kind.QUOTES, rows, recording="on-change")
        within = {"start": "2026-11-25T12:00:00Z", "end": "2026-11-25T12:01:00Z"}

        answer = client.get(self.address("candlesticks"), {"import": row.pk, **within}).json()

        assert [each["state"] for each in answer["results"]] == ["quiet"]

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

    def chart(self, row):
        return charts.chart(
            Market.objects.get(), span="1h", since=None, now=START + 48 * HOUR, import_id=row.pk
        )

    def test_a_chart_of_imported_quotes_ends_with_the_last_one(self):
        row = imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=20)

        chart = self.chart(row)

        assert chart["bid"] == [0.42, 0.5]
        assert chart["until"] == milliseconds(60) + 1
        assert (milliseconds(20), milliseconds(60)) in chart["gaps"]

    @pytest.mark.parametrize("said", [{}, {"recording": "sampled"}, {"recording": "on-change"}])
    def test_without_a_stated_period_no_gap_is_claimed(self, client, said):
        row = imported(Kind.QUOTES, QUOTES, **said)

        page = client.get(reverse("markets:detail", args=[TICKER]), {"table": "all",
                          "import": row.pk})  # fmt: skip

        assert self.chart(row)["gaps"] == page.context["gaps"] == []

    def test_of_two_imports_each_has_its_own_chart(self):
        one = imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=20)
        other = imported(Kind.QUOTES, [(TICKER, 30, quote(60, 61))], gap_after=3600)

        assert self.chart(one)["bid"] == [0.42, 0.5]
        assert self.chart(other)["bid"] == [0.6]
        assert (milliseconds(20), milliseconds(60)) in self.chart(one)["gaps"]

    def test_the_chart_s_address_takes_an_import(self, client):
        row = imported(Kind.QUOTES, QUOTES)
        address = reverse("markets:chart", args=[TICKER])

        assert client.get(address).json()["t"] == []
        assert len(client.get(address, {"import": row.pk}).json()["t"]) == 2
        assert client.get(address, {"import": "all"}).status_code == 400

    def test_a_page_leads_to_imported_quotes_where_there_are_some(self, client):
        page = reverse("markets:detail", args=[a_market(TICKER).ticker])
        assert "?import=" not in client.get(page).content.decode()
        row = imported(Kind.QUOTES, QUOTES)
        trades = imported(Kind.TRADES, [(TICKER, 1, TRADE)])

        answer = client.get(page, {"table": "all"})
        own = client.get(page, {"table": "all", "import": row.pk}).content.decode()

        assert f"?import={row.pk}#chart" in answer.content.decode()
        assert not answer.context["trades"]
        assert f"Price, import {row.pk}" in own
        assert f'data-import="{row.pk}"' in own
        assert "50" in own.split(f"History as a table, import {row.pk}")[1]
        assert client.get(page, {"import": trades.pk}).status_code == 404

    @pytest.mark.parametrize(
        ("said", "seconds"),
        [
            ({}, 60),
            ({"recording": "sampled"}, 60),
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

    def test_coverage_is_that_of_finished_imports(self):
        imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=20)
        undone = imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=3600)
        Import.objects.filter(pk=undone.pk).update(state="undoing")

        covered = coverage(Market.objects.get(), START, START + HOUR)

        assert covered.sources["IMPORT"].total_seconds() == 40

    def test_a_row_before_the_window_may_prove_its_beginning(self):
        imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=7200)

        covered = coverage(Market.objects.get(), START + HOUR, START + 3 * HOUR)

        assert covered.sources["IMPORT"].total_seconds() == 3660

    def test_rows_of_one_import_prove_what_those_of_another_do_not(self):
        imported(Kind.QUOTES, QUOTES, gap_after=3600)
        imported(Kind.QUOTES, [(TICKER, 100, quote(40, 41)), (TICKER, 4000, quote(41, 42))],
                 gap_after=5)  # fmt: skip

        covered = coverage(Market.objects.get(), START + HOUR / 2, START + HOUR)

        assert covered.sources["IMPORT"] == HOUR / 2

    def test_imported_rows_close_no_gap_of_the_record(self):
        market = a_market(TICKER, open_time=START - HOUR, quoted_at=None)
        before = coverage(market, START, START + HOUR)
        imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=3600)

        after = coverage(market, START, START + HOUR)

        assert (after.gaps, after.observed) == (before.gaps, before.observed)
