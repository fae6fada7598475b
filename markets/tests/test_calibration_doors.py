"""Calibration on the terminal, by the API and on its page."""

import csv
import re
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command

from markets.calibration.scores import Scores
from markets.calibration.words import verdict
from markets.tests.test_calibration import twenty_markets

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at"),
]
API, PAGE = "/api/v1/calibration/", "/calibration/"


@pytest.fixture
def markets():
    cache.clear()
    twenty_markets()


def run(*options):
    out = StringIO()
    call_command("calibrate", *options, stdout=out)
    return out.getvalue()


# --- the command --------------------------------------------------------------------------------


def test_the_command_prints_coverage_curve_scores_and_returns(markets):
    words = run("--minimum", "18")
    assert words.startswith("Midpoint (spread up to 10¢), 24 hours before the close; recorded live")
    assert "19 of 20 settled markets have a usable price (95.0%), in 19 events" in words
    assert "19  counted from the close as scheduled then" in words
    assert "1  left out: no quote on record then" in words
    assert "10–20¢       18       18    11.0%      11.1%" in words
    assert "80–90¢        1        1        –          –" in words
    assert "Brier score 0.0957" in words
    assert "NO bought at its ask" in words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--series", "KXNONE"], "--series: there is no series 'KXNONE' on record"),
        (["--category", "x"], "--category: there is no category 'x' on record"),
        (["--start", "noon"], "--start: 'noon' is neither a day nor an instant"),
        (["--max-spread", "wide"], "--max-spread: 'wide' is not a number of dollars"),
        (["--max-age", "0"], "--max-age: must be a whole number"),
        (["--import", "7"], "--import: 7 is not on record"),
        (["--source", "imported"], "--source: name the imports whose quotes count"),
    ],
)
def test_a_wrong_flag_is_named(markets, options, message):
    with pytest.raises(CommandError) as caught:
        run(*options)
    assert message in str(caught.value)
    assert caught.value.returncode == 2


def test_tickers_and_categories_count_in_any_case(markets):
    assert "1 of 1 settled markets" in run("--series", "skxrain-3", "--category", "CLIMATE")


def test_a_record_without_settled_markets_says_so():
    cache.clear()
    assert "nothing can be said" in run()


# --- the verdict --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bias", "low", "high", "words"),
    [
        (-0.02, -0.03, -0.01, "The prices were too high by 2¢ on average"),
        (0.012, 0.003, 0.021, "The prices were too low by 1.2¢ on average"),
        (0.001, -0.01, 0.01, "Right on average, as far as 40 events tell"),
        (0.5, None, None, "Only 40 events: too few to say"),
    ],
)
def test_the_verdict_says_no_more_than_the_events_tell(bias, low, high, words):
    others = dict.fromkeys(Scores.__dataclass_fields__, 0.0)
    found = Scores(**others | {"events": 40, "bias": bias, "bias_low": low, "bias_high": high})
    assert words in verdict(found)


# --- the API ------------------------------------------------------------------------------------


def test_the_api_answers_with_the_figures(markets, client):
    answer = client.get(API, {"minimum": 18}).json()
    assert answer["coverage"]["left_out"] == [{"reason": "no_quote", "count": 1}]
    assert answer["coverage"]["anchors"] == [{"anchor": "scheduled_close", "count": 19}]
    assert answer["curve"][1]["outcome"] == pytest.approx(2 / 18)
    assert answer["scores"]["brier"] == pytest.approx(0.0957, abs=1e-4)
    assert len(answer["returns_no"]) == 10


def test_the_api_lists_the_markets_of_a_bin(markets, client):
    answer = client.get(f"{API}markets/", {"bin": 1, "limit": 5}).json()
    assert (answer["count"], len(answer["results"])) == (18, 5)
    assert answer["results"][0]["yes_ask"] == "0.1200"
    assert client.get(f"{API}markets/").json()["count"] == 19


def test_the_markets_come_as_csv(markets, client):
    response = client.get(f"{API}markets/", {"format": "csv", "price": "ask-no"})
    rows = list(csv.DictReader(StringIO(response.getvalue().decode())))
    assert len(rows) == 19
    assert {row["outcome"] for row in rows} == {"0.0", "1.0"}
    assert rows[0]["observed_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"moment": "2h"}, "moment"),
        ({"imports": "x"}, "imports"),
        ({"imports": "99"}, "imports"),
        ({"bins": "7"}, "bins"),
        ({"max_age": "1.5"}, "max_age"),
        ({"series": "KXNONE"}, "series"),
        ({"start": "2026-09-02T00:00:00Z", "end": "2026-09-01T00:00:00Z"}, "end"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_the_api_names_what_is_wrong(markets, client, query, field):
    for address in (API, f"{API}markets/"):
        response = client.get(address, query)
        assert response.status_code == 400
        assert list(response.json()["details"]) == [field]


def test_a_bin_that_is_not_there_is_refused(markets, client):
    response = client.get(f"{API}markets/", {"bin": 7, "bins": 5})
    assert response.json()["details"] == {"bin": ["must be a whole number from 0 to 4"]}


# --- the page -----------------------------------------------------------------------------------


def fragment(name):
    return {"HX-Request": "true", "HX-Target": name}


def test_the_page_shows_the_figures_and_what_was_left_out(markets, client):
    html = client.get(PAGE, {"minimum": 18}).content.decode()
    assert "19 of 20 settled markets (95.0 %) have a usable price" in html
    assert "no quote on record then" in html
    assert "11.1 %" in html
    assert 'id="calibration-data"' in html
    assert 'aria-current="page"' in html


def test_a_bin_leads_to_its_markets_without_javascript(markets, client):
    html = client.get(PAGE, {"bin": 8}).content.decode()
    assert "1 market with a price of 80–90¢" in html
    assert "/markets/KXRAIN-18-T18/" in html
    assert "79¢–81¢" in html


def test_htmx_gets_the_markets_of_a_bin_alone(markets, client):
    html = client.get(PAGE, {"bin": 8}, headers=fragment("bin-markets")).content.decode()
    assert html.strip().startswith('<section class="bin-markets"')
    assert "KXRAIN-18-T18" in html


def test_a_choice_answers_with_the_results_alone(markets, client):
    html = client.get(PAGE, {"price": "ask-yes"}, headers=fragment("results")).content.decode()
    assert html.strip().startswith('<div id="results">')
    assert "ask of YES" in html


def test_a_wrong_choice_is_said_beside_its_field(markets, client):
    response = client.get(PAGE, {"max_age": "old"})
    assert response.status_code == 400
    html = response.content.decode()
    assert "max_age: Must be a whole number from 1 to 10080." in html
    assert "imports: 99 is not on record" in client.get(PAGE, {"imports": 99}).content.decode()


def test_days_are_bounds_of_the_settlement(markets, client):
    html = client.get(PAGE, {"start": "2026-09-04", "end": "2026-09-05"}).content.decode()
    assert "19 of 20 settled markets" in html
    assert "start=2026-09-04T00%3A00%3A00Z" in html
    assert "No settled market fits" in client.get(PAGE, {"start": "2026-09-05"}).content.decode()


def test_the_page_of_an_empty_record_says_what_to_do(client):
    cache.clear()
    html = client.get(PAGE).content.decode()
    assert "No settled market fits" in html
    assert "manage.py backfill" in html


def test_without_a_usable_price_the_page_says_why_and_what_else_to_choose(markets, client):
    html = client.get(PAGE, {"source": "backfilled", "moment": "1h"}).content.decode()
    assert "No settled market has a usable price" in html
    assert "no quote on record then (20)" in html
    assert re.search(r'href="/calibration/\?[^"]*source=recorded[^"]*">recorded live</a>', html)
    assert 'id="calibration-data"' not in html


def test_where_a_choice_leaves_no_market_the_page_offers_to_start_again(markets, client):
    html = client.get(PAGE, {"end": "2020-01-01"}).content.decode()
    assert '<a href="/calibration/">Start again</a> with all of them.' in html
