"""Backtests through the API: requests, refusals, results and cancellation."""

import base64
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from kombu.exceptions import OperationalError
from redis import Redis
from rest_framework.test import APIClient

from backtests import runner
from backtests.annotations.series import DrawnSeries
from backtests.api.serializers import DETAIL_COLUMNS
from backtests.api.timeseries_serializers import EXECUTIONS
from backtests.charted_series import ChartedSeries
from backtests.models import BacktestResult
from backtests.requests import MAX_UNFINISHED
from backtests.strategies import STRATEGIES, YARDSTICKS
from backtests.tasks import run_backtest
from backtests.tests.factories import NOON, a_backtest, a_fill, a_recorded_day, a_user
from kalshi_insights.processes.broker import sender
from markets.tests.factories import a_market

pytestmark = pytest.mark.django_db

API = "/api/v1"
TICKER = "KXRAIN-26NOV21"
SOME = {
    "strategy": "fade-longshots",
    "tickers": [TICKER],
    "start": "2025-11-20T12:00:00Z",
    "end": "2025-11-20T18:00:00Z",
}


@pytest.fixture
def client() -> APIClient:
    """A client that is signed in; `APIClient()` is anonymous."""
    client = APIClient()
    client.force_authenticate(a_user())
    return client


@pytest.fixture
def market():
    return a_recorded_day(TICKER)


def wish(client, **changes: Any) -> Any:
    return client.post(f"{API}/backtests/", {**SOME, **changes}, format="json")


def refused(client, **changes: Any) -> dict[str, list[str]]:
    response = wish(client, **changes)
    assert response.status_code == 400, response.content
    assert response.json()["code"] == "invalid"
    assert BacktestResult.objects.count() == 0
    details: dict[str, list[str]] = response.json()["details"]
    return details


def test_without_an_end_a_run_ends_just_after_the_newest_quote(client, market):
    some = {name: value for name, value in SOME.items() if name != "end"}
    response = client.post(f"{API}/backtests/", some, format="json")
    assert response.status_code == 202, response.content
    assert BacktestResult.objects.get().end == NOON + timedelta(hours=5, minutes=50, seconds=1)


class TestStrategies:
    def test_all_are_listed_with_their_yardsticks_marked(self, client):
        rows = client.get(f"{API}/strategies/").json()["results"]
        assert [row["name"] for row in rows] == list(STRATEGIES)
        assert {row["name"] for row in rows if row["is_yardstick"]} == set(YARDSTICKS)

    def test_one_tells_what_it_can_be_told(self, client):
        reply = client.get(f"{API}/strategies/fade-longshots/").json()
        assert (reply["version"], reply["kind"]) == ("3", "signal")
        assert reply["parameters"][0] == {
            "name": "ceiling",
            "type": "number",
            "default": 0.15,
            "minimum": 0.01,
            "maximum": 0.5,
            "choices": [],
            "unit": "dollars",
            "help": "YES is a longshot up to this midpoint.",
        }

    def test_one_that_sends_its_own_orders_says_so(self, client):
        assert client.get(f"{API}/strategies/exclusive-arbitrage/").json()["kind"] == "event-driven"

    def test_an_unknown_one_is_not_found(self, client):
        assert client.get(f"{API}/strategies/crystal-ball/").status_code == 404


class TestAsking:
    def test_a_run_is_queued_and_tells_where_to_look(self, client, market):
        wishes = {"params": {"ceiling": 0.12}, "cash": "500.5", "check_lookahead": True}
        response = wish(client, **wishes)
        assert response.status_code == 202
        reply = response.json()
        assert reply["check_lookahead"] is True
        assert response["Location"] == f"http://testserver{API}/backtests/{reply['id']}/"
        assert (reply["status"], reply["engine"], reply["pnl"]) == ("queued", "kernel", None)
        assert reply["params"]["ceiling"] == 0.12
        assert reply["params"]["contracts"] == 10
        assert reply["cash"] == "500.500000"
        assert reply["execution"]["latency_seconds"] == 1
        assert reply["execution"]["across_gaps"] == "expire"

    def test_a_worker_is_called_once_it_is_stored(
        self, client, market, settings, django_capture_on_commit_callbacks
    ):
        server = Redis.from_url(settings.REDIS_URL)
        server.delete("backtests")
        with django_capture_on_commit_callbacks(execute=True):
            id = wish(client).json()["id"]
            assert server.llen("backtests") == 0
        message = json.loads(cast(bytes, server.lpop("backtests")))
        assert message["headers"]["task"] == run_backtest.name
        assert json.loads(base64.b64decode(message["body"]))[0] == [id]
        server.close()

    def test_without_a_broker_it_waits_for_maintenance(
        self, client, market, monkeypatch, django_capture_on_commit_callbacks
    ):
        def away(*message: Any) -> None:
            raise OperationalError("Connection refused")

        monkeypatch.setattr(sender, "send_task", away)
        with django_capture_on_commit_callbacks(execute=True):
            response = wish(client)
        assert response.status_code == 202
        assert BacktestResult.objects.get().status == "queued"

    def test_only_who_is_known_may_ask(self, market):
        assert wish(APIClient()).status_code == 401

    def test_the_execution_model_can_be_chosen(self, client, market):
        reply = wish(client, execution={"latency_seconds": 2.5, "assumed_size": 20}).json()
        assert reply["execution"]["latency_seconds"] == 2.5
        assert reply["execution"]["assumed_size"] == 20
        assert reply["execution"]["patience_seconds"] == 7200.0

    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({"strategy": "crystal-ball"}, "strategy", "crystal-ball"),
            ({"params": {"ceiling": 0.9}}, "params.ceiling", "at most 0.5"),
            ({"params": {"colour": "red"}}, "params.colour", "Not a parameter"),
            ({"params": [1]}, "params", "an object"),
            ({"params": {"contracts": None}}, "params.contracts", "a number"),
            ({"tickers": []}, "tickers", "Name a series, an event or a market"),
            ({"tickers": ["KXNONE"]}, "tickers", "KXNONE"),
            ({"tickers": [5]}, "tickers.0", "valid string"),
            ({"series": ["KXNONE"]}, "series", "KXNONE"),
            ({"events": ["KXNONE"]}, "events", "KXNONE"),
            ({"sources": "hearsay"}, "sources", "hearsay"),
            ({"start": "2025-11-20T12:00:00"}, "start", "offset"),
            ({"start": "2025-11-20"}, "start", "offset"),
            ({"start": "0001-01-01T00:00:00+14:00"}, "start", "years"),
            ({"start": "2025-11-20T18:00:00Z"}, "end", "after the start"),
            ({"end": "2199-01-01T00:00:00Z"}, "end", "future"),
            ({"start": "2025-10-01T00:00:00Z", "end": "2025-10-02T00:00:00Z"}, "end", "2025-11-20"),
            ({"cash": 0}, "cash", "above 0"),
            ({"cash": "-5"}, "cash", "above 0"),
            ({"cash": 1_000_000_000.5}, "cash", "at most"),
            ({"cash": "1e400"}, "cash", "digits"),
            ({"cash": "NaN"}, "cash", "valid number"),
            ({"engine": "abacus"}, "engine", "abacus"),
            ({"strategy": "exclusive-arbitrage", "engine": "kernel"}, "engine", "backtrader"),
            ({"execution": {"latency_seconds": -1}}, "execution.latency_seconds", "greater"),
            ({"execution": {"assumed_size": 0}}, "execution.assumed_size", "greater"),
            ({"execution": {"make": "yes"}}, "execution.make", "boolean"),
            ({"execution": {"speed": 1}}, "execution.speed", "Unknown field"),
            ({"execution": {"across_gaps": "hope"}}, "execution.across_gaps", "hope"),
            (
                {"execution": {"latency_snapshots": 1}},
                "execution.latency_snapshots",
                "It is gone: orders meet the first observation after `latency_seconds`.",
            ),
            (
                {"strategy": "exclusive-arbitrage", "execution": {"make": True}},
                "execution.make",
                "decides itself",
            ),
            ({"colour": "red"}, "colour", "Unknown field"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_by_its_name(
        self, client, market, changes, field, words
    ):
        details = refused(client, **changes)
        assert list(details) == [field]
        assert words in details[field][0]

    def test_a_market_without_quotes_is_refused(self, client, market):
        a_recorded_day("KXSUN-1", hours=0)
        assert refused(client, tickers=["KXSUN-1"]) == {
            "tickers": ["No quotes are recorded for it."]
        }

    @pytest.mark.parametrize("body", ["[]", "5", '"run it"', "{", '{"\\ud800": 1}'])
    def test_a_body_that_is_no_wish_is_refused(self, client, body):
        response = client.post(f"{API}/backtests/", body, content_type="application/json")
        assert response.status_code == 400
        assert response.json()["code"] in ("invalid", "parse_error")

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\0", "a\0"])
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            (lambda text: {"strategy": text}, "strategy"),
            (lambda text: {"engine": text}, "engine"),
            (lambda text: {"sources": text}, "sources"),
            (lambda text: {"start": text}, "start"),
            (lambda text: {"cash": text}, "cash"),
            (lambda text: {"tickers": [TICKER, text]}, "tickers"),
            (lambda text: {"params": {"belief": text}}, "params.belief"),
            (lambda text: {"execution": {"make": text}}, "execution.make"),
            (lambda text: {"colour": [{"deep": [text]}]}, "colour.deep"),
            (lambda text: {"a" + text: 1}, None),
            (lambda text: {"params": {"b" + text: 1}}, None),
        ],
    )
    def test_text_that_nobody_can_write_is_refused_by_the_name_of_its_field(
        self, client, market, changes, field, text
    ):
        body = json.dumps({**SOME, **changes(text)})
        response = client.post(f"{API}/backtests/", body, content_type="application/json")
        assert response.status_code == 400, response.content
        details = response.json()["details"]
        [named] = details
        assert named == field or (field is None and "?" in named)
        assert details[named] == ["Contains a character that cannot be written."]

    def test_a_pair_of_surrogates_is_a_character(self, client, market):
        body = json.dumps({**SOME, "strategy": "😀"})
        assert "ud83d" in body
        response = client.post(f"{API}/backtests/", body, content_type="application/json")
        assert "😀" in response.json()["details"]["strategy"][0]

    @pytest.mark.parametrize("names", ["tickers", "events", "series"])
    def test_names_count_in_any_case_and_are_kept_as_they_are_written(self, client, market, names):
        event = market.event
        name = {"tickers": TICKER, "events": event.ticker, "series": event.series.ticker}[names]
        response = wish(client, **{"tickers": [], names: [name.lower(), name]})
        assert response.status_code == 202, response.content
        assert response.json()[names] == [name]

    def test_a_user_has_room_for_few_unfinished_runs(self, client, market):
        for _ in range(MAX_UNFINISHED):
            assert wish(client).status_code == 202
        refusal = wish(client)
        assert (refusal.status_code, refusal.json()["code"]) == (429, "throttled")
        assert refusal["Retry-After"] == "10"
        BacktestResult.objects.request_cancel(
            BacktestResult.objects.newest_first()[0].pk, now=datetime.now(UTC)
        )
        assert wish(client).status_code == 202


class TestTelling:
    def test_a_run_that_is_done_tells_all_of_it(self, client, market):
        # The quotes are ten minutes apart.
        wishes = {"params": {"belief": 0.3}, "execution": {"across_gaps": "wait"}}
        id = wish(client, **wishes).json()["id"]
        runner.run(id)
        reply = client.get(f"{API}/backtests/{id}/").json()
        assert set(reply) == set(DETAIL_COLUMNS)
        assert (reply["status"], reply["progress"], reply["error"]) == ("done", 1, "")
        assert Decimal(reply["pnl"]) == Decimal(reply["figures"]["money"]["pnl"]) / 1_000_000
        assert Decimal(reply["pnl"]) > 0
        assert set(reply["band"]) == {"fewest", "expected", "most"}
        assert set(reply["yardsticks"]) == set(YARDSTICKS)
        assert reply["verdict"].startswith("Earned $")

        equity = client.get(f"{API}/backtests/{id}/equity/").json()["columns"]
        assert equity["equity"][0] == 10_000
        assert equity["equity"][-1] == 10_000 + float(reply["pnl"])
        assert max(equity["drawdown"]) == reply["figures"]["drawdown"]["share"]
        assert len(set(map(len, equity.values()))) == 1

        lines = client.get(f"{API}/backtests/{id}/executions/").json()["results"]
        assert [line["kind"] for line in lines] == ["order", "fill", "settled"]
        assert lines[1]["yes_bid"] == "0.1000"
        moved = sum(Decimal(line["cash_change"]) for line in lines)
        assert Decimal(reply["cash"]) + moved == Decimal(reply["final_cash"])

    def test_the_newest_run_is_first_and_the_list_leaves_the_wide_columns_out(self, client):
        old, new = (a_backtest(created_at=NOON + timedelta(hours=n)) for n in (1, 2))
        reply = client.get(f"{API}/backtests/").json()
        assert reply["count"] == 2
        assert [row["id"] for row in reply["results"]] == [new.pk, old.pk]
        assert "curve" not in reply["results"][0]
        assert reply["results"][0]["pnl"] == "14.310000"

    def test_a_list_is_narrowed_by_status_and_strategy(self, client):
        failed = a_backtest("failed")
        momentum = a_backtest(strategy="momentum")
        for query, found in (({"status": "failed"}, failed), ({"strategy": "momentum"}, momentum)):
            rows = client.get(f"{API}/backtests/", query).json()["results"]
            assert [row["id"] for row in rows] == [found.pk]

    def test_a_list_takes_two_queries_and_everything_else_few(
        self, client, django_assert_num_queries
    ):
        id = a_backtest().pk
        for number in (1, 2, 3):
            a_fill(BacktestResult.objects.get(pk=id), number)
        expected = {"": 2, f"{id}/": 1, f"{id}/executions/": 2, f"{id}/equity/": 1}
        expected |= {f"{id}/series/": 3, f"{id}/overfitting/": 3}
        for path, queries in expected.items():
            with django_assert_num_queries(queries):
                assert client.get(f"{API}/backtests/{path}").status_code == 200

    def test_a_run_tells_how_many_trials_led_to_it(self, client, market):
        id = wish(client).json()["id"]
        runner.run(id)
        reply = client.get(f"{API}/backtests/{id}/overfitting/").json()
        assert (reply["trials"], reply["deflated_sharpe"]) == (1, None)
        assert "too few to annualise" in reply["withheld"]
        assert reply["words"].startswith("The only trial of this strategy so far.")
        significance = client.get(f"{API}/backtests/{id}/").json()["figures"]["significance"]
        assert significance["p_value"] is None
        assert "the test needs 10" in significance["words"]

    @pytest.mark.parametrize(
        "path", ["", "executions/", "equity/", "series/", "overfitting/", "cancel/"]
    )
    def test_an_unknown_run_is_not_found(self, client, path):
        ask = client.post if path == "cancel/" else client.get
        response = ask(f"{API}/backtests/404/{path}")
        assert response.status_code == 404
        assert response.json()["message"] == "There is no backtest 404."

    def test_a_run_that_has_not_ended_has_no_equity(self, client):
        response = client.get(f"{API}/backtests/{a_backtest('running').pk}/equity/")
        assert response.status_code == 404
        assert "it is running" in response.json()["message"]

    def test_a_run_that_has_not_ended_is_not_judged(self, client):
        response = client.get(f"{API}/backtests/{a_backtest('queued').pk}/overfitting/")
        assert response.status_code == 404
        assert "it is queued" in response.json()["message"]


class TestExecutions:
    @pytest.fixture
    def path(self):
        a_market("KXHIGHNY-26NOV19-B52.5")
        result = a_backtest()
        for number in range(1, 6):
            # The number tells entries of one instant apart.
            a_fill(result, number, at=NOON + timedelta(minutes=number // 2))
        a_fill(a_backtest(), 1)
        return f"{API}/backtests/{result.pk}/executions/"

    def test_pages_are_walked_by_a_cursor(self, client, path):
        seen, following = [], f"{path}?limit=2"
        while following:
            page = client.get(following).json()
            seen += [row["number"] for row in page["results"]]
            following = page["next"]
        assert seen == [1, 2, 3, 4, 5]

    def test_they_are_narrowed(self, client, path):
        def numbers(**query: str) -> list[int]:
            return [row["number"] for row in client.get(path, query).json()["results"]]

        assert numbers(start="2025-11-20T12:02:00Z") == [4, 5]
        assert numbers(end="2025-11-20T12:01:00Z") == [1]
        assert numbers(kind="fill", ticker="KXHIGHNY-26NOV19-B52.5") == [1, 2, 3, 4, 5]
        assert numbers(ticker="kxhighny-26nov19-b52.5") == [1, 2, 3, 4, 5]
        assert numbers(kind="refused") == []
        details = client.get(path, {"ticker": "KXNONE"}).json()["details"]
        assert details == {"ticker": ["There is no market KXNONE on record."]}

    def test_a_file_has_all_of_them_to_the_digit(self, client, path):
        answer = client.get(path, {"format": "csv"})
        assert "backtest-" in answer["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
        assert list(rows[0]) == list(EXECUTIONS)
        assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5"]
        assert rows[0]["fee"] == "0.070000"
        table = pq.read_table(io.BytesIO(client.get(path, {"format": "parquet"}).getvalue()))
        assert table["cash"][0].as_py() == Decimal("9991.030000")
        assert table["settlement_value"].null_count == 5

    def test_a_chart_gets_columns(self, client, path):
        columns = client.get(path, {"format": "columns"}).json()["columns"]
        assert columns["cash"] == [9991.03] * 5


class TestSeries:
    @pytest.fixture
    def path(self):
        result = a_backtest()
        for ticker in ("KXRAIN-A", "KXRAIN-B"):
            a_market(ticker)
        drawn = [
            DrawnSeries(name, 0, np.array([1_000_000, 2_000_500]), np.array([0.5, np.nan]))
            for name in ("belief", "bid")
        ]
        ChartedSeries.objects.store(
            result.pk, [(ticker, each) for ticker in ("KXRAIN-B", "KXRAIN-A") for each in drawn]
        )
        return f"{API}/backtests/{result.pk}/series/"

    def test_they_come_in_the_order_in_which_they_were_drawn(self, client, path):
        rows = client.get(path).json()["results"]
        assert [(row["ticker"], row["name"]) for row in rows] == [
            ("KXRAIN-B", "belief"), ("KXRAIN-B", "bid"),
            ("KXRAIN-A", "belief"), ("KXRAIN-A", "bid"),
        ]  # fmt: skip
        assert rows[0]["t"] == [1_000, 2_000]
        assert rows[0]["values"] == [0.5, None]

    def test_they_are_narrowed_by_market(self, client, path):
        rows = client.get(path, {"ticker": "kxrain-a"}).json()["results"]
        assert {row["ticker"] for row in rows} == {"KXRAIN-A"}
        assert client.get(path, {"ticker": "KXNONE"}).status_code == 400


class TestCancelling:
    def test_one_that_waits_ends_at_once(self, client, market):
        id = wish(client).json()["id"]
        response = client.post(f"{API}/backtests/{id}/cancel/")
        assert (response.status_code, response.json()["status"]) == (202, "cancelled")

    def test_one_that_runs_is_asked_to_stop(self, client):
        mine = a_backtest("running", user=client.handler._force_user)
        response = client.post(f"{API}/backtests/{mine.pk}/cancel/")
        assert response.json()["status"] == "running"
        assert response.json()["cancel_requested"]

    def test_one_that_has_ended_stays_as_it_is(self, client):
        mine = a_backtest(user=client.handler._force_user)
        response = client.post(f"{API}/backtests/{mine.pk}/cancel/")
        assert (response.status_code, response.json()["code"]) == (409, "conflict")

    def test_those_of_others_are_left_to_them_and_to_staff(self, client):
        theirs = f"{API}/backtests/{a_backtest('queued').pk}/cancel/"
        assert APIClient().post(theirs).status_code == 401
        assert client.post(theirs).status_code == 403
        client.force_authenticate(a_user("bob", may_run=False))
        assert client.post(theirs).status_code == 403
        client.force_authenticate(a_user("eve", is_staff=True))
        assert client.post(theirs).status_code == 202
