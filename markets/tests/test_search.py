"""Searches by words, tickers in any case, and addresses of the exchange's web site."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

from markets.kalshi import payloads
from markets.kalshi.web import names_in_address
from markets.models import Event, Market, Poll, Series, Sweep
from markets.models.search import search_words
from markets.recording.recorder import record_tick
from markets.tests.factories import a_market, an_event
from markets.tests.fake_exchange import series_json

pytestmark = pytest.mark.django_db

API = "/api/v1"
NAME = "Luka Dončić"
FORMS: list[Any] = ["NFC", "NFD", "NFKC", "NFKD"]


def tickers_of(client, path: str, **query: str) -> list[str]:
    response = client.get(f"{API}/{path}/", query)
    assert response.status_code == 200, response.content
    return [row["ticker"] for row in response.json()["results"]]


def refusal(client, path: str, **query: str) -> dict[str, list[str]]:
    response = client.get(f"{API}/{path}/", query)
    assert response.status_code == 400, response.content
    details: dict[str, list[str]] = response.json()["details"]
    return details


class TestWords:
    @pytest.mark.parametrize("stored", FORMS)
    @pytest.mark.parametrize(
        "word",
        ["doncic", "DONCIC", "Dončić", "dončić", *(unicodedata.normalize(f, NAME) for f in FORMS)],
    )
    def test_accents_case_and_normal_form_make_no_difference(self, client, stored, word):
        event = an_event(unicodedata.normalize(stored, f"{NAME} points"), ticker="KXPTS")
        a_market("KXPTS-40", event=event)
        a_market("KXRAIN-1")
        assert tickers_of(client, "markets", q=word) == ["KXPTS-40"]
        assert tickers_of(client, "events", q=word) == ["KXPTS"]

    @pytest.mark.parametrize(
        ("title", "word"),
        [
            ("Łódź", "lodz"),
            ("lodz", "ŁÓDŹ"),
            ("Ødegaard", "odegaard"),
            ("Weißwurst", "weisswurst"),
            ("WEISSWURST", "weißwurst"),
            ("Ægir", "aegir"),
            ("İstanbul", "istanbul"),
            ("\ufb01nal", "final"),
            ("\uff26\uff45\uff44", "fed"),
            ("日本国", "日本国"),
        ],
    )
    def test_letters_of_other_alphabets_are_found_by_plain_ones(self, client, title, word):
        a_market("KXA-1", event="Something else", yes_sub_title=title)
        a_market("KXB-1", event=an_event("Other", ticker="KXB"), yes_sub_title="No")
        assert tickers_of(client, "markets", q=word) == ["KXA-1"]

    def test_series_are_found_without_their_accents(self, client):
        error_text = json.dumps(series_json("KXPGA") | {"title": "Torneo de México"}).encode()
        Series.objects.refresh([payloads.series(error_text)], at=datetime.now(UTC))
        assert tickers_of(client, "series", q="mexico") == ["KXPGA"]

    def test_a_page_finds_what_the_api_finds(self, client):
        a_market("KXPTS-40", event=an_event(NAME, ticker="KXPTS"))
        assert "KXPTS-40" in client.get("/markets/?q=doncic").content.decode()

    def test_words_of_one_or_two_letters_count_as_the_beginning_of_a_ticker(self, client):
        a_market("KXA-1", event=an_event("Rain in New York", ticker="KXA"))
        a_market("INX-1", event=an_event("Rain in New York", ticker="INX"))
        assert tickers_of(client, "markets", q="in") == ["INX-1"]
        assert tickers_of(client, "markets", q="york kx") == ["KXA-1"]
        assert tickers_of(client, "markets", q="rk") == []
        assert tickers_of(client, "events", q="In") == ["INX"]
        # Signs are no letters.
        assert tickers_of(client, "markets", q="-1") == []
        assert tickers_of(client, "markets", q="%") == []

    def test_signs_stand_for_themselves(self, client):
        a_market("KXA-1", yes_sub_title="100% or 50_50 or back\\slash")
        a_market("KXB-1", yes_sub_title="1000 or 50x50 or backslash")
        for words in ("100%", "50_50", "back\\slash"):
            assert tickers_of(client, "markets", q=words) == ["KXA-1"]

    def test_a_word_does_not_run_from_one_title_into_the_next(self, client):
        a_market("KXA-1", event=an_event("Rain", ticker="KXA"), title="bow")
        assert tickers_of(client, "markets", q="rainbow") == []

    def test_more_words_than_can_be_searched_for_are_refused(self, client):
        words = "one two three four five six seven eight nine"
        assert list(refusal(client, "markets", q=words)) == ["q"]
        assert list(refusal(client, "events", q=words)) == ["q"]
        assert tickers_of(client, "markets", q=f"{words.removesuffix(' nine')} One TWO") == []
        response = client.get("/markets/", {"q": words})
        assert response.status_code == 400
        assert "At most 8 words" in response.content.decode()

    def test_a_word_within_another_one_is_not_searched_for_twice(self):
        assert search_words("Rain rain RAINY rai ra") == ["rainy", "ra"]

    @pytest.mark.parametrize("path", ["series", "events", "markets"])
    def test_words_are_looked_up_in_an_index(self, path):
        models: dict[str, Any] = {"series": Series, "events": Event, "markets": Market}
        model = models[path]
        with connection.cursor() as cursor:
            # A table of a few rows is quicker read as a whole.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
        plan = model.objects.search(["york", "rain"]).explain()
        assert f"Bitmap Index Scan on {model._meta.model_name}searchtext_trigrams" in plan
        assert "markets_fold" not in plan, "folded for every row"


class TestRecording:
    pytestmark = pytest.mark.django_db(transaction=True)

    def tick(self, exchange) -> None:
        Poll.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
        Sweep.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
        with exchange.client() as client:
            poll = record_tick(client, interval=1.0)
        assert poll is not None
        assert poll.error == ""

    def test_what_is_recorded_is_found_at_once(self, client, exchange):
        exchange.list("KXA-1-X", yes_sub_title="Dončić")
        exchange.list("KXA-1-Y", yes_sub_title="Jokić")
        self.tick(exchange)
        assert tickers_of(client, "markets", q="doncic") == ["KXA-1-X"]
        assert tickers_of(client, "markets", q="what jokic") == ["KXA-1-Y"]
        assert tickers_of(client, "events", q="what") == ["KXA-1"]
        assert tickers_of(client, "series", q="kxa") == ["KXA"]

    def test_a_market_is_found_by_its_new_titles_and_not_by_the_old(self, client, exchange):
        exchange.list("KXA-1-X", yes_sub_title="Before")
        exchange.event_titles["KXA-1"] = "Sunshine"
        self.tick(exchange)
        exchange.event_titles["KXA-1"] = "Snowfall"
        self.tick(exchange)
        assert (
            tickers_of(client, "markets", q="sunshine")
            == tickers_of(client, "events", q="sunshine")
            == []
        )
        assert tickers_of(client, "markets", q="snowfall before") == ["KXA-1-X"]
        assert tickers_of(client, "events", q="snowfall") == ["KXA-1"]
        exchange.markets["KXA-1-X"] |= {
            "yes_sub_title": "After",
            "updated_time": "2026-11-02T12:00:00Z",
        }
        self.tick(exchange)
        assert tickers_of(client, "markets", q="before") == []
        assert tickers_of(client, "markets", q="after snowfall") == ["KXA-1-X"]


# --- Tickers in any case ------------------------------------------------------------------------

TICKER = "KXRAIN-26NOV21-T0.5"
SPELLINGS = [TICKER, TICKER.lower(), "kxRain-26nov21-t0.5"]


@pytest.fixture
def rain():
    a_market("KXSNOW-26-T1", event=an_event("Snow", ticker="KXSNOW-26"))
    return a_market(TICKER, event=an_event("Rain", ticker="KXRAIN-26NOV21"))


class TestTickers:
    pytestmark = pytest.mark.usefixtures("rain")

    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_a_path_takes_them_in_any_case(self, client, spelling):
        for path in ("", "snapshots/", "coverage/", "candlesticks/", "revisions/", "trades/"):
            assert client.get(f"{API}/markets/{spelling}/{path}").status_code == 200
        assert client.get(f"{API}/markets/{spelling}/").json()["ticker"] == TICKER
        assert client.get(f"/markets/{spelling}/chart.json").status_code == 200

    def test_events_and_series_are_named_in_any_case(self, client):
        assert client.get(f"{API}/events/kxrain-26nov21/").json()["ticker"] == "KXRAIN-26NOV21"
        assert client.get(f"{API}/series/skxrain-26nov21/").json()["ticker"] == "SKXRAIN-26NOV21"

    def test_a_page_leads_to_its_one_address(self, client):
        response = client.get(f"/markets/{TICKER.lower()}/?table=1d")
        assert response.status_code == 302
        assert response.headers["Location"] == f"/markets/{TICKER}/?table=1d"

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("markets", {"event": "kxrain-26nov21"}),
            ("markets", {"series": "Skxrain-26NOV21"}),
            ("markets", {"category": "climate", "event": "KXRAIN-26NOV21"}),
        ],
    )
    def test_a_query_takes_them_in_any_case(self, client, path, query):
        assert tickers_of(client, path, **query) == [TICKER]
        html = client.get(f"/{path}/", query).content.decode()
        assert f'data-ticker="{TICKER}"' in html
        assert "KXSNOW" not in html

    def test_events_of_a_series_are_named_in_any_case(self, client):
        assert tickers_of(client, "events", series="skxrain-26nov21") == ["KXRAIN-26NOV21"]

    @pytest.mark.parametrize("name", ["100%", "%s%d", "%(name)s", "{0}", "<b>", "KXÄ"])
    def test_one_that_nobody_knows_is_quoted_whatever_it_is(self, client, name):
        assert name in refusal(client, "markets", event=name)["event"][0]
        assert client.get("/markets/", {"event": name}).status_code == 400

    @pytest.mark.parametrize("as_of", [{}, {"as_of": "2026-11-20T12:00:00Z"}])
    @pytest.mark.parametrize(
        ("path", "name"), [("markets", "event"), ("markets", "series"), ("events", "series")]
    )
    def test_one_that_nobody_knows_is_refused_by_name_in_a_query(self, client, path, name, as_of):
        details = refusal(client, path, **{name: "KXNONE", **as_of})
        assert details == {name: [f"There is no {name} KXNONE on record."]}

    def test_a_page_says_which_one_nobody_knows(self, client):
        response = client.get("/markets/?event=KXNONE-1")
        assert response.status_code == 400
        assert "There is no event KXNONE-1 on record." in response.content.decode()
        assert TICKER not in response.content.decode()

    def test_one_that_nobody_knows_is_a_404_that_says_it_in_a_path(self, client):
        for path in ("markets", "events", "series"):
            response = client.get(f"{API}/{path}/kxnone-1/")
            assert response.status_code == 404
            assert "kxnone-1" in response.json()["message"]
        response = client.get("/markets/kxnone-1/")
        assert response.status_code == 404
        assert "kxnone-1" in response.content.decode()

    def test_of_two_that_differ_in_case_only_each_is_found_by_its_own_spelling(self, client):
        a_market(TICKER.lower())
        for spelling in SPELLINGS[:2]:
            assert client.get(f"{API}/markets/{spelling}/").json()["ticker"] == spelling

    def test_they_are_looked_up_in_an_index(self):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        for model in (Series, Event, Market):
            index = f"{model._meta.model_name}_ticker_any_case"
            assert index in model.objects.named("kxrain").explain()


# --- Addresses of the exchange ------------------------------------------------------------------


class TestAddresses:
    pytestmark = pytest.mark.usefixtures("rain")

    @pytest.mark.parametrize(
        "address",
        [
            f"https://kalshi.com/events/KXRAIN-26NOV21/markets/{TICKER}",
            f"https://kalshi.com/markets/{TICKER.lower()}",
            f"https://kalshi.com/markets/kxrain/rain-in-nyc/kxrain-26nov21#{TICKER.lower()}",
            f"https://kalshi.com/markets/kxrain/rain/kxrain-26nov21?market={TICKER}&utm_source=x",
            f"https://api.elections.kalshi.com/trade-api/v2/markets/{TICKER}/orderbook",
            f" kalshi.com/markets/kxrain/{TICKER}/ ",
            f"HTTPS://WWW.KALSHI.COM/MARKETS/{TICKER}",
            f"https://demo.kalshi.co/markets/{TICKER}",
        ],
    )
    def test_an_address_leads_to_the_market_that_it_names(self, client, address):
        response = client.get("/markets/", {"q": address})
        assert response.status_code == 302
        assert response.headers["Location"] == f"/markets/{TICKER}/"
        assert tickers_of(client, "markets", q=address) == [TICKER]

    @pytest.mark.parametrize(
        "address",
        [
            "https://kalshi.com/markets/skxrain-26nov21/rain-in-new-york/kxrain-26nov21",
            "https://kalshi.com/markets/skxrain-26nov21/rain-in-new-york#kxrain-26nov21",
            "https://kalshi.com/events/KXRAIN-26NOV21",
            "https://www.kalshi.com/events/kxrain-26nov21/?ref=mail",
        ],
    )
    def test_an_address_leads_to_the_markets_of_the_event_that_it_names(self, client, address):
        response = client.get("/markets/", {"q": address})
        assert response.headers["Location"] == "/markets/?event=KXRAIN-26NOV21&status=all"
        assert f'data-ticker="{TICKER}"' in client.get(response["Location"]).content.decode()
        assert tickers_of(client, "events", q=address) == ["KXRAIN-26NOV21"]
        assert tickers_of(client, "markets", q=address) == [TICKER]

    def test_an_address_leads_to_the_markets_of_the_series_that_it_names(self, client):
        address = "https://kalshi.com/markets/skxrain-26nov21/rain-in-new-york"
        response = client.get("/markets/", {"q": address})
        assert response.headers["Location"] == "/markets/?series=SKXRAIN-26NOV21&status=all"
        assert tickers_of(client, "series", q=address) == ["SKXRAIN-26NOV21"]
        assert tickers_of(client, "markets", q=address) == [TICKER]

    def test_an_address_typed_into_an_open_page_leads_there_too(self, client):
        headers = {"HX-Request": "true", "HX-Target": "results"}
        query = {"q": f"https://kalshi.com/markets/{TICKER}", "status": "settled"}
        response = client.get("/markets/", query, headers=headers)
        assert response.headers["HX-Redirect"] == f"/markets/{TICKER}/"

    @pytest.mark.parametrize(
        "address", ["https://kalshi.com", "kalshi.com/markets/kxnone/what/kxnone-26", "kalshi.com/"]
    )
    def test_an_address_of_nothing_on_record_is_refused(self, client, address):
        assert list(refusal(client, "markets", q=address)) == ["q"]
        response = client.get("/markets/", {"q": address})
        assert response.status_code == 400
        assert "Nothing is on record" in response.content.decode()

    @pytest.mark.parametrize(
        "text", ["kalshi", "notkalshi.com/x", "kalshi.community", "see kalshi.com/x", "", "://["]
    )
    def test_what_is_no_address_is_searched_for(self, client, text):
        assert names_in_address(text) is None
        assert client.get(f"/markets/?q={quote(text)}").status_code == 200

    @pytest.mark.parametrize(
        "address", ["kalshi.com/%00", "kalshi.com/%ED%A0%80", "https://kalshi.com/" + "a/" * 130]
    )
    def test_an_odd_address_is_refused_and_no_failure(self, client, address):
        assert list(refusal(client, "markets", q=address)) == ["q"]
