from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from backtests import strategies
from backtests.tests.leaky_strategies import next_price
from markets.models import FeeChange
from markets.tests.factories import a_market, observe

pytestmark = pytest.mark.django_db


@pytest.fixture
def recorded():
    """Forty quotes of a market in the last hours, up and down."""
    market = a_market()
    now = datetime.now(UTC)
    long_ago = dict.fromkeys(("effective_at", "known_at", "recorded_at"), now - timedelta(days=9))
    terms = {"fee_type": "quadratic", "fee_multiplier": 1, **long_ago}
    FeeChange.objects.create(series=market.event.series, **terms)
    for row in range(40):
        price = 40 + row * 7 % 11
        at = now - timedelta(minutes=5 * (40 - row))
        observe(market, at, f"0.{price}", f"0.{price + 2}")
    return market


def checked(*words):
    out = StringIO()
    call_command("checklookahead", *words, stdout=out)
    return out.getvalue()


def test_a_strategy_that_knows_no_future_passes(recorded):
    output = checked("mean-reversion", "--param", "window=5", "--param", "enter=1")

    assert "mean-reversion 2 on 40 quotes of 1 markets" in output
    assert "Clean: " in output
    assert "with orders that take 1 second" in output


def test_one_that_does_ends_with_1_and_says_where(recorded, monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, next_price.name, next_price)
    out = StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("checklookahead", next_price.name, "--ticker", recorded.ticker, stdout=out)

    assert ended.value.code == 1
    assert "Looks ahead: " in out.getvalue()
    assert f"{recorded.ticker}, " in out.getvalue()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fade"], "No strategy is called 'fade'"),
        (["momentum", "--param", "fast"], "params.fast: Must be written as name=value."),
        (["momentum", "--param", "fast=0"], "fast: Must be at least 1."),
        (["momentum", "--param", "speed=1"], "speed: Not a parameter of this strategy."),
        (["momentum", "--ticker", "KXNONE"], "ticker: Not on record: KXNONE"),
        (["momentum", "--start", "soon"], "--start: 'soon' is neither a day nor an instant"),
        (["momentum", "--start", "2031-01-01"], "start: 2031-01-01"),
        (["momentum", "--end", "0001-01-01"], "end: Too early without a --start"),
        (["momentum", "--start", "0001-01-01T00:00+01:00"], "--start: .* the years 1 to 9999"),
    ],
)
def test_words_that_make_no_sense_end_with_2(recorded, words, complaint):
    with pytest.raises(CommandError, match=complaint) as fault:
        checked(*words)

    assert fault.value.returncode == 2


def test_an_empty_record_is_told_of():
    with pytest.raises(CommandError, match="ticker: No quotes are recorded yet"):
        checked("momentum")
