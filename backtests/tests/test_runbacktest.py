"""The commands `runbacktest` and `reproduce`."""

import json
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from backtests.models import BacktestResult
from backtests.strategies import STRATEGIES
from backtests.tests.record_builders import (
    END,
    HOUR,
    START,
    record_market,
    record_quote,
    record_settlement,
)
from markets.models import MarketSnapshot

pytestmark = pytest.mark.django_db
WINDOW = ("--start", "2026-10-01", "--end", "2026-10-03")


def a_market(result="no"):
    market = record_market("KXRAIN-26OCT02")
    for hour in (1, 2, 3):
        record_quote(market, START + hour * HOUR)
    record_settlement(market, END, result)
    return market


def said(*words):
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def run(*words):
    # The quotes are hours apart.
    waiting = ("--across-gaps", "wait")
    return said("runbacktest", "always-no", "--ticker", "KXRAIN-26OCT02", *WINDOW, *waiting, *words)


def refused(*words):
    with pytest.raises(CommandError) as caught:
        said("runbacktest", *words)
    return caught.value.returncode, str(caught.value)


def test_it_says_what_came_of_it_and_stores_that():
    a_market()
    output = run()
    result = BacktestResult.objects.get()
    assert f"Backtest {result.pk}: always-no 1, Kernel" in output
    assert "Earned $4.03 on $10,000.00 over 2 days after $0.17 fees" in output
    (names,) = (line.split() for line in output.splitlines() if line.endswith("do-nothing"))
    (pnl,) = (line.split() for line in output.splitlines() if line.startswith("P&L"))
    assert names == ["always-no", "random-entry", "always-no", "always-favourite", "do-nothing"]
    # The random moment comes after the last quote; the favourite is NO.
    assert pnl == ["P&L", "$4.03", "$0.00", "$4.03", "$4.03", "$0.00"]


def test_its_table_shows_the_band_where_there_is_one():
    market = record_market("KXRAIN-26OCT02")
    for hour, bid, ask in ((1, "0.4200", "0.4500"), (2, "0.4200", "0.4500"), (3, "0.4500", None)):
        record_quote(market, START + hour * HOUR, bid, ask)
    record_settlement(market, END, "no")
    (heads,) = (line for line in run("--make").splitlines() if "fewest fills" in line)
    assert re.split(r"\s{2,}", heads.strip())[:3] == ["always-no", "fewest fills", "most fills"]


def test_its_json_is_the_whole_result():
    a_market()
    output = json.loads(run("--json", "--param", "contracts=5", "--cash", "500", "--broker"))
    result = BacktestResult.objects.get()
    assert (output["id"], output["status"], output["params"]) == (
        result.pk,
        "done",
        {"contracts": 5},
    )
    assert (output["cash"], output["execution"]["through_broker"]) == ("500.000000", True)
    assert output["figures"] == result.figures


def test_money_of_its_json_is_dollars_beside_the_figures_and_millionths_within_them():
    a_market()
    for words in ((), ("--no-save",)):
        output = json.loads(run("--json", *words))
        assert (output["cash"], output["final_cash"]) == ("10000.000000", "10004.029400")
        assert output["figures"]["money"]["pnl"] == 4_029_400


def test_it_shows_the_fills():
    a_market()
    heads, fill = run().splitlines()[-2:]
    assert heads.split() == ["time", "market", "side", "contracts", "price", "fee"]
    assert re.split(r"\s{2,}", fill.strip()) == [
        "2026-10-01 02:00:00", "KXRAIN-26OCT02", "buy NO", "10", "$0.4200", "$0.170600",
    ]  # fmt: skip


def test_of_many_fills_it_shows_the_first_ones_and_where_the_others_are():
    names = [f"KXRAIN-26OCT02-B{n}" for n in range(12)]
    for name in names:
        market = record_market(name)
        for hour in (1, 2):
            record_quote(market, START + hour * HOUR)
    words = ("always-no", "--ticker", *names, *WINDOW, "--across-gaps", "wait")
    lines = said("runbacktest", *words).splitlines()
    assert sum("buy NO" in line for line in lines) == 10
    number = BacktestResult.objects.get().pk
    assert lines[-1] == (
        f"  2 more: /backtests/{number}/?kind=fill on the site,"
        f" or /api/v1/backtests/{number}/executions/?format=csv of the API."
    )
    unstored = said("runbacktest", *words, "--no-save").splitlines()
    assert unstored[-1] == "  2 more: run it without --no-save, and the site has them all."


def test_what_only_ends_trading_is_no_row_of_quotes():
    market = a_market()
    record_settlement(market, START + 4 * HOUR, "no")
    assert "\n3 rows of quotes, 1 market, " in run()


def test_without_an_end_it_ends_with_the_newest_quote():
    a_market()
    record_quote(record_market("KXRAIN-26OCT09"), START + 40 * HOUR)
    start = ("--start", "2026-10-01", "--across-gaps", "wait")
    output = said("runbacktest", "always-no", "--ticker", "KXRAIN-26OCT02", *start)
    assert "2026-10-01 00:00 to 2026-10-01 03:00 UTC" in output
    assert BacktestResult.objects.get().end == START + 3 * HOUR + timedelta(seconds=1)


def test_the_cause_of_no_fill_comes_before_what_came_of_it():
    market = record_market("KXRAIN-26OCT02")
    for hour in (1, 2):
        record_quote(market, START + hour * HOUR, yes_bid_size=None, yes_ask_size=None)
    output = " ".join(run("--make").split())
    assert output.index("no known size, so they filled nothing") < output.index("P&L")
    assert output.count("no known size") == 1


def test_it_need_not_be_stored():
    a_market()
    output = json.loads(run("--json", "--no-save"))
    assert (output["id"], output["final_cash"]) == (None, "10004.029400")
    assert not BacktestResult.objects.exists()


def test_the_engine_can_be_chosen():
    a_market()
    assert "Backtrader" in run("--engine", "backtrader")


def test_it_shows_every_strategy_with_its_parameters():
    output = said("runbacktest", "--list")
    assert all(f"{kind.name} {kind.version}\n" in output for kind in STRATEGIES.values())
    assert "contracts=10 contracts (1 to 1,000,000): Contracts to hold" in output


CHOSEN = ("always-no", "--ticker", "KXRAIN-26OCT02")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sorcery", "--ticker", "KXRAIN-26OCT02", *WINDOW), "strategy: No strategy is called"),
        (("always-no", *WINDOW), "ticker: Name a series, an event or a market."),
        (("always-no", "--series", "KXNONE", *WINDOW), "series: Not on record: KXNONE."),
        ((*CHOSEN,), "start: Name a first day or instant"),
        ((*CHOSEN, "--start", "yesterday"), "start: 'yesterday' is neither a day nor an instant"),
        ((*CHOSEN, "--start", "2126-01-01"), "start: 2126-01-01 00:00 UTC is in the future."),
        (
            (*CHOSEN, "--start", "2026-10-02", "--end", "2026-10-01"),
            "end: Must be after the start",
        ),
        (
            (*CHOSEN, "--start", "2025-10-02", "--end", "2025-10-03"),
            "end: Nothing was observed in this window; the first quote after it is of 2026-10-01",
        ),
        ((*CHOSEN, *WINDOW, "--cash", "0"), "cash: Must be above 0"),
        ((*CHOSEN, *WINDOW, "--cash", "much"), "cash: 'much' is not a number."),
        ((*CHOSEN, *WINDOW, "--param", "contracts"), "params.contracts: Must be written as"),
        ((*CHOSEN, *WINDOW, "--param", "contracts=0"), "params.contracts: Must be at least 1."),
        ((*CHOSEN, *WINDOW, "--assumed-size", "0"), "assumed_size: Must be between"),
        (
            (*CHOSEN, *WINDOW, "--latency-snapshots", "1"),
            "latency_snapshots: It is gone: orders meet the first observation after",
        ),
    ],
)
def test_words_that_make_no_sense_end_it_with_2_and_nothing_stored(words, message):
    a_market()
    code, output = refused(*words)
    assert (code, output[: len(message)]) == (2, message)
    assert not BacktestResult.objects.exists()


def test_a_run_that_fails_ends_it_with_1_and_is_stored_as_failed():
    market = a_market()
    market.event.series.fee_changes.all().delete()
    code, output = refused(*CHOSEN, *WINDOW)
    result = BacktestResult.objects.get()
    assert (code, result.status) == (1, "failed")
    assert output == f"Backtest {result.pk} failed: {result.error}"
    assert "fees: The fees of KXRAIN-26OCT02 are unknown" in output


# --- reproducing ----------------------------------------------------------------------------------


def reproduced():
    return said("reproduce", str(BacktestResult.objects.get().pk))


def differs():
    out = StringIO()
    with pytest.raises(CommandError, match="has another result now") as caught:
        call_command("reproduce", str(BacktestResult.objects.get().pk), stdout=out)
    assert caught.value.returncode == 1
    return out.getvalue(), str(caught.value)


@pytest.mark.parametrize("engine", ["kernel", "backtrader"])
def test_what_has_not_changed_comes_out_the_same(engine):
    a_market()
    run("--engine", engine)
    assert reproduced() == (
        "Identical to the millionth of a dollar: 3 journal entries and"
        " $10,004.029400 of final cash.\n"
    )


def test_what_came_to_be_known_since_changes_nothing():
    market = a_market()
    run()
    market.revisions.all().delete()
    record_settlement(market, END, "no")
    later = END.replace(year=2126)
    record_settlement(market, END + HOUR, "yes", recorded_at=later)
    record_quote(market, START + HOUR / 2, "0.6000", "0.6100", recorded_at=later)
    assert reproduced().startswith("Identical")


def test_other_quotes_are_named_with_the_first_line_that_differs():
    a_market()
    run()
    MarketSnapshot.objects.filter(timestamp=START + 2 * HOUR).update(yes_bid="0.4300")
    out, output = differs()
    assert out == (
        "changed since: quotes\n"
        "entry 2, 2026-10-01 02:00:00 fill KXRAIN-26OCT02: price was 0.4200, is 0.4300;"
        " fee was 0.170600, is 0.171600; cash_change was -5.970600, is -5.871600;"
        " cash was 9994.029400, is 9994.128400; yes_bid was 0.4200, is 0.4300\n"
    )
    assert "defect" not in output


def test_a_result_that_differs_for_no_reason_is_a_defect():
    a_market()
    run()
    BacktestResult.objects.get().executions.filter(number=3).delete()
    out, output = differs()
    assert out == "entry 3, 2026-10-03 00:00:00 settled KXRAIN-26OCT02: not there before\n"
    assert output.endswith("Neither code nor data have changed, so this is a defect.")


def test_other_code_is_named_even_where_the_result_is_the_same():
    a_market()
    run()
    result = BacktestResult.objects.get()
    result.code_fingerprint |= {"rules": "0" * 64, "numba": "0.1"}
    result.save()
    out = reproduced()
    assert "changed since: rules\n" in out
    assert "changed since: numba (0.1, now " in out
    assert "Identical" in out


def test_a_result_of_older_rules_says_that_they_have_changed():
    a_market()
    run()
    result = BacktestResult.objects.get()
    result.execution = {"latency_snapshots": 1, "latency_seconds": 0.0}
    result.code_fingerprint |= {"rules": "0" * 64}
    result.save()
    result.executions.filter(kind="fill").update(fee=0)
    out, output = differs()
    assert "changed since: latency_snapshots=1: It is gone: orders meet the first" in out
    assert "The rules by which orders are filled" in output
    assert "the old result is not wrong" in output


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"strategy": "sorcery"}, "No strategy is called 'sorcery'"),
        ({"params": {"contracts": 0}}, "contracts: Must be at least 1."),
        ({"params": {"luck": 7}}, "luck: Not a parameter of this strategy."),
    ],
)
def test_a_run_of_a_strategy_that_has_changed_says_what_did(columns, why):
    a_market()
    run()
    BacktestResult.objects.update(**columns)
    with pytest.raises(CommandError) as caught:
        reproduced()
    assert caught.value.returncode == 1
    assert str(caught.value).startswith(f"The backtest can no longer be run. {why}")


def test_what_is_not_there_or_not_done_cannot_be_reproduced():
    a_market()
    failed = BacktestResult.objects.create(
        status="failed",
        error="Bad luck.",
        tickers=["KXRAIN-26OCT02"],
        start=START,
        end=END,
        created_at=END,
        finished_at=END,
        cash=1,
        engine="kernel",
        execution={},
    )
    for id in (0, failed.pk):
        with pytest.raises(CommandError, match=r"^id: ") as caught:
            said("reproduce", str(id))
        assert caught.value.returncode == 2
