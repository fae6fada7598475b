"""The command `sweepbacktest`."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from backtests.analysis.search import combinations, parse_values
from backtests.strategies import find
from backtests.strategies.parameters import BadParameter
from markets.models import FeeChange, MarketRevision
from markets.tests.factories import a_market, an_event, observe

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
CHOSEN = ("--series", "SKXRAIN", "--start", "2026-10-01", "--end", "2026-10-15")


class TestValues:
    @pytest.mark.parametrize(
        ("text", "output"),
        [
            ("0.1", ["0.1"]),
            ("0.1, 0.2", ["0.1", "0.2"]),
            ("0.1:0.3:0.1", ["0.1", "0.2", "0.3"]),
            ("5:6:2", ["5"]),
        ],
    )
    def test_values_are_listed_or_ranged_over(self, text, output):
        assert parse_values("edge", text) == output

    @pytest.mark.parametrize(
        "text", ["1:2", "1:2:3:4", "1:2:0", "2:1:1", "1:x:1", "0:1:0.00001", "0:NaN:1", "::"]
    )
    def test_a_range_that_makes_no_sense_is_refused(self, text):
        with pytest.raises(BadParameter, match="edge"):
            parse_values("edge", text)

    def test_every_combination_is_tried(self):
        varied = {"edge": ["0.01", "0.02"], "floor": ["0.0", "0.1", "0.2"]}
        tried = list(combinations(find("fade-longshots"), {"contracts": 7}, varied))
        assert len(tried) == 6
        assert tried[1][0] == {"edge": "0.01", "floor": "0.1"}
        assert {signal.p.contracts for _, signal in tried} == {7}

    def test_more_runs_than_anybody_waits_for_are_refused(self):
        many = [str(n) for n in range(1_000)]
        with pytest.raises(BadParameter, match="1,000,000 runs"):
            list(combinations(find("random-entry"), {}, {"seed": many, "contracts": many}))


def settled(day, result):
    """A market of one day that was always cheap, settled with this result."""
    opened = NOON + timedelta(days=day)
    end = opened + timedelta(hours=6)
    value = Decimal(result == "yes")
    market = a_market(
        f"KXRAIN-{day}", event=an_event("Rain"), open_time=opened, close_time=end,
        status="finalized", result=result, settlement_value=value, settlement_ts=end,
    )  # fmt: skip
    for hour in range(5):
        observe(market, opened + timedelta(hours=hour), "0.10", "0.12")
        market.snapshots.update(yes_bid_size=100, yes_ask_size=100)
    output = {"open_time": opened, "close_time": end, "price_ranges": market.price_ranges}
    ended = {"result": result, "settlement_value": value, "settlement_ts": end}
    for at, fields in ((opened, {"status": "active"}), (end, {"status": "finalized", **ended})):
        MarketRevision.objects.create(
            market=market, known_at=at, recorded_at=at, **output, **fields
        )
    return market


@pytest.fixture
def fortnight():
    markets = [settled(day, result) for day, result in enumerate(["no", "no", "yes", "no"])]
    FeeChange.objects.create(
        series=markets[0].event.series, fee_type="quadratic", fee_multiplier=1,
        effective_at=NOON - timedelta(days=30), known_at=NOON, recorded_at=NOON,
    )  # fmt: skip


def swept(*words):
    out = StringIO()
    call_command("sweepbacktest", "fade-longshots", *words, stdout=out)
    return out.getvalue().splitlines()


@pytest.mark.django_db
class TestTheCommand:
    def test_settings_are_chosen_early_and_shown_late(self, fortnight):
        output = swept(
            "--vary", "contracts=1,5,10", "--confirm-from", "2026-10-07T00:00Z",
            "--across-gaps", "wait", *CHOSEN,
        )  # fmt: skip
        assert output[0] == "3 combinations, searched on 2 markets, confirmed on 2 later ones."
        best, worst = output[3].split(), output[-1].split()
        # NO at 90 cents, twice won; later won once and lost once.
        assert best[-1] == "contracts=10"
        assert worst[-1] == "contracts=1"
        assert best[0] == "$1.87"
        assert best[1] == "-$8.13"

    def test_what_no_market_is_left_for_is_said(self, fortnight):
        with pytest.raises(CommandError, match="confirm-from: No market began after"):
            swept("--vary", "contracts=1", "--confirm-from", "2026-10-14", *CHOSEN)

    @pytest.mark.parametrize(
        ("words", "field"),
        [
            (["--vary", "nonsense=1"], "nonsense"),
            (["--vary", "edge=2"], "edge"),
            (["--vary", "edge"], "params.edge"),
            (["--vary", "edge=0.1", "--cash", "0"], "cash"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, fortnight, words, field):
        with pytest.raises(CommandError, match=field) as fault:
            swept(*words, *CHOSEN)
        assert fault.value.returncode == 2

    def test_a_strategy_with_orders_of_its_own_is_not_swept(self, fortnight):
        with pytest.raises(CommandError, match="strategy: exclusive-arbitrage"):
            call_command("sweepbacktest", "exclusive-arbitrage", "--vary", "edge=0.1", *CHOSEN)
