"""Calibration on the terminal, by the API and on its page."""

import csv
import re
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command

from markets.calibration.reliability import ReliabilityBin
from markets.calibration.scores import Scores
from markets.calibration.words import verdict
from markets.models import MarketSnapshot
from markets.tests.test_calibration import a_fee, a_settled_market, twenty_markets

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


def test_the_command_reads_anew_and_says_when():
    cache.clear()
    assert "0 of 0 settled markets" in run()
    twenty_markets()
    words = run()
    assert "19 of 20 settled markets" in words
    assert re.search(r"^Read \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", words, re.MULTILINE)


@pytest.mark.parametrize(("moment", "warns"), [("first", True), ("random", True), ("1h", False)])
def test_page_and_command_warn_where_markets_that_ended_early_are_favoured(
    markets, client, moment, warns
):
    words = "those that ended early are settled"
    assert (words in run("--moment", moment)) == warns
    assert (words in client.get(PAGE, {"moment": moment}).content.decode()) == warns


def test_the_command_prints_the_scores_of_parts(markets):
    words = run("--minimum", "18", "--by", "category")
    assert re.search(r"^By category$", words, re.MULTILINE)
    assert re.search(r"^Climate +19 +19 +14\.6% +15\.8% +\+1\.2%", words, re.MULTILINE)
    assert re.search(r"^10m +0 +0 +–", run("--by", "moment"), re.MULTILINE)
    MarketSnapshot.objects.all().delete()
    assert "By category" not in run("--by", "category")


def test_asks_that_could_be_bought_are_told_where_no_midpoint_counts():
    cache.clear()
    a_fee(a_settled_market(quotes=((None, "0.12"),)).event.series)
    words = run()
    assert "nothing can be said" in words
    assert "YES bought at its ask" in words
    assert "NO bought at its ask" not in words


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
    assert verdict(found, []).startswith(words)


def a_bin(low, price, interval):
    return ReliabilityBin(
        low=low, high=low + 0.1, count=30, events=30, price=price, outcome=interval and 0.5,
        outcome_low=interval and interval[0], outcome_high=interval and interval[1],
    )  # fmt: skip


RIGHT = a_bin(0.5, 0.55, (0.4, 0.6))
TOO_DEAR, TOO_CHEAP = a_bin(0.1, 0.15, (0.02, 0.1)), a_bin(0.8, 0.85, (0.9, 0.98))


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ([RIGHT, a_bin(0.7, None, None)], "No interval of 1 bin leaves out its mean price."),
        (
            [TOO_DEAR, RIGHT],
            "Of the intervals of 2 bins 1 leaves out the mean price: 10–20¢ (too high);"
            " of right prices one in twenty does.",
        ),
        (
            [TOO_DEAR, RIGHT, TOO_CHEAP],
            "Of the intervals of 3 bins 2 leave out the mean price: 10–20¢ (too high), 80–90¢"
            " (too low); of right prices one in twenty does.",
        ),
    ],
)
def test_a_bias_that_the_mean_hides_is_named_with_the_number_of_bins(curve, words):
    """Longshots too dear and favourites too cheap are right on average."""
    others: dict[str, Any] = dict.fromkeys(Scores.__dataclass_fields__, 0.0)
    found = verdict(Scores(**others | {"events": 90}), curve)
    assert found.startswith("Right on average")
    assert found.endswith(words)


# --- the API ------------------------------------------------------------------------------------


def test_the_api_answers_with_the_figures(markets, client):
    answer = client.get(API, {"minimum": 18}).json()
    assert answer["coverage"]["left_out"] == [{"reason": "no_quote", "count": 1}]
    assert answer["coverage"]["anchors"] == [{"anchor": "scheduled_close", "count": 19}]
    assert answer["curve"][1]["outcome"] == pytest.approx(2 / 18)
    assert answer["scores"]["brier"] == pytest.approx(0.0957, abs=1e-4)
    assert len(answer["returns_no"]) == 10
    assert answer["breakdown"] is None


def test_the_api_has_the_trail_of_scores(markets, client):
    trail = client.get(API).json()["trail"]
    assert (len(trail["at"]), trail["window"], sum(trail["classes"])) == (19, 200, 19)
    assert trail["score"][-1] == pytest.approx(0.04)


def test_the_api_has_the_scores_of_parts(markets, client):
    answer = client.get(API, {"by": "category", "minimum": 18}).json()["breakdown"]
    assert (answer["by"], answer["left_out"]) == ("category", 0)
    (group,) = answer["groups"]
    assert (group["group"], group["count"], group["events"]) == ("Climate", 19, 19)
    assert group["brier"] == pytest.approx(0.0957, abs=1e-4)
    wrong = client.get(API, {"by": "colour"})
    assert list(wrong.json()["details"]) == ["by"]
    assert client.get(f"{API}markets/", {"by": "category"}).status_code == 400


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


@pytest.mark.parametrize(
    ("by", "group", "link"),
    [
        ("category", "Climate", "?category=Climate"),
        ("series", "SKXRAIN-3", "?series=SKXRAIN-3"),
        ("month", "2026-09", "?start=2026-09-01&amp;end=2026-10-01"),
        ("moment", "6 hours before the close", "?moment=6h"),
    ],
)
def test_each_part_leads_to_its_own_figures(markets, client, by, group, link):
    html = client.get(PAGE, {"by": by}).content.decode()
    (address,) = re.findall(rf'<a href="([^"]*)">{group}</a>', html)
    assert address == f"{PAGE}{link}"
    assert client.get(unescape(address)).status_code == 200
    assert f"by={by}" in html
    assert f"markets/?by={by}" not in html


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
