"""Contents of the pages, and the requests for them."""

import html
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.views.defaults import permission_denied, server_error

from markets.charts import ChartColumns
from markets.models import Market, MarketHour, MarketSnapshot
from markets.tests.factories import (
    a_market,
    a_poll,
    a_snapshot,
    a_sweep,
    a_trade,
    an_event,
    observe,
)

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for what `collectstatic` would have made.
    pytest.mark.filterwarnings("ignore:No directory at"),
]


def tickers(html: str) -> list[str]:
    return re.findall(r'<tr id="row-\d+" data-ticker="([^"]+)"', html)


def fragment(name: str) -> dict[str, str]:
    return {"HX-Request": "true", "HX-Target": name}


def page(client: Client, address: str, target: str = "") -> str:
    response = client.get(address, headers=fragment(target) if target else {})
    assert response.status_code == 200
    return response.content.decode()


class TestList:
    def test_a_row_shows_the_interval_and_its_figures(self, client):
        a_market(yes_bid=Decimal("0.425"), open_interest=Decimal(1234567))
        html = page(client, "/markets/")
        assert "42.5–45¢" in html
        assert "+4¢" in html
        assert "2.5¢" in html
        assert "1,234,567" in html
        assert '<path class="band" d="M42.50 7H45.00" />' in html
        assert "1 d" in html or "23 h" in html

    def test_a_missing_side_is_an_open_end_and_never_a_zero(self, client):
        a_market("A-1", yes_ask=None)
        a_market("A-2", yes_bid=None)
        a_market("A-3", yes_bid=None, yes_ask=None, last_price=None)
        html = page(client, "/markets/?ordering=ticker")
        assert "≥ 42¢" in html
        assert "≤ 45¢" in html
        assert "no quotes" in html
        assert '<path class="open" d="M42.00 7H100" />' in html
        assert '<path class="open" d="M45.00 7H0" />' in html

    def test_only_open_markets_are_listed_unless_others_are_asked_for(self, client):
        for status in ("active", "inactive", "closed", "disputed", "finalized", "unlisted"):
            a_market(f"A-{status}", status=status)
        listed = {
            word: set(tickers(page(client, f"/markets/?status={word}")))
            for word in ("open", "closed", "settled", "disputed", "all")
        }
        assert set(tickers(page(client, "/markets/"))) == listed["open"]
        assert listed["open"] == {"A-active", "A-inactive"}
        assert listed["closed"] == {"A-closed", "A-disputed"}
        assert listed["settled"] == {"A-finalized"}
        assert listed["disputed"] == {"A-disputed"}
        assert len(listed["all"]) == 6

    def test_an_unknown_status_is_named_and_not_guessed_at(self, client):
        a_market()
        response = client.get("/markets/?status=nonsense")
        assert response.status_code == 400
        html = response.content.decode()
        assert "nonsense is not one of the available choices" in html
        assert tickers(html) == []

    def test_every_word_of_a_search_must_be_found_somewhere(self, client):
        a_market("KXRAIN-1", event="Rain in New York", yes_sub_title="Over 2 inches")
        a_market("KXSNOW-1", event=an_event("Snow in New York", ticker="KXSNOW"))
        assert tickers(page(client, "/markets/?q=york+inches")) == ["KXRAIN-1"]
        assert tickers(page(client, "/markets/?q=kxsnow")) == ["KXSNOW-1"]

    def test_a_search_that_holds_a_nul_character_is_refused_in_words(self, client):
        response = client.get("/markets/?q=a%00b")
        assert response.status_code == 400
        assert "Null characters are not allowed" in response.content.decode()

    def test_a_category_narrows_the_list_and_keeps_the_others_to_choose_from(self, client):
        a_market("A-1", event=an_event("Rain", ticker="A", category="Climate"))
        a_market("B-1", event=an_event("Vote", ticker="B", category="Politics"))
        html = page(client, "/markets/?category=Politics")
        assert tickers(html) == ["B-1"]
        assert "Open markets in Politics" in html
        assert "Climate (1)" in html

    @pytest.mark.parametrize(
        ("ordering", "first"),
        [
            ("", "BUSY-1"),
            ("-volume_24h", "BUSY-1"),
            ("volume_24h", "CALM-1"),
            ("spread", "CALM-1"),
            ("close_time", "CALM-1"),
            ("-change_24h", "BUSY-1"),
            ("change_24h", "CALM-1"),
            ("-open_interest", "CALM-1"),
            ("yes_price,-ticker", "CALM-1"),
            ("-ticker", "CALM-1"),
            ("; drop table", "BUSY-1"),
        ],
    )
    def test_the_order_is_one_of_those_known(self, client, ordering, first):
        soon = datetime.now(UTC) + timedelta(hours=1)
        a_market("BUSY-1", volume_24h=Decimal(9), open_interest=Decimal(1))
        a_market(
            "CALM-1",
            volume_24h=Decimal(5),
            open_interest=Decimal(2),
            yes_ask=Decimal("0.43"),
            last_price=Decimal("0.41"),
            close_time=soon,
        )
        assert tickers(page(client, f"/markets/?ordering={ordering}"))[0] == first

    def test_what_is_unknown_sorts_last_in_both_directions(self, client):
        a_market("A-1", yes_ask=None)
        a_market("B-1")
        for ordering in ("spread", "-spread"):
            assert tickers(page(client, f"/markets/?ordering={ordering}")) == ["B-1", "A-1"]

    def test_the_head_of_the_sorted_column_says_so_and_turns_the_order_round(self, client):
        a_market()
        html = page(client, "/markets/?ordering=spread&q=rain")
        assert re.search(r'aria-sort="ascending"><a href="\?q=rain&amp;ordering=-spread"', html)

    def test_pages_hold_fifty_rows_and_count_them_all(self, client):
        event = an_event("Many", ticker="MANY")
        for number in range(51):
            a_market(f"MANY-{number:02}", event=event)
        html = page(client, "/markets/?ordering=ticker")
        assert len(tickers(html)) == 50
        assert '<span class="num">51</span> markets' in html
        assert tickers(page(client, "/markets/?ordering=ticker&page=2")) == ["MANY-50"]
        assert tickers(page(client, "/markets/?ordering=ticker&page=999")) == ["MANY-50"]
        assert len(tickers(page(client, "/markets/?page=x"))) == 50

    def test_an_order_that_is_not_offered_is_named(self, client):
        a_market()
        for ordering in ("nonsense", "ticker,ticker", ",".join(["spread"] * 500), "yes_price,"):
            html = page(client, f"/markets/?ordering={ordering}")
            assert "the list cannot be sorted by" in html
            assert "ordering=" not in "".join(re.findall(r'hx-get="[^"]*"', html))
        for ordering in ("", "-spread", "yes_price,-ticker"):
            assert "cannot be sorted" not in page(client, f"/markets/?ordering={ordering}")

    @pytest.mark.parametrize("asked", ["3", "0", "-1", "x", "1e3", "9" * 500])
    def test_a_page_that_is_not_there_is_named_and_the_one_shown_is_refreshed(self, client, asked):
        event = an_event("Many", ticker="MANY")
        for number in range(51):
            a_market(f"MANY-{number:02}", event=event)
        html = page(client, f"/markets/?ordering=ticker&page={asked}")
        [shown] = re.findall(r"this is page (\d) of 2", html)
        assert shown == ("2" if asked == "3" else "1")
        [refreshed] = re.findall(r'hx-get="([^"]*page=2|/markets/\?ordering=ticker)"', html)
        assert tickers(page(client, refreshed.replace("&amp;", "&"), "rows")) == tickers(html)
        assert "there is no page" not in page(client, "/markets/?page=2")

    def test_words_of_one_letter_are_told_what_they_count_for(self, client):
        a_market("KXA-1")
        html = page(client, "/markets/?q=k+x+rain")
        assert "“k”, “x” count only as the beginning of a ticker" in html
        assert "“k” counts only as" in page(client, "/markets/?q=k")
        assert "counts only as" not in page(client, "/markets/?q=rain")

    def test_an_address_beside_a_refused_filter_has_no_short_words(self, client):
        market = a_market()
        query = {"q": f"https://kalshi.com/markets/{market.ticker}", "price_min": "abc"}
        html = client.get("/markets/", query).content.decode()
        assert "price_min" in html
        assert "beginning of a ticker" not in html

    def test_five_hundred_words_are_refused_without_a_query(
        self, client, django_assert_num_queries
    ):
        with django_assert_num_queries(1):
            response = client.get("/markets/", {"q": "rain " * 500})
        html = response.content.decode()
        assert response.status_code == 400
        assert "q: Ensure this value has at most 300 characters" in html
        # They stand in the search box and in the way back from signing in, and nowhere else.
        assert html.count("rain") < 1_100

    def test_a_refresh_brings_the_rows_and_nothing_else(self, client):
        a_market()
        html = page(client, "/markets/", "rows")
        assert html.strip().startswith("<tr")
        assert "<html" not in html
        assert "<table" not in html

    def test_a_search_as_typed_brings_the_results_and_an_address_that_reads_as_words(self, client):
        a_market()
        response = client.get(
            "/markets/?q=rain&status=open&category=&ordering=-volume_24h",
            headers=fragment("results"),
        )
        assert response.content.decode().strip().startswith('<div id="results">')
        assert response.headers["HX-Replace-Url"] == "/markets/?q=rain"

    def test_a_row_draws_the_midpoints_of_the_last_day(self, client):
        market = a_market("A-1")
        now = datetime.now(UTC)
        for hours, bid in ((5, "0.20"), (4, "0.40"), (2, "0.30")):
            quoted = {"yes_bid": Decimal(bid), "yes_ask": Decimal("0.60")}
            a_snapshot(market, now - timedelta(hours=hours), **quoted).save()
        MarketHour.objects.roll_up(now=now)
        for target in ("", "rows"):
            shown = page(client, "/markets/", target)
            # Two hours, then one without a quote, then a dot.
            assert re.search(r'<path d="M18 16\.0h0L19 0\.0M21 8\.0h0" />', shown)

    def test_a_calm_market_looks_calm(self, client):
        market = a_market("A-1")
        now = datetime.now(UTC)
        for hours, bid in ((2, "0.41"), (1, "0.43")):
            quoted = {"yes_bid": Decimal(bid), "yes_ask": Decimal("0.45")}
            a_snapshot(market, now - timedelta(hours=hours), **quoted).save()
        MarketHour.objects.roll_up(now=now)
        assert '<path d="M21 10.0h0L22 6.0" />' in page(client, "/markets/")

    def test_filters_read_as_words_and_each_can_be_removed(self, client):
        a_market("A-1")
        html = page(client, "/markets/?price_min=0.1&spread_max=0.03&two_sided=true&page=1")
        assert '<details class="more" open>' in html
        assert 'href="?spread_max=0.03&amp;two_sided=true"' in html
        assert "midpoint from $0.1" in html
        assert "quoted on both sides: true" in html
        assert '<option value="true" selected>' in html
        assert tickers(page(client, "/markets/?spread_max=0.02")) == []
        assert tickers(page(client, "/markets/?spread_max=0.03")) == ["A-1"]

    def test_what_closes_soon_is_a_click_away(self, client):
        now = datetime.now(UTC)
        a_market("A-1", close_time=now + timedelta(minutes=30))
        a_market("A-2", close_time=now + timedelta(hours=3))
        [link] = re.findall(r'href="(\?[^"]+)">1 h<', page(client, "/markets/"))
        assert tickers(page(client, f"/markets/{html.unescape(link)}")) == ["A-1"]

    def test_caches_keep_page_and_fragment_apart(self, client):
        assert "HX-Target" in client.get("/markets/").headers["Vary"]

    def test_a_page_takes_four_queries_and_a_refresh_three(
        self, client, django_assert_max_num_queries
    ):
        for number in range(5):
            a_market(f"MANY{number}-1", event=an_event("One of many", ticker=f"MANY{number}"))
        with django_assert_max_num_queries(4):
            page(client, "/markets/")
        with django_assert_max_num_queries(3):
            page(client, "/markets/", "rows")

    def test_titles_cannot_carry_markup(self, client):
        hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
        market = a_market('X"><b>-1', event=an_event(hostile, ticker="X"), yes_sub_title=hostile)
        for address in ("/markets/", market.get_absolute_url()):
            html = page(client, address)
            assert "<script>alert" not in html
            assert "<img src=x" not in html
            assert '"><b>' not in html

    def test_without_any_market_the_page_says_what_to_do(self, client):
        assert "make demo" in page(client, "/markets/")
        assert "Nothing matches" in page(client, "/markets/?q=unheard")

    def test_the_content_policy_allows_no_inline_style_or_script(self, client):
        a_market()
        response = client.get("/markets/")
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        html = response.content.decode()
        assert " style=" not in html
        assert not re.search(r"<script(?![^>]* src=)", html)
        assert not re.search(r"\son\w+=", html)

    @pytest.mark.parametrize(
        ("cookie", "shown"), [("dark", ["dark"]), ("light", ["light"]), ('"><b>', []), ("", [])]
    )
    def test_the_theme_comes_with_the_page(self, client, cookie, shown):
        client.cookies["theme"] = cookie
        html = page(client, "/markets/")
        assert re.findall(r'<html lang="en"\s+data-theme="(\w+)"', html) == shown
        assert "<b>" not in html

    def test_nothing_but_the_style_sheet_delays_the_first_paint(self, client):
        head = page(client, "/markets/").partition("</head>")[0]
        assert len(re.findall(r'rel="stylesheet"', head)) == 1
        scripts = re.findall(r"<script [^>]*>", head)
        assert scripts
        assert all(" defer" in script for script in scripts)

    def test_simulated_data_is_called_so(self, client, settings):
        settings.SIMULATED = True
        assert "simulated" in page(client, "/markets/")
        settings.SIMULATED = False
        assert "simulated" not in page(client, "/markets/")


class TestErrors:
    def test_a_broken_page_needs_neither_request_nor_database(self, rf):
        response = server_error(rf.get("/markets/"))
        assert response.status_code == 500
        assert "nothing recorded is lost" in response.content.decode()

    def test_a_forbidden_page_shows_the_way_to_sign_in(self, rf):
        response = permission_denied(rf.get("/recorder/"), PermissionDenied())
        assert "Sign in" in response.content.decode()

    def test_only_reading_is_answered(self, client):
        assert client.post("/markets/").status_code == 405


class TestMarket:
    def test_it_shows_quote_and_facts(self, client):
        market = a_market(
            "KXHIGH-26NOV21-B70.5",
            strike_type="between",
            floor_strike=Decimal("70.00000000"),
            cap_strike=Decimal(71),
            rules_primary="If the highest temperature is 70 to 71, the market resolves to Yes.",
        )
        html = page(client, market.get_absolute_url())
        assert market.get_absolute_url() == "/markets/KXHIGH-26NOV21-B70.5/"
        assert "42–45¢" in html
        assert "× 250" in html
        assert "70 to 71" in html
        assert "1¢ steps" in html
        assert "resolves to Yes" in html

    def test_siblings_stand_up_the_ladder(self, client):
        event = an_event("Highest temperature", ticker="KXHIGH")
        market = a_market("KXHIGH-1", event=event)
        for strike in (90, 70, 80):
            a_market(
                f"KXHIGH-T{strike}", event=event, floor_strike=strike, yes_sub_title=f"{strike}°"
            )
        html = page(client, market.get_absolute_url())
        assert re.findall(r'sibling-name">(\d+)°', html) == ["70", "80", "90"]

    def test_an_unknown_ticker_is_named_in_the_answer(self, client):
        response = client.get("/markets/KXNO.SUCH-1/")
        assert response.status_code == 404
        assert "There is no market KXNO.SUCH-1." in response.content.decode()

    def test_a_settled_market_says_how(self, client):
        market = a_market(status="finalized", result="yes", settlement_value=Decimal("1.000000"))
        html = page(client, market.get_absolute_url())
        assert "finalized · <strong>YES</strong>" in html
        assert re.search(r'quote-price num" data-value>YES<', html)
        assert "100¢" in html

    def test_a_market_that_the_exchange_has_dropped_says_so(self, client):
        html = page(client, a_market(status="unlisted").get_absolute_url())
        assert "unlisted: the exchange no longer knows it" in html

    def test_a_refresh_brings_the_quote_alone(self, client):
        market = a_market()
        html = page(client, market.get_absolute_url(), "quote")
        assert "42–45¢" in html
        assert "<section" not in html

    def test_the_history_can_be_read_as_a_table(self, client):
        market = a_market()
        observe(market, datetime.now(UTC) - timedelta(minutes=5), "0.31", "0.33")
        html = page(client, f"{market.get_absolute_url()}?table=1d")
        assert '<td class="num">31¢</td>' in html

    def test_a_range_that_is_not_there_is_named(self, client):
        html = page(client, f"{a_market().get_absolute_url()}?table=2y")
        assert "table: there is no range “2y”" in html

    def test_a_page_takes_four_queries(self, client, django_assert_max_num_queries):
        market = a_market()
        for number in range(3):
            a_market(f"KXRAIN-{number}", event=market.event)
            a_trade(market, datetime.now(UTC), f"{number}")
        with django_assert_max_num_queries(4):
            page(client, market.get_absolute_url())


class TestAge:
    """The age of a market is that of the newest complete pass that covers it."""

    def shown(self, client: Client) -> str:
        cell = re.search(r'title="Observed [^"]*">([^<]*)</time>', page(client, "/markets/"))
        assert cell
        return cell[1]

    def test_a_quiet_market_is_as_fresh_as_the_last_pass(self, client):
        now = datetime.now(UTC)
        a_market(quoted_at=now - timedelta(hours=2))
        a_sweep("universe", now - timedelta(seconds=40))
        assert self.shown(client) in ("40 s", "41 s")

    def test_the_hot_list_vouches_for_hot_markets_only(self, client):
        now = datetime.now(UTC)
        market = a_market(quoted_at=now - timedelta(hours=2))
        a_sweep("hot", now - timedelta(seconds=3))
        assert self.shown(client) == "2 h"
        Market.objects.filter(pk=market.pk).update(is_hot=True)
        assert self.shown(client) in ("3 s", "4 s")

    def test_unfinished_passes_and_skipped_markets_do_not_count(self, client):
        now = datetime.now(UTC)
        market = a_market(quoted_at=now - timedelta(hours=2))
        a_sweep("universe", now - timedelta(seconds=9), complete=False)
        a_sweep("universe", now - timedelta(seconds=40), skipped=[market.ticker])
        assert self.shown(client) == "2 h"

    def test_a_market_never_quoted_has_none(self, client):
        a_market(quoted_at=None)
        a_sweep("universe", datetime.now(UTC))
        assert self.shown(client) == "–"


class TestRecording:
    @pytest.mark.parametrize(
        ("seconds", "state"), [(6, "recording"), (30, "late"), (600, "stopped")]
    )
    def test_the_pill_goes_by_the_newest_good_run(self, client, settings, seconds, state):
        settings.POLL_INTERVAL = 5
        a_poll(datetime.now(UTC) - timedelta(seconds=seconds))
        a_poll(datetime.now(UTC), error="TemporaryError: no answer")
        assert f"dot-{state}" in page(client, "/recorder/", "recording")

    def test_nothing_recorded_is_stopped(self, client):
        html = page(client, "/recorder/", "recording")
        assert "nothing yet" in html
        assert "Data is stale: nothing has been recorded yet" in html

    def test_pages_say_when_their_data_are_stale(self, client):
        a_poll(datetime.now(UTC) - timedelta(minutes=7))
        html = page(client, "/recorder/", "recording")
        assert re.search(
            r'id="stale"[^>]*hx-swap-oob="true"[^>]*>Data is stale: .* for [67] m', html
        )
        a_poll(datetime.now(UTC))
        html = page(client, "/recorder/", "recording")
        assert re.search(r'id="stale"[^>]* hidden></p>', html)

    def test_the_page_lists_runs_with_their_errors(self, client, admin_client):
        a_poll(datetime.now(UTC), error="TemporaryError: no answer from 10.0.0.7")
        a_sweep("universe", datetime.now(UTC))
        html = page(client, "/recorder/")
        assert "TemporaryError" in html
        assert "universe" in html
        # Details name hosts, and are for those who run the site.
        assert "10.0.0.7" not in html
        assert "10.0.0.7" in page(admin_client, "/recorder/")


class TestChart:
    def columns(self, client: Client, market: Market, query: str = "") -> ChartColumns:
        response = client.get(f"{market.get_absolute_url()}chart.json{query}")
        assert response.status_code == 200
        columns: ChartColumns = response.json()
        return columns

    def test_the_columns_are_milliseconds_and_dollars(self, client):
        market = a_market()
        at = datetime.now(UTC).replace(microsecond=250_000) - timedelta(minutes=10)
        observe(market, at, "0.40", "0.43")
        observe(market, at + timedelta(minutes=2), "0.41", None)
        columns = self.columns(client, market)
        assert columns["t"] == [int(at.timestamp() * 1000), int(at.timestamp() * 1000) + 120_000]
        assert columns["bid"] == [0.4, 0.41]
        assert columns["ask"] == [0.43, None]
        assert columns["last"] == [0.44, 0.44]
        assert columns["volume"] == [9000, 9000]
        assert columns["simulated"] is False

    def test_a_range_begins_with_the_quote_in_force(self, client):
        market = a_market()
        long_ago = datetime.now(UTC) - timedelta(days=3)
        observe(market, long_ago - timedelta(days=1), "0.10", "0.12")
        observe(market, long_ago, "0.20", "0.22")
        assert self.columns(client, market, "?range=1h")["bid"] == [0.2]
        assert self.columns(client, market, "?range=all")["bid"] == [0.1, 0.2]

    def test_a_young_market_is_drawn_from_its_opening(self, client):
        opened = datetime.now(UTC) - timedelta(minutes=15)
        columns = self.columns(client, a_market(open_time=opened), "?range=1w")
        assert columns["start"] == int(opened.timestamp() * 1000)

    def test_the_chart_of_a_market_that_is_over_ends_at_its_close(self, client):
        closed = datetime.now(UTC) - timedelta(days=30)
        market = a_market(
            status="finalized", open_time=closed - timedelta(hours=9), close_time=closed
        )
        for minutes in (90, 30, 20):
            observe(market, closed - timedelta(minutes=minutes), "0.40", "0.43")
        columns = self.columns(client, market, "?range=1h")
        assert len(columns["t"]) == 3
        assert columns["until"] - columns["start"] == 3_600_000
        assert columns["until"] == int(closed.timestamp() * 1000)

    def test_since_brings_only_what_is_newer(self, client):
        market = a_market()
        at = datetime.now(UTC) - timedelta(minutes=10)
        for minute in range(3):
            observe(market, at + timedelta(minutes=minute), f"0.4{minute}", "0.5")
        newest = self.columns(client, market)["t"]
        assert self.columns(client, market, f"?since={newest[1]}")["t"] == [newest[2]]
        assert self.columns(client, market, f"?since={newest[2]}")["t"] == []

    def test_a_long_history_is_drawn_in_at_most_two_thousand_points(self, client):
        market = a_market()
        at = datetime.now(UTC) - timedelta(hours=1)
        MarketSnapshot.objects.bulk_create(
            a_snapshot(market, at + timedelta(seconds=second), volume=second)
            for second in range(3600)
        )
        columns = self.columns(client, market, "?range=1h")
        assert 1_700 < len(columns["t"]) <= 2_000
        assert columns["volume"][-1] == 3599

    def test_a_silence_of_the_recorder_is_a_gap_and_a_quiet_market_is_not(self, client, settings):
        settings.POLL_INTERVAL = settings.UNIVERSE_INTERVAL = 300
        now = datetime.now(UTC)
        market = a_market(open_time=now - timedelta(minutes=175))
        for minutes in (180, 175, 170, 60, 55, 50):
            a_poll(now - timedelta(minutes=minutes))
            a_sweep("universe", now - timedelta(minutes=minutes))
        observe(market, now - timedelta(minutes=175), "0.40", "0.43")
        gaps = self.columns(client, market)["gaps"]
        assert [round((b - a) / 60_000) for a, b in gaps] == [110, 50]

    def test_a_silence_filled_later_is_no_gap(self, client, settings):
        settings.POLL_INTERVAL = settings.UNIVERSE_INTERVAL = 300
        now = datetime.now(UTC)
        market = a_market(open_time=now - timedelta(minutes=170))
        for minutes in (180, 1):
            a_poll(now - timedelta(minutes=minutes))
            a_sweep("universe", now - timedelta(minutes=minutes))
        backfill = [a_snapshot(market, now - timedelta(minutes=m)) for m in range(5, 180, 10)]
        for snapshot in backfill:
            snapshot.source = "BACKFILL"
            snapshot.save()
        assert self.columns(client, market)["gaps"] == []

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("range=2d", "range"),
            ("since=yesterday", "since"),
            ("since=-1", "since"),
            ("since=9e99", "since"),
            ("since=99999999999999999", "since"),
        ],
    )
    def test_a_bad_parameter_is_named(self, client, query, name):
        response = client.get(f"{a_market().get_absolute_url()}chart.json?{query}")
        assert response.status_code == 400
        assert list(response.json()["details"]) == [name]
        assert response.json()["message"].startswith(f"{name}: ")

    def test_an_unknown_ticker_is_named_in_the_answer(self, client):
        response = client.get("/markets/KXNONE-1/chart.json")
        assert response.status_code == 404
        assert response.json()["message"] == "There is no market KXNONE-1."

    def test_a_chart_takes_a_handful_of_queries(self, client, django_assert_max_num_queries):
        market = a_market()
        with django_assert_max_num_queries(12):
            self.columns(client, market, "?range=all")


def test_a_row_of_the_list_escapes_what_was_recorded(client):
    words = '<b>&"'
    a_market("KXA-1", event=words, yes_sub_title=words, title=words, status=words, result=words)
    html = page(client, "/markets/?status=all")
    row = html[html.index("<tbody") : html.index("</tbody>")]
    assert "<b>" not in row
    assert "&lt;b&gt;&amp;&quot;" in row
    assert "&lt;B&gt;&amp;&quot;" in row  # the result, in capitals


@pytest.mark.parametrize(
    ("bid", "ask", "last", "marks"),
    [
        ("0.42", "0.45", "0.44", ["last", "band", "end", "end"]),
        ("0.42", None, None, ["open", "end"]),
        (None, "0.45", None, ["open", "end"]),
        (None, None, "0", ["last"]),
        (None, None, None, []),
    ],
)
def test_the_track_has_a_mark_for_each_known_price(client, bid, ask, last, marks):
    a_market("KXA-1", yes_bid=bid, yes_ask=ask, last_price=last)
    html = page(client, "/markets/?status=all")
    [drawing] = re.findall(r'<svg class="interval".*?</svg>', html)
    assert re.findall(r'<path class="(\w+)"', drawing) == ["track", *marks]
