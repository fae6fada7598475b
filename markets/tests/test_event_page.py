"""The page of an event: its outcomes together, and whether their prices fit."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client

from markets.models import Event, Series
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, an_event

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at"),
]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def at_noon(time_machine) -> None:
    time_machine.move_to(NOON, tick=False)


@pytest.fixture
def event() -> Event:
    event = an_event("Who wins?", ticker="KXWIN-26")
    Event.objects.update(mutually_exclusive=True)
    Series.objects.update(fee_type="quadratic", fee_multiplier=Decimal(1))
    event.refresh_from_db()
    return event


def outcome(event: Event, name: str, bid: str | None, ask: str | None, **values: object) -> None:
    prices = {"yes_bid": bid and Decimal(bid), "yes_ask": ask and Decimal(ask)}
    defaults = {"yes_bid_size": Decimal(100), "yes_sub_title": name}
    a_market(f"{event.ticker}-{name}", event=event, **defaults | prices | values)


def page(client: Client, address: str = "/events/KXWIN-26/") -> str:
    response = client.get(address)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


class TestSums:
    def test_bids_that_exceed_a_dollar_after_fees_are_an_arbitrage(self, client, event):
        outcome(event, "Ann", "0.60", "0.62", quoted_at=NOON)
        outcome(event, "Bob", "0.50", "0.52", quoted_at=NOON)
        # 100 contracts gain 10 dollars, less 0.07 x 100 x (0.6 x 0.4 + 0.5 x 0.5).
        assert "100 contracts each, gains at least $6.57 after fees" in page(client)

    def test_quotes_of_different_times_prove_nothing(self, client, event):
        outcome(event, "Ann", "0.60", "0.62", quoted_at=NOON)
        outcome(event, "Bob", "0.50", "0.52", quoted_at=NOON - timedelta(seconds=40))
        html = page(client)
        assert "were looked at 40 s apart" in html
        assert "gains at least" not in html

    def test_fees_may_take_what_the_bids_seem_to_give(self, client, event):
        outcome(event, "Ann", "0.50", "0.52", quoted_at=NOON)
        outcome(event, "Bob", "0.51", "0.52", quoted_at=NOON)
        html = page(client)
        assert "No arbitrage: the bids of 2 outcomes, less fees, do not exceed a dollar" in html
        assert "101¢" in html

    def test_asks_below_a_dollar_are_none_since_no_outcome_need_happen(self, client, event):
        outcome(event, "Ann", "0.30", "0.32")
        outcome(event, "Bob", "0.20", "0.22")
        assert "nothing says that one of these outcomes must happen" in page(client)

    def test_unknown_fees_leave_the_gain_unknown(self, client, event):
        Series.objects.update(fee_multiplier=None)
        outcome(event, "Ann", "0.60", "0.62")
        outcome(event, "Bob", "0.50", "0.52")
        assert "the fees of this series are not on record" in page(client)

    def test_closed_outcomes_do_not_count(self, client, event):
        outcome(event, "Ann", "0.60", "0.62")
        outcome(event, "Bob", "0.50", "0.52", status="closed")
        assert "Sum of bids" not in page(client)

    def test_outcomes_that_do_not_exclude_each_other_have_no_sum(self, client, event):
        Event.objects.update(mutually_exclusive=False)
        outcome(event, "Ann", "0.60", "0.62")
        outcome(event, "Bob", "0.50", "0.52")
        html = page(client)
        assert "Sum of bids" not in html
        assert "need not sum to a dollar" in html


class TestLadder:
    def test_a_rung_that_costs_more_than_a_likelier_one_is_marked(self, client, event):
        for strike, bid, ask in ((1, "0.60", "0.62"), (2, "0.65", "0.67"), (3, "0.1", "0.2")):
            ladder = {"strike_type": "greater", "floor_strike": Decimal(strike)}
            outcome(event, f"Above {strike}", bid, ask, **ladder)
        html = page(client)
        assert html.count("bid above the ask of") == 1
        assert "bid above the ask of Above 1, which is at least as probable" in html

    def test_a_closed_rung_violates_nothing(self, client, event):
        for strike, bid, status in ((1, "0.60", "closed"), (2, "0.65", "active")):
            ladder = {"strike_type": "greater", "floor_strike": Decimal(strike)}
            outcome(event, f"Above {strike}", bid, "0.62", status=status, **ladder)
        assert "bid above the ask of" not in page(client)


class TestChart:
    def test_it_has_the_midpoints_of_the_likeliest_outcomes(self, client, event):
        for number in range(10):
            outcome(event, f"N{number}", f"0.0{number}", "0.20")
        columns = client.get("/events/KXWIN-26/chart.json").json()
        assert [line["name"] for line in columns["lines"]] == [f"N{n}" for n in range(9, 1, -1)]

    def test_it_begins_with_the_event(self, client, event):
        a_market("KXWIN-26-A", event=event, open_time=NOON - 3 * HOUR)
        for span, hours in (("1d", 3), ("all", 3), ("1h", 1)):
            columns = client.get(f"/events/KXWIN-26/chart.json?range={span}").json()
            assert columns["until"] - columns["start"] == hours * 3_600_000

    def test_a_one_sided_quote_is_null(self, client, event):
        market = a_market("KXWIN-26-A", event=event)
        for hours, bid in ((3, "0.40"), (2, None), (1, "0.50")):
            quoted = {"yes_bid": bid and Decimal(bid), "yes_ask": Decimal("0.60")}
            a_snapshot(market, NOON - hours * HOUR, **quoted).save()
        [line] = client.get("/events/KXWIN-26/chart.json?range=6h").json()["lines"]
        assert line["mid"] == [0.5, None, 0.55]

    def test_it_tells_when_nothing_was_recorded(self, client, event):
        a_market("KXWIN-26-A", event=event)
        for minutes in (600, 300, 0.05):
            a_poll(NOON - timedelta(minutes=minutes))
        gaps = client.get("/events/KXWIN-26/chart.json?range=6h").json()["gaps"]
        assert len(gaps) == 2

    @pytest.mark.parametrize(
        ("address", "status"),
        [
            ("/events/KXNONE/chart.json", 404),
            ("/events/KXWIN-26/chart.json?range=2y", 400),
            ("/events/KXWIN-26/chart.json?since=-1", 400),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, client, event, address, status):
        assert client.get(address).status_code == status

    def test_it_takes_few_queries_for_any_number_of_outcomes(
        self, client, event, django_assert_max_num_queries
    ):
        for number in range(12):
            outcome(event, f"N{number}", "0.05", "0.20")
        with django_assert_max_num_queries(5):
            client.get("/events/KXWIN-26/chart.json")
        with django_assert_max_num_queries(3):
            page(client)
        outcome(event, "N13", "0.90", "0.95")
        with django_assert_max_num_queries(11):  # when each was looked at
            page(client)


def test_a_ticker_in_another_case_leads_to_the_event(client, event):
    response = client.get("/events/kxwin-26/?x=1")
    assert response.headers["Location"] == "/events/KXWIN-26/?x=1"


def test_an_unknown_event_is_not_found(client):
    assert client.get("/events/KXNONE/").status_code == 404


def test_an_event_without_markets_says_so(client, event):
    assert "No market of this event is on record" in page(client)


def test_its_outcomes_are_asked_for_again_and_again(client, event):
    outcome(event, "Ann", "0.60", "0.62")
    a_sweep("universe", NOON)
    fragment = {"HX-Request": "true", "HX-Target": "outcomes"}
    html = client.get("/events/KXWIN-26/", headers=fragment).content.decode()
    assert "KXWIN-26-Ann" in html
    assert "<!DOCTYPE" not in html
