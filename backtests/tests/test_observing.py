"""Observations and gaps of a run, from what the recorder and its account have on record."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from model_bakery import baker

from backtests import runner
from backtests.data.causes import CAUSES
from backtests.data.universe import Universe, microseconds
from backtests.models import BacktestResult
from backtests.rules.execution import ExecutionModel
from backtests.tests.record_builders import (
    HOUR,
    MINUTE,
    START,
    load_universe,
    queue_backtest,
    record_market,
    record_passes,
    record_quote,
    record_revision,
)
from markets.models import Candlestick, ImportedPeriod, Source
from markets.models.imported_periods import ImportedRows

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
WINDOW = {"start": START, "end": START + 2 * HOUR}


def observed(universe: Universe, market: int = 0) -> list[float]:
    """The minutes since the start at which a market was observed."""
    instants = universe.observations().of_market(market).tolist()
    return [(at - microseconds(START)) / 60e6 for at in instants]


def gaps(universe: Universe) -> list[tuple[float, float, str]]:
    """The gaps in minutes since the start, with their causes."""
    found = universe.known_gaps()
    minutes = ((column - microseconds(START)) / 60e6 for column in (found.since, found.until))
    causes = [CAUSES[cause] for cause in found.cause]
    return list(zip(*(each.tolist() for each in minutes), causes, strict=True))


def a_quiet_market():
    """A market whose quote is written once and then each hour."""
    market = record_market()
    record_revision(market, START - HOUR)
    for hour in (0, 1):
        record_quote(market, START + hour * HOUR + SECOND)
    return market


def test_a_quiet_market_was_observed_at_every_look_and_has_no_gap():
    market = a_quiet_market()
    record_passes(START - 2 * HOUR, START + 2 * HOUR)
    universe = load_universe(market, **WINDOW)
    looks = observed(universe)
    assert len(looks) >= 239
    assert max(b - a for a, b in pairwise(looks)) == pytest.approx(0.5)
    assert gaps(universe) == []


def test_an_outage_is_a_gap_from_where_the_last_look_went_stale():
    market = a_quiet_market()
    record_passes(START - 2 * HOUR, START + HOUR / 2)
    record_passes(START + HOUR / 2 + 10 * MINUTE, START + 2 * HOUR)
    [(since, until, cause)] = gaps(load_universe(market, **WINDOW))
    assert (cause, until) == ("our outage", pytest.approx(40, abs=0.1))
    assert 30 < since < 32


def test_of_backfilled_quotes_rows_alone_are_observations():
    market = record_market()
    record_revision(market, START - HOUR)
    record_passes(START - 2 * HOUR, START + 2 * HOUR)
    for minute in (1, 2, 9):
        at = START + minute * MINUTE
        record_quote(market, at, source=Source.BACKFILL)
        baker.make(Candlestick, market=market, period_interval=1, end_period_ts=at, recorded_at=at)
    universe = load_universe(market, sources="backfilled", **WINDOW)
    assert observed(universe) == [1, 2, 9]
    assert gaps(universe) == [(5, 9, "not covered"), (12, 120, "not covered")]


def test_an_import_without_a_period_claims_no_gap():
    market = record_market()
    for minute in (1, 100):
        record_quote(market, START + minute * MINUTE, source=Source.BACKFILL)
    assert gaps(load_universe(market, **WINDOW)) == []


def an_import(*minutes, gap_after, known_at=START):
    """A market whose rows were imported, and how far apart they are in seconds."""
    market = record_market()
    record_revision(market, START - HOUR)
    for minute in minutes:
        record_quote(market, START + minute * MINUTE, source=Source.BACKFILL)
    first, last = (START + minute * MINUTE for minute in (minutes[0], minutes[-1]))
    ImportedPeriod.objects.state({market.pk: ImportedRows(first, last)}, gap_after, at=known_at)
    return market


def test_an_imported_row_is_fresh_for_three_times_its_gap_after():
    market = an_import(1, 2, 30, gap_after=60)
    universe = load_universe(market, **WINDOW)
    assert observed(universe) == [1, 2, 30]
    assert gaps(universe) == [(5, 30, "not covered"), (33, 120, "not covered")]


def test_a_run_knows_no_period_that_was_stated_after_it():
    market = an_import(1, 30, gap_after=60, known_at=START + HOUR)
    assert gaps(load_universe(market, known_by=START + HOUR / 2, **WINDOW)) == []
    ImportedPeriod.objects.state(
        {market.pk: ImportedRows(START, START + HOUR)}, 3600, at=START + 2 * HOUR
    )
    assert gaps(load_universe(market, known_by=START + HOUR, **WINDOW)) != []
    assert gaps(load_universe(market, known_by=START + 3 * HOUR, **WINDOW)) == []


def test_rows_that_were_recorded_live_follow_the_recorder_beside_an_import():
    market = an_import(1, 2, gap_after=60)
    record_quote(market, START + 3 * MINUTE)
    record_passes(START - 2 * HOUR, START + 2 * HOUR)
    assert gaps(load_universe(market, **WINDOW)) == []


@pytest.mark.parametrize("engine", ["kernel", "backtrader"])
@pytest.mark.parametrize(
    ("gap_after", "outcome"), [(60, "a gap in the observations began"), (600, "fill")]
)
def test_an_order_on_imported_rows_expires_where_they_are_too_far_apart(engine, gap_after, outcome):
    market = an_import(0, 20, 40, gap_after=gap_after)
    queued = queue_backtest(market, execution=ExecutionModel(), engine=engine)
    runner.run(queued.pk)
    ended = BacktestResult.objects.get().executions.order_by("number")[1]
    assert outcome in (ended.kind, ended.reason)


def ran(market, **execution) -> BacktestResult:
    model = ExecutionModel(**execution)
    queued = queue_backtest(market, execution=model)
    runner.run(queued.pk)
    queued.refresh_from_db()
    assert queued.status == "done", queued.error
    return queued


@pytest.mark.parametrize("engine", ["kernel", "backtrader"])
def test_an_order_in_a_quiet_market_fills_at_the_next_look(engine):
    market = a_quiet_market()
    record_passes(START - 2 * HOUR, START + 2 * HOUR)
    queued = queue_backtest(market, execution=ExecutionModel(), engine=engine)
    runner.run(queued.pk)
    result = BacktestResult.objects.get()
    sent, filled = result.executions.order_by("number")[:2]
    assert (sent.kind, filled.kind) == ("order", "fill")
    assert filled.at - sent.at <= timedelta(seconds=31)
    assert sent.waited == Decimal((filled.at - sent.at - SECOND).total_seconds())
    assert filled.across_gap is False
    waits, coverage = result.figures["waits"], result.figures["coverage"]
    assert waits["longest"] == float(sent.waited)
    assert waits["between_observations"] == 30
    words = "Orders arrive after 1 s, but the traded markets were observed every 30.0 s (median)"
    assert any(each.startswith(words) for each in result.assumptions)
    assert 0 < coverage["observed_share"] < 1


def test_a_fill_across_a_gap_is_told_by_the_verdict():
    market = record_market()
    record_revision(market, START - HOUR)
    for minute in (0, 20):
        record_quote(market, START + minute * MINUTE + SECOND)
    record_passes(START - 2 * HOUR, START)
    record_passes(START + 19 * MINUTE, START + HOUR)
    waited = ran(market, across_gaps="wait")
    assert waited.figures["coverage"]["fills_across_gaps"] == 1
    assert "1 of 1 fill came from orders that were sent before a gap" in waited.verdict
    assert waited.executions.get(kind="fill").across_gap is True
    assert "The traded markets were observed for" in waited.verdict
    expired = ran(market)
    assert expired.executions.get(kind="cancelled").reason == "a gap in the observations began"
    assert expired.figures["waits"]["never_met"] == 1
    assert expired.figures["coverage"]["fills_across_gaps"] == 0
