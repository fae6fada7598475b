"""The API conforms to its schema for any request."""

import copy
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core import signals
from django.db import close_old_connections
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from knox.crypto import hash_token
from model_bakery import baker
from openapi_schema_validator import OAS30ReadValidator
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig

from accounts.models import ApiToken
from backtests.tests.factories import a_backtest, a_done_search, a_fill
from kalshi_insights.wsgi import application
from markets.intervals import Interval
from markets.models import (
    EventRevision,
    Import,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Poll,
    Series,
    TapeSpan,
)
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, a_trade, an_event

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TICKERS = {"series": "SKXRAIN", "events": "KXRAIN", "markets": "KXRAIN-26NOV20-T0.5"}
POLL = 10**12
TOKEN = "a" * 40
STRATEGY = "fade-longshots"
WORDS = {
    "series": f"S{TICKERS['events']}",
    "event": TICKERS["events"],
    "category": "Climate",
    "strategy": STRATEGY,
}
NAMES = TICKERS | {"strategies": STRATEGY}


@pytest.fixture
def on_record(db: None) -> Market:
    """Create one of everything, under the names that `pinned` uses."""
    event = an_event("Rain in New York", ticker=TICKERS["events"])
    Series.objects.update(tags=["Daily"], settlement_sources=[{"name": "NWS", "url": "x"}])
    market = a_market(TICKERS["markets"], event=event, floor_strike=Decimal("0.5"))
    a_market("KXRAIN-26NOV20-T1", event=event, yes_bid=None, last_price=None, open_interest=None)
    for minute in range(5):
        bid = None if minute == 3 else Decimal(minute) / 100
        a_snapshot(market, NOON + minute * MINUTE, yes_bid=bid, raw_data={"note": "odd"}).save()
    times: dict[str, Any] = {"known_at": NOON, "recorded_at": NOON}
    baker.make(
        MarketRevision,
        market=market,
        status="active",
        close_time=None,
        open_time=NOON,
        price_ranges=market.price_ranges,
        **times,
    )
    baker.make(EventRevision, event=event, settlement_sources=[], **times)
    baker.make(
        OrderBookSnapshot,
        market=market,
        timestamp=NOON,
        bid_prices=[Decimal("0.42")],
        bid_sizes=[Decimal(3)],
        ask_prices=[],
        ask_sizes=[],
    )
    a_trade(market, NOON)
    TapeSpan.objects.mark_open(Interval(NOON, NOON + timedelta(minutes=1)))
    baker.make(Import, id=POLL, kind="quotes", state="finished", said={}, started_at=NOON)
    baker.make(Poll, id=POLL, started_at=NOON, finished_at=None, error="lost")
    user = User.objects.create_superuser("operator")
    baker.make(ApiToken, user=user, scope="operate", digest=hash_token(TOKEN))
    a_fill(a_backtest(id=POLL))
    a_backtest("failed")
    a_done_search(id=POLL)
    a_poll(datetime.now(UTC))
    a_sweep("universe", NOON)
    return market


@pytest.fixture
def quiet() -> Iterator[None]:
    """Silence the log of thousands of requests, and share the test's connection with them."""
    logging.disable(logging.CRITICAL)
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)
    logging.disable(logging.NOTSET)


def pinned(described: dict[str, Any]) -> dict[str, Any]:
    """The schema, restricted to the tickers and ids that exist."""
    described = copy.deepcopy(described)
    for path, operations in described["paths"].items():
        noun = path.split("/")[3]
        for parameter in [x for each in operations.values() for x in each.get("parameters", ())]:
            if parameter["in"] == "query" and parameter["name"] in WORDS:
                parameter["schema"] = {"type": "string", "enum": [WORDS[parameter["name"]]]}
            if parameter["in"] == "path" and noun != "snapshots":
                parameter["schema"] = {"type": "string", "enum": [NAMES.get(noun, str(POLL))]}
                parameter.pop("example")
    for request in ("BacktestRequest", "SearchRequest"):
        properties = described["components"]["schemas"][request]["properties"]
        for field, noun in (("series", "series"), ("events", "events"), ("tickers", "markets")):
            properties[field]["items"] = {"type": "string", "enum": [TICKERS[noun]]}
        properties["strategy"]["enum"] = [STRATEGY]
        properties["start"]["enum"] = [f"{NOON - MINUTE:%Y-%m-%dT%H:%M:%SZ}"]
        properties["end"]["enum"] = [f"{NOON + 9 * MINUTE:%Y-%m-%dT%H:%M:%SZ}"]
    return described


SCHEMA = SchemaGenerator().get_schema(public=True)
config = SchemathesisConfig.from_dict(
    {"generation": {"max-examples": 8, "deterministic": True}, "seed": 1}
)
api = schemathesis.openapi.from_dict(pinned(SCHEMA), config=config)
api.app = application
# A client that accepts compression would get compressed responses.
PLAIN = {"Accept-Encoding": "identity"}
# A well-formed request may still be refused, such as a range that ends before it starts.
UNFIT: list[Any] = [CHECKS.get_one("positive_data_acceptance")]

# The token is a real one of the test.
OURS: Any = CHECKS.get_one("ignored_auth")


@api.include(method="GET").parametrize()
@pytest.mark.usefixtures("quiet", "on_record")
def test_every_answer_is_one_that_the_schema_describes(case: schemathesis.Case) -> None:
    response = case.call(headers=PLAIN)
    case.validate_response(response, excluded_checks=UNFIT)
    if response.status_code == 400:
        assert set(response.json()["details"]) & set(case.query)


@api.include(method="POST").parametrize()
@pytest.mark.usefixtures("quiet", "on_record")
def test_every_wish_is_granted_or_refused_as_the_schema_says(
    case: schemathesis.Case,
) -> None:
    response = case.call(headers=PLAIN | {"Authorization": f"Token {TOKEN}"})
    case.validate_response(response, excluded_checks=[*UNFIT, OURS])


@pytest.mark.usefixtures("quiet", "on_record")
def test_nobody_writes_without_a_token(client: Client) -> None:
    for path, each in SCHEMA["paths"].items():
        if "post" in each:
            assert client.post(address(path)).status_code == 401


EVERY = [(path, each) for path, of in SCHEMA["paths"].items() for each in of.values()]
OPERATIONS = [(path, each["get"]) for path, each in SCHEMA["paths"].items() if "get" in each]


@pytest.mark.parametrize(("path", "operation"), EVERY)
def test_every_operation_and_parameter_is_explained(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description"), parameter["name"]


def test_every_field_of_an_answer_has_a_type() -> None:
    untyped = [
        f"{name}.{field}"
        for name, component in SCHEMA["components"]["schemas"].items()
        for field, described in component.get("properties", {}).items()
        if not described.keys() & {"type", "$ref", "allOf", "oneOf", "anyOf"}
    ]
    assert untyped == []


def resolved(described: dict[str, Any]) -> dict[str, Any]:
    return {**described, "components": SCHEMA["components"]}


@pytest.mark.parametrize(("path", "operation"), EVERY)
def test_every_answer_is_shown_by_an_example_that_fits(
    path: str, operation: dict[str, Any]
) -> None:
    [success] = operation["responses"].keys() & {"200", "202"}
    answer = operation["responses"][success]["content"]["application/json"]
    assert answer["examples"]
    validator = OAS30ReadValidator(resolved(answer["schema"]))
    for example in answer["examples"].values():
        validator.validate(example["value"])


# --- invalid requests ---------------------------------------------------------------------------

TOO_LONG = "x" * 5_000
NONSENSE = [
    "\0",
    TOO_LONG,
    "NaN",
    "Infinity",
    "-1e999",
    "1_000",
    "٣",
    "2026-11-20T12:00:00",
    "2026-02-30T12:00:00Z",
    "9999999999999999999999",
    "' OR 1=1; --",
    "{{7*7}}",
    "../../etc/passwd",
    "[]",
]
# Any text is a valid search term if it is not too long.
FREE = {"q"}
PARAMETERS = [
    (path, parameter)
    for path, operation in OPERATIONS
    for parameter in operation.get("parameters", ())
    if parameter["in"] == "query"
]


def address(path: str) -> str:
    noun = path.split("/")[3]
    name = NAMES.get(noun, str(POLL))
    for place in ("{ticker}", "{id}", "{name}"):
        path = path.replace(place, name)
    return path.replace("{uuid}", str(MarketSnapshot.objects.values_list("id", flat=True)[0]))


def named(response: Any) -> set[str]:
    assert response.status_code == 400, response.content
    assert response.json()["code"] == "invalid"
    return set(response.json()["details"])


@pytest.mark.usefixtures("on_record")
@pytest.mark.parametrize(
    ("path", "parameter"), PARAMETERS, ids=[f"{p}-{x['name']}" for p, x in PARAMETERS]
)
def test_nonsense_is_refused_by_name(client: Client, path: str, parameter: dict[str, Any]) -> None:
    for value in NONSENSE:
        response = client.get(address(path), {parameter["name"]: value})
        if parameter["name"] in FREE and value not in ("\0", TOO_LONG):
            assert response.status_code == 200, value
        else:
            assert named(response) == {parameter["name"]}, value


@pytest.mark.usefixtures("on_record")
@pytest.mark.parametrize("path", [path for path, _ in OPERATIONS])
def test_unknown_and_repeated_parameters_are_refused_by_name(path: str) -> None:
    client = Client(headers={"Authorization": f"Token {TOKEN}"})
    refusal = client.get(address(path), {"colour": "red"})
    assert named(refusal) == {"colour"}
    described = {each["name"] for where, each in PARAMETERS if where == path}
    known = ", ".join(sorted(described | {"format"}))
    assert refusal.json()["details"]["colour"] == [f"Unknown parameter. Known ones are {known}."]
    assert named(client.get(address(path), {"x" * 5_000: "1"})) == {"x" * 100}
    assert named(client.get(f"{address(path)}?format=json&format=json")) == {"format"}


RANGES = [
    ("start", "2026-11-21T00:00:00Z", "end", "2026-11-20T00:00:00Z"),
    ("closes_after", "2026-11-21T00:00:00Z", "closes_before", "2026-11-20T00:00:00Z"),
    ("price_min", "0.9", "price_max", "0.1"),
    ("volume_min", "9", "volume_max", "1"),
]


@pytest.mark.usefixtures("on_record")
@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_reversed_ranges_and_deep_offsets_are_refused_by_name(
    client: Client, path: str, operation: dict[str, Any]
) -> None:
    known = {each["name"]: each["schema"] for each in operation.get("parameters", ())}
    for low, high_value, high, low_value in RANGES:
        if high in known:
            query = {low: high_value, high: low_value}
            assert named(client.get(address(path), query)) == {high}
    for number in {"limit", "skip"} & set(known):
        too_much = known[number]["maximum"] + 1
        assert named(client.get(address(path), {number: too_much})) == {number}


def test_a_market_is_told_anew_when_its_series_was_read_anew(
    client: Client, on_record: Market
) -> None:
    url = address("/api/v1/markets/{ticker}/")
    tag = client.get(url)["ETag"]
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    Series.objects.update(category="Weather", refreshed_at=datetime.now(UTC))
    assert client.get(url, headers={"If-None-Match": tag}).json()["category"] == "Weather"
