"""Backtests on imports: they read those that they name, and say so."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from backtests.api.serializers import BacktestRequestSerializer
from backtests.data.universe import microseconds
from backtests.forms import BacktestForm
from backtests.loading import load
from backtests.models import BacktestResult, BacktestStatus, Engine, SnapshotSources
from backtests.requests import BacktestRequest, MarketSelection
from backtests.tests.record_builders import record_quote
from kalshi_insights.bad_input import BadInput
from markets.importing.undo import undo
from markets.models import Import, Market, Source
from markets.models.imports import Kind
from markets.tests.import_builders import START, imported, quote

pytestmark = pytest.mark.django_db
TICKER = "KXOWN-26NOV20-T40"
END = START + timedelta(hours=2)
FEES = {"fee_type": "quadratic", "fee_multiplier": "1"}
QUOTES = [(TICKER, 0, quote(42, 45)), (TICKER, 60, quote(50, 52)), (TICKER, 3_600, quote(60, 62))]


def now():
    return END + timedelta(days=365)


def selection(*imports: Import, **values) -> MarketSelection:
    ids = [each.pk for each in imports]
    return MarketSelection(start=START, end=END, tickers=[TICKER], imports=ids, **values)


def loaded(*imports: Import, **values):
    return load(selection(*imports, **values), known_by=now())


def seconds(universe) -> list[float]:
    at = universe.quotes.at[universe.quotes.tradable] - microseconds(START)
    return [each / 1_000_000 for each in at.tolist()]


class TestReading:
    def test_a_run_reads_the_import_that_it_names(self):
        row = imported(Kind.QUOTES, QUOTES, **FEES)

        universe = loaded(row)

        assert seconds(universe) == [0, 60, 3_600]
        assert universe.quotes.bid.tolist() == [4_200, 5_000, 6_000]
        assert universe.origins.of("quotes") == {"imported": 3}
        assert universe.terms[0][0].assumed

    def test_a_run_that_names_none_reads_none(self):
        row = imported(Kind.QUOTES, QUOTES, **FEES)

        with pytest.raises(BadInput, match=f"No quotes .* Name an import of it: {row.pk}"):
            loaded()

    def test_another_import_of_the_same_market_is_left_alone(self):
        row = imported(Kind.QUOTES, QUOTES, **FEES)
        imported(Kind.QUOTES, [(TICKER, 5, quote(1, 2))])

        assert seconds(loaded(row)) == [0, 60, 3_600]

    def test_what_was_recorded_live_goes_before_imports_and_these_before_backfills(self):
        row = imported(Kind.QUOTES, QUOTES, **FEES)
        market = Market.objects.get()
        for at in (30, 4_000):
            record_quote(market, START + timedelta(seconds=at), source=Source.BACKFILL)
        live = START + timedelta(seconds=3_700)
        record_quote(market, START + timedelta(seconds=59))
        record_quote(market, live)

        universe = loaded(row)

        assert seconds(universe) == [0, 59, 3_700, 4_000]
        counts = {"recorded live": 2, "imported": 1, "backfilled": 1}
        assert universe.origins.of("quotes") == counts
        assert seconds(loaded(row, sources=SnapshotSources.IMPORTED)) == [0, 60, 3_600]

    def test_a_settlement_of_another_file_counts_if_it_is_named_too(self):
        quotes = imported(Kind.QUOTES, QUOTES, **FEES)
        results = imported(Kind.SETTLEMENTS, [(TICKER, 5_000, {"result": "yes"})])

        assert loaded(quotes).settlements == [None]
        assert loaded(quotes, results).settlements[0].value == 1_000_000

    def test_trades_of_an_import_are_complete_from_its_first_to_its_last(self):
        quotes = imported(Kind.QUOTES, QUOTES, **FEES)
        trade = {"yes_price": 4_500, "count": 100, "taker_side": 1, "is_block_trade": 0}
        trades = imported(Kind.TRADES, [(TICKER, at, trade) for at in (10, 20)])

        tape = loaded(quotes, trades).tape

        assert (tape.at - microseconds(START)).tolist() == [10_000_000, 20_000_000]
        assert (tape.since[0], tape.until[0]) == (tape.at[0], tape.at[1])
        assert loaded(quotes).tape is None


class TestProof:
    def instants(self, universe) -> list[float]:
        at = universe.observations().of_market(0) - microseconds(START)
        return [each / 1_000_000 for each in at.tolist()]

    def gaps(self, universe) -> list[tuple[float, float]]:
        known, start = universe.known_gaps(), microseconds(START)
        spans = zip(known.since.tolist(), known.until.tolist(), strict=True)
        return [((a - start) / 1_000_000, (b - start) / 1_000_000) for a, b in spans]

    def test_sampled_rows_prove_their_instants_alone(self):
        row = imported(Kind.QUOTES, QUOTES, recording="sampled", **FEES)

        assert self.instants(loaded(row)) == [0, 60, 3_600]
        assert self.gaps(loaded(row)) == []

    def test_of_an_import_on_change_the_quote_stands_until_the_gap(self):
        row = imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=120, **FEES)

        universe = loaded(row)
        instants = self.instants(universe)

        assert instants == [*range(181), *range(3_600, 3_721)]
        assert self.gaps(universe) == [(180, 3_600), (3_720, 7_200)]

    def test_without_a_gap_it_stands_from_row_to_row(self):
        row = imported(Kind.QUOTES, QUOTES, recording="on-change", **FEES)

        assert self.instants(loaded(row)) == list(range(3_601))
        assert self.gaps(loaded(row)) == []

    def test_of_two_imports_of_one_time_each_row_proves_what_its_own_says(self):
        on_change = imported(Kind.QUOTES, QUOTES, recording="on-change", gap_after=120, **FEES)
        sampled = imported(
            Kind.QUOTES,
            [(TICKER, 30, quote(43, 46)), (TICKER, 600, quote(51, 53))],
            recording="sampled",
        )

        universe = loaded(on_change, sampled)

        stood = [*range(31), *range(60, 181), 600, *range(3_600, 3_721)]
        assert self.instants(universe) == stood
        assert self.gaps(universe) == [(180, 600), (3_720, 7_200)]

    @pytest.mark.parametrize("engine", Engine.values)
    @pytest.mark.parametrize(("recording", "met"), [("on-change", 1), ("sampled", 60)])
    def test_an_order_meets_a_standing_quote_within_a_second(self, engine, recording, met):
        row = imported(Kind.QUOTES, QUOTES, recording=recording, gap_after=120, **FEES)
        out = StringIO()

        call_command(
            "runbacktest", "always-no", "--ticker", TICKER, "--import", str(row.pk),
            "--start", f"{START:%Y-%m-%dT%H:%MZ}", "--end", f"{END:%Y-%m-%dT%H:%MZ}",
            "--engine", engine, stdout=out,
        )  # fmt: skip

        fill = BacktestResult.objects.get().executions.filter(kind="fill").first()
        assert fill.at == START + timedelta(seconds=met)


class TestRequests:
    def request(self, *imports: Import, **values) -> BacktestRequest:
        return BacktestRequest(strategy="always-favourite", selection=selection(*imports, **values))

    @pytest.mark.parametrize(
        ("state", "why"),
        [("running", "is running"), ("interrupted", "again"), ("undone", "its data is gone")],
    )
    def test_an_import_that_is_not_finished_is_refused_with_the_reason(self, state, why):
        row = imported(Kind.QUOTES, QUOTES)
        Import.objects.update(state=state)

        with pytest.raises(BadInput, match=f"import: Import {row.pk} .*{why}"):
            self.request(row).validated(now=now())

    def test_an_import_that_is_not_on_record_is_refused(self):
        request = self.request(Import(pk=999))

        with pytest.raises(BadInput, match="import: Import 999 is not on record"):
            request.validated(now=now())

    def test_sources_that_read_no_import_are_refused(self):
        row = imported(Kind.QUOTES, QUOTES)

        with pytest.raises(BadInput, match="sources"):
            self.request(row, sources=SnapshotSources.RECORDED).validated(now=now())
        with pytest.raises(BadInput, match="import"):
            self.request(sources=SnapshotSources.IMPORTED).validated(now=now())

    def test_the_command_runs_on_an_import_and_says_so(self):
        row = imported(Kind.QUOTES, QUOTES, **FEES)
        out = StringIO()

        call_command(
            "runbacktest", "always-favourite", "--ticker", TICKER, "--import", str(row.pk),
            "--start", f"{START:%Y-%m-%dT%H:%MZ}", "--end", f"{END:%Y-%m-%dT%H:%MZ}", stdout=out,
        )  # fmt: skip

        result = BacktestResult.objects.get()
        row.refresh_from_db()
        assert result.status == BacktestStatus.DONE
        assert result.imports == [row.pk]
        assert "All quotes were imported." in result.assumptions
        assert row.used_by == [f"backtest {result.pk}"]

        call_command("reproduce", str(result.pk), stdout=out)
        undo(row)
        with pytest.raises(CommandError, match=f"Import {row.pk} was undone: its data is gone"):
            call_command("reproduce", str(result.pk))
        result.refresh_from_db()
        assert result.figures


def test_a_bot_s_log_is_imported_backtested_and_undone(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(
        "Time (ET),ticker,best yes,best no\n"
        "2026-11-20 07:00:00,KXOWN-26NOV20-T40,61,38\n"
        "2026-11-20 07:00:30,KXOWN-26NOV20-T40,75,24\n"
    )
    results = tmp_path / "results.csv"
    results.write_text("ticker,result\nKXOWN-26NOV20-T40,yes\n")
    out = StringIO()
    call_command(
        "importdata", "quotes", str(log), "--time-zone", "America/New_York", "--unit", "cents",
        "--column", "at=Time (ET)", "--column", "bid=best yes", "--column", "no_bid=best no",
        "--fee-type", "quadratic", "--recording", "on-change", "--gap-after", "600", stdout=out,
    )  # fmt: skip
    call_command("importdata", "settlements", str(results), stdout=out)
    quotes, settlements = Import.objects.order_by("pk")

    call_command(
        "runbacktest", "always-favourite", "--series", "KXOWN", "--start", "2026-11-20",
        "--end", "2026-11-22", "--import", str(quotes.pk), str(settlements.pk),
        "--assumed-size", "100", stdout=out,
    )  # fmt: skip

    result = BacktestResult.objects.get()
    assert (result.status, result.markets) == (BacktestStatus.DONE, 1)
    assert result.figures["money"]["pnl"] > 0
    assert "Some fee terms were assumed." in result.assumptions
    call_command("undoimport", str(quotes.pk), stdout=out)
    assert f"used by backtest {result.pk}" in out.getvalue()


class TestDoors:
    """The form and the API name imports by their numbers."""

    def test_the_form_reads_numbers_and_refuses_other_words(self):
        field = BacktestForm(None, query={}, now=now()).fields["imports"]

        assert field.clean("3, 12 3") == [3, 12]
        with pytest.raises(ValidationError, match="numbers of imports"):
            field.clean("three")

    def test_the_api_takes_numbers_alone(self):
        body = {"strategy": "always-favourite", "tickers": [TICKER], "start": START, "end": END}

        good = BacktestRequestSerializer(data={**body, "imports": [3, 12]})
        bad = BacktestRequestSerializer(data={**body, "imports": ["three"]})

        assert good.is_valid()
        assert good.backtest_request.selection.imports == [3, 12]
        assert not bad.is_valid()
        assert "imports" in bad.errors
