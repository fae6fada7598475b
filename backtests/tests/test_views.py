"""The pages of backtests."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from backtests import runner
from backtests.annotations.series import MOST_NAMES
from backtests.models import BacktestResult, Trial, TrialRow
from backtests.requests import MAX_UNFINISHED
from backtests.strategies import STRATEGIES
from backtests.strategies.base import Signal
from backtests.strategies.parameters import Parameter
from backtests.tests.factories import NOON, a_backtest, a_fill, a_recorded_day, a_user
from markets.tests.factories import a_market

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for the files that `collectstatic` makes.
    pytest.mark.filterwarnings("ignore:No directory at"),
]

TICKER = "KXRAIN-26NOV21"
WISH = {
    "strategy": "fade-longshots",
    "tickers": TICKER,
    "start": "2025-11-20T12:00",
    "end": "2025-11-20T18:00",
    "cash": "10000",
}


@pytest.fixture
def user(client):
    user = a_user()
    client.force_login(user)
    return user


def page(client: Client, address: str, target: str = "") -> str:
    headers = {"HX-Request": "true", "HX-Target": target} if target else {}
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def again(html: str) -> str:
    """The query of the link that fills the form in again."""
    [found] = set(re.findall(r'href="/backtests/new/\?([^"]+)"', html))
    return str(found).replace("&amp;", "&")


class Hedger(Signal):
    name = "hedger"
    version = "1"
    summary = "Has switches."
    schema: ClassVar = {
        "hedged": Parameter(default=True, help="Whether it hedges."),
        "patient": Parameter(default=False, help="Whether it waits."),
    }


def words(html: str) -> str:
    """The text of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


class TestList:
    def test_without_runs_it_says_what_to_do(self, client):
        html = page(client, "/backtests/")
        assert "There are no backtests yet" in html
        assert 'href="/backtests/new/"' in html

    def test_a_row_tells_what_was_run_and_what_came_of_it(self, client):
        a_backtest()
        text = words(page(client, "/backtests/"))
        assert "fade-longshots SKXRAIN" in text
        assert "20 Nov 2025, 12:00 – 18:00 UTC" in text
        assert "+$14.31 $10,000.00" in text
        assert "done" in text

    def test_a_loss_has_its_sign_and_its_colour(self, client):
        a_backtest(figures={"money": {"pnl": -2_500_000}})
        html = page(client, "/backtests/")
        assert "\u2212$2.50" in html
        assert 'class="num down"' in html

    def test_it_refreshes_only_while_something_moves(self, client):
        a_backtest()
        assert "every 2s" not in page(client, "/backtests/")
        a_backtest("running")
        assert "every 2s" in page(client, "/backtests/")
        assert "running · 25%" in page(client, "/backtests/", "runs")

    def test_it_is_narrowed_by_status(self, client):
        a_backtest("failed", strategy="momentum")
        a_backtest()
        assert "momentum" in page(client, "/backtests/?status=failed")
        assert "momentum" not in page(client, "/backtests/?status=done")
        assert "No backtest is queued" in page(client, "/backtests/?status=queued")

    def test_a_status_or_a_page_that_is_not_there_is_named(self, client):
        a_backtest()
        response = client.get("/backtests/?status=odd")
        assert response.status_code == 400
        html = response.content.decode()
        assert "odd is not one of the available choices" in html
        assert "fade-longshots" not in html
        html = page(client, "/backtests/?page=7")
        assert "there is no page “7”; this is page 1 of 1" in html
        assert "fade-longshots" in html

    def test_it_takes_two_queries(self, client, django_assert_num_queries):
        for _ in range(3):
            a_backtest()
        with django_assert_num_queries(2):
            page(client, "/backtests/")


class TestForm:
    def test_every_parameter_of_a_strategy_has_a_field_with_its_help(self, client):
        for name, kind in STRATEGIES.items():
            html = page(client, f"/backtests/new/?strategy={name}")
            for each, parameter in kind.schema.items():
                assert f'name="params.{each}"' in html
                assert parameter.help in html.replace("&#x27;", "'")
            assert "Contracts, contracts" not in html

    def test_choosing_a_strategy_keeps_what_was_entered(self, client):
        html = page(client, "/backtests/new/?strategy=momentum&tickers=KXRAIN&cash=5", "fields")
        assert "<html" not in html
        assert re.search(r'<option value="momentum"\s+selected', html)
        assert 'value="KXRAIN"' in html
        assert re.search(r'name="cash"[^>]*value="5"', html)

    def test_an_unknown_strategy_in_the_address_shows_the_first(self, client):
        assert "params.ceiling" in page(client, "/backtests/new/?strategy=crystal-ball")

    def test_a_market_leads_to_its_backtest(self, client):
        market = a_market()
        assert f"/backtests/new/?tickers={market.ticker}" in page(client, market.get_absolute_url())

    def test_who_is_not_signed_in_keeps_what_was_entered(self, client):
        response = client.post("/backtests/new/", WISH)
        login = urlsplit(response["Location"])
        assert login.path == "/accounts/sign-in/"
        back = urlsplit(parse_qs(login.query)["next"][0])
        assert (back.path, parse_qs(back.query)["tickers"]) == ("/backtests/new/", [TICKER])
        assert BacktestResult.objects.count() == 0

    def test_who_may_look_but_not_run_is_told_and_refused(self, client):
        a_recorded_day(TICKER)
        client.force_login(a_user(may_run=False))
        assert "Your account may not run backtests" in page(client, "/backtests/new/")
        assert client.post("/backtests/new/", WISH).status_code == 403
        assert BacktestResult.objects.count() == 0

    def test_what_is_asked_for_is_queued(self, client, user):
        a_recorded_day(TICKER)
        more = {"params.ceiling": "0.12", "latency_seconds": "2", "make": "on", "engine": ""}
        response = client.post("/backtests/new/", WISH | more)
        result = BacktestResult.objects.get()
        assert response["Location"] == f"/backtests/{result.pk}/"
        assert (result.user, result.params["ceiling"], result.tickers) == (user, 0.12, [TICKER])
        assert (result.start, result.cash) == (NOON, Decimal(10_000))
        assert result.execution["latency_seconds"] == 2.0
        assert result.execution["make"] is True
        assert result.execution["assumed_size"] is None

    def test_without_an_end_a_run_ends_just_after_the_newest_quote(self, client, user):
        a_recorded_day(TICKER)
        client.post("/backtests/new/", {**WISH, "end": ""})
        newest = datetime(2025, 11, 20, 17, 50, tzinfo=UTC)
        assert BacktestResult.objects.get().end == newest + timedelta(seconds=1)

    @pytest.mark.parametrize(
        ("changes", "field", "message"),
        [
            ({"params.ceiling": "0.9"}, "params.ceiling", "Must be at most 0.5."),
            ({"params.contracts": "many"}, "params.contracts", "Must be a number."),
            ({"tickers": "KXNONE"}, "tickers", "Not on record: KXNONE."),
            ({"tickers": ""}, "tickers", "Name a series, an event or a market."),
            ({"tickers": "", "series": "KXNONE"}, "series", "Not on record: KXNONE."),
            ({"end": "2025-11-20T12:00"}, "end", "Must be after the start."),
            ({"end": "2199-01-01T00:00"}, "end", "is in the future"),
            ({"start": ""}, "start", "required"),
            ({"cash": "0"}, "cash", "Must be above 0"),
            ({"cash": "-1"}, "cash", "greater than or equal to 0"),
            ({"latency_seconds": "-1"}, "latency_seconds", "greater than or equal to 0"),
            ({"tickers": "X" * 300}, "tickers", "at most 200 characters"),
            ({"strategy": "exclusive-arbitrage", "make": "on"}, "make", "decides itself"),
        ],
    )
    def test_errors_stand_at_their_fields(self, client, user, changes, field, message):
        a_recorded_day(TICKER)
        response = client.post("/backtests/new/", WISH | changes)
        assert response.status_code == 400
        assert BacktestResult.objects.count() == 0
        html = response.content.decode()
        assert f'id="id_{field}_error"' in html
        assert message in html
        assert "Please correct the fields marked below." in html

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"latency_snapshots": "1"}, "latency_snapshots: It is gone: orders meet the first"),
            ({"speed": "1"}, "speed: Unknown field. Known fields: latency_seconds"),
        ],
    )
    def test_execution_fields_that_there_are_not_are_refused_by_name(
        self, client, user, changes, words
    ):
        a_recorded_day(TICKER)
        response = client.post("/backtests/new/", WISH | changes)
        assert response.status_code == 400
        assert words in response.content.decode()
        assert BacktestResult.objects.count() == 0

    def test_there_is_room_for_few_unfinished_runs(self, client, user):
        a_recorded_day(TICKER)
        for _ in range(MAX_UNFINISHED):
            a_backtest("queued", user=user)
        response = client.post("/backtests/new/", WISH)
        assert response.status_code == 400
        assert "5 unfinished backtests" in response.content.decode()


class TestDetail:
    def test_a_run_that_is_done_tells_its_verdict_first(self, client, user):
        a_recorded_day(TICKER)
        # The quotes are ten minutes apart.
        more = {"params.belief": "0.3", "check_lookahead": "on", "across_gaps": "wait"}
        client.post("/backtests/new/", WISH | more)
        done = BacktestResult.objects.get()
        runner.run(done.pk)
        done.refresh_from_db()
        html = page(client, f"/backtests/{done.pk}/")
        assert done.verdict in html.replace("&#x27;", "'")
        assert "Look-ahead check. Clean:" in " ".join(html.split())
        text = words(html)
        assert (
            text.index("Earned $")
            < text.index("Compared with the yardsticks")
            < text.index("Figures")
        )
        assert "random-entry" in text
        assert "Win rate The share of events with a profit" in text
        assert "too few to annualise" in text
        assert "buy NO 10 10¢ 10¢–12¢" in text
        assert f"/api/v1/backtests/{done.pk}/executions/?format=csv" in html
        assert f'data-url="/api/v1/backtests/{done.pk}/equity/"' in html
        assert "python manage.py reproduce" in html

        assert "Overfitting. The only trial of this strategy so far." in text
        assert "Significance. The moments of entry were not tested: 1 event had" in text

    def test_a_result_is_judged_by_the_trials_that_led_to_it(self, client):
        moments = {"periods": 200, "skewness": -0.5, "kurtosis": 4.0}
        timing = {"p_value": 0.0312, "effect": 12_345.0, "words": "Of 999 moves."}
        gained = {"money": {"pnl": 2_000_000}, "events": {"traded": 120, "won": 80}}
        done = a_backtest(
            figures=gained | {"ratios": {"sharpe": 2.5, **moments}, "significance": timing},
            yardsticks={"do-nothing": gained},
        )
        Trial.objects.record_all(
            TrialRow(done.strategy, {"ceiling": n}, "", "", 200, n / 100, 0.0, 3.0)
            for n in range(20)
        )
        text = words(page(client, f"/backtests/{done.pk}/"))
        assert "Overfitting. 20 trials of this strategy so far, in every version" in text
        assert "it may well be luck" in text
        assert "Significance. Of 999 moves." in text
        assert "with any parameters or markets. 20 –" in text
        assert "gain as much. 0.0312 –" in text
        assert "gain on average. +$0.0123 –" in text

    def test_a_band_is_drawn_beside_the_yardsticks(self, client):
        band = {
            name: {"money": {"pnl": pnl}}
            for name, pnl in (("fewest", 3_000_000), ("most", -1_000_000), ("expected", 2_000_000))
        }
        own, other = {"money": {"pnl": 2_000_000}}, {"always-no": {"money": {"pnl": 1_000_000}}}
        done = a_backtest(figures=own, band=band, yardsticks=other)
        html = page(client, f"/backtests/{done.pk}/")
        assert "most \u2212$1.00 expected +$2.00 fewest +$3.00" in words(html)
        assert '<path class="band up" d="M2.00 7H98.00" />' in html
        assert '<path class="zero" d="M26.00 2V12" />' in html
        assert '<path class="last" d="M74.00 0V14" />' in html

    def test_what_cannot_be_said_is_a_dash_and_never_a_zero(self, client):
        figures = {"money": {"pnl": 0}, "drawdown": {"share": 0.0, "days": None}}
        done = a_backtest(
            figures=figures, yardsticks={"do-nothing": {**figures, "drawdown": {"days": 2.0}}}
        )
        assert (
            "Drawdown duration Until equity was back at its peak, or until the end. – 2.0 d"
            in words(page(client, f"/backtests/{done.pk}/"))
        )

    def test_executions_are_paged_and_narrowed(self, client):
        done = a_backtest()
        for number in range(1, 61):
            a_fill(done, number, kind="fill" if number % 2 else "order", **_kind(number))
        html = page(client, f"/backtests/{done.pk}/?page=2", "executions")
        assert "<html" not in html
        assert "51–60 of 60" in html
        assert html.count("<tr>") == 11
        assert page(client, f"/backtests/{done.pk}/?kind=fill", "executions").count("<tr>") == 31
        assert "There are none." in page(
            client, f"/backtests/{done.pk}/?kind=settled", "executions"
        )

    def test_a_kind_or_a_page_of_executions_that_is_not_there_is_named(self, client):
        done = a_backtest()
        a_fill(done)
        html = page(client, f"/backtests/{done.pk}/?kind=odd&page=2")
        assert "there is no kind “odd”" in html
        assert "there is no page “2”" in html
        assert "there is no" not in page(client, f"/backtests/{done.pk}/?kind=fill&page=1")

    def test_a_run_under_way_refreshes_and_then_shows_its_result(self, client):
        run = a_backtest("running", doing="reading quotes")
        html = page(client, f"/backtests/{run.pk}/")
        assert 'hx-trigger="every 1s, refresh"' in html
        assert "Reading quotes" in page(client, f"/backtests/{run.pk}/", "progress")
        BacktestResult.objects.fail(run, "out of luck", now=datetime.now(UTC))
        headers = {"HX-Request": "true", "HX-Target": "progress"}
        assert client.get(f"/backtests/{run.pk}/", headers=headers)["HX-Refresh"] == "true"

    def test_who_waits_long_is_told_to_look_for_a_worker(self, client):
        fresh, old = (
            a_backtest("queued", created_at=datetime.now(UTC) - timedelta(seconds=seconds))
            for seconds in (5, 90)
        )
        assert "Is one running?" not in page(client, f"/backtests/{fresh.pk}/")
        assert "Is one running?" in page(client, f"/backtests/{old.pk}/")

    def test_a_failed_run_says_why_and_leads_back_to_what_was_asked(self, client):
        failed = a_backtest("failed", execution={"make": True, "assumed_size": None})
        html = page(client, f"/backtests/{failed.pk}/")
        assert "The strategy raised ValueError: odd" in html
        [again] = set(re.findall(r'href="/backtests/new/\?([^"]+)"', html))
        form_query = parse_qs(again.replace("&amp;", "&"))
        assert form_query["params.ceiling"] == ["0.12"]
        assert form_query["start"] == ["2025-11-20T12:00:00"]
        assert form_query["make"] == ["True"]
        assert "assumed_size" not in form_query
        form = page(client, f"/backtests/new/?{again.replace('&amp;', '&')}")
        assert re.search(r'name="params.ceiling" value="0.12"', form)
        assert re.search(r'name="make"[^>]*checked', form)

    def test_running_again_keeps_what_was_set_to_zero(self, client):
        zeros = {"patience_seconds": 0, "latency_seconds": 0.0}
        done = a_backtest(params={"belief": 0.0, "contracts": 10}, execution=zeros)
        form = page(client, f"/backtests/new/?{again(page(client, f'/backtests/{done.pk}/'))}")
        assert re.search(r'name="params.belief" value="0.0"', form)
        assert re.search(r'name="patience_seconds" value="0"', form)
        assert re.search(r'name="latency_seconds" value="0.0"', form)

    def test_a_result_shows_the_execution_fields_that_it_ran_with(self, client):
        done = a_backtest(execution={"latency_snapshots": 2, "make": False})
        html = page(client, f"/backtests/{done.pk}/")
        assert "Latency, books 2" in words(html)
        assert "Orders on their way into a gap" not in html
        assert "latency_snapshots" not in again(html)

    def test_running_again_keeps_what_was_switched_off(self, client, monkeypatch):
        monkeypatch.setitem(STRATEGIES, "hedger", Hedger)
        done = a_backtest(strategy="hedger", params={"hedged": False, "patient": True})
        form = page(client, f"/backtests/new/?{again(page(client, f'/backtests/{done.pk}/'))}")
        boxes = re.findall(r'<input type="checkbox" name="params.(\w+)"([^>]*)>', form)
        assert {name: "checked" in rest for name, rest in boxes} == {
            "hedged": False,
            "patient": True,
        }
        # A checkbox with its own value would send that once it is ticked.
        assert 'value="False"' not in form

    def test_an_unknown_run_is_not_found(self, client):
        for id in ("404", "9" * 30):
            assert client.get(f"/backtests/{id}/").status_code == 404


class TestCancelling:
    def test_ones_own_run_ends(self, client, user):
        run = a_backtest("queued", user=user)
        assert "Cancel" in page(client, f"/backtests/{run.pk}/")
        response = client.post(f"/backtests/{run.pk}/cancel/")
        assert response["Location"] == f"/backtests/{run.pk}/"
        assert "Cancelled; no results were stored." in page(client, f"/backtests/{run.pk}/")

    def test_who_may_run_no_more_ends_no_more(self, client):
        once = a_user(may_run=False)
        client.force_login(once)
        run = a_backtest("queued", user=once)
        assert "/cancel/" not in page(client, f"/backtests/{run.pk}/")
        assert client.post(f"/backtests/{run.pk}/cancel/").status_code == 403

    def test_those_of_others_do_not(self, client, user):
        run = a_backtest("queued")
        assert "/cancel/" not in page(client, f"/backtests/{run.pk}/")
        assert client.post(f"/backtests/{run.pk}/cancel/").status_code == 403
        run.refresh_from_db()
        assert run.status == "queued"


def _kind(number: int) -> dict[str, Any]:
    return {} if number % 2 else {"liquidity": "", "fee": 0}


def test_each_series_of_a_chart_has_a_look_of_its_own(settings):
    styles = (settings.BASE_DIR / "static/css/app.css").read_text()
    looks: dict[int, set[str]] = {number: set() for number in range(1, MOST_NAMES + 2)}
    for names, look in re.findall(r"^(\.key-series-\d.*?) \{ (.*) \}$", styles, re.MULTILINE):
        for number in re.findall(r"\.key-series-(\d+)", names):
            looks[int(number)].add(look)
    assert all(looks.values())
    assert len(set(map(frozenset, looks.values()))) == len(looks)
