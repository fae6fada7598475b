from dataclasses import replace

import pytest

from backtests.metrics import (
    Assumptions,
    CoverageFigures,
    dollars,
    measure,
    trace,
    verdict,
)
from backtests.metrics.figures import too_few
from backtests.metrics.ratios import Ratios
from backtests.tests.journal_builders import DOLLARS, JournalBuilder, universe_of_rows

CASH = 10_000 * DOLLARS


def figures(*, pnl=214, fees=38, days=61.0, events=57, orders=3, fills=3):
    universe, idle = universe_of_rows([]), JournalBuilder(CASH).outcome()
    some = measure(universe, idle, trace(universe, idle, cash=CASH, start=0, end=1))
    return replace(
        some,
        days=days,
        money=replace(some.money, final_equity=CASH + pnl * DOLLARS, fees=fees * DOLLARS),
        activity=replace(some.activity, orders=orders, fills=fills),
        events=replace(some.events, traded=events),
        ratios=Ratios(withheld=too_few(days, events)),
    )


def test_a_verdict_says_what_was_earned_and_how_sure_that_is():
    assert verdict(
        figures(),
        low=96 * DOLLARS,
        high=305 * DOLLARS,
        yardsticks={"random entry": -41 * DOLLARS},
    ) == (
        "Earned $214.00 on $10,000.00 over 61 days after $38.00 fees; "
        "between $96.00 and $305.00 depending on fills; random entry earned -$41.00; "
        "57 independent events: too few to annualise."
    )


def test_a_loss_is_called_one():
    assert verdict(figures(pnl=-41, days=1.5)) == (
        "Lost $41.00 on $10,000.00 over 36 hours after $38.00 fees; "
        "57 independent events: too few to annualise."
    )


def test_a_gain_that_depends_on_fills_is_not_robust():
    text = verdict(figures(), low=0, high=305 * DOLLARS)

    assert "; not robust, since the least of the three makes no profit; " in text


def test_a_band_without_width_is_told_in_words():
    assert "; the same in every fill scenario; " in verdict(
        figures(), low=214 * DOLLARS, high=214 * DOLLARS
    )


def test_a_verdict_names_what_was_withheld_for_want_of_days():
    assert verdict(figures(days=12.0, events=150)).endswith(
        "; 150 independent events; 12 days: too few to annualise."
    )


def test_with_enough_to_tell_the_sharpe_ratio_comes_with_its_interval():
    some = replace(
        figures(events=150),
        ratios=Ratios(sharpe=1.234, sharpe_low=-0.5, sharpe_high=2.9),
    )

    assert verdict(some).endswith(
        "; 150 independent events; Sharpe ratio 1.23, with 95 % confidence between -0.50 and 2.90."
    )


@pytest.mark.parametrize(
    ("orders", "text"),
    [
        (0, "Made no trades in 61 days: no orders sent; random entry earned -$41.00."),
        (
            12,
            "Made no trades in 61 days: 12 orders, 0 refused, none filled; "
            "random entry earned -$41.00.",
        ),
    ],
)
def test_a_run_without_trades_is_told_as_such(orders, text):
    idle = figures(pnl=0, orders=orders, fills=0)
    assert verdict(idle, yardsticks={"random entry": -41 * DOLLARS}) == text


def test_a_verdict_ends_with_what_it_rests_on():
    some = figures()
    some = replace(
        some,
        money=replace(some.money, final_cash=CASH + 202 * DOLLARS),
        activity=replace(some.activity, open_positions=2),
    )

    assert verdict(some, assumptions=Assumptions(size=100, times=True, fees=True)).endswith(
        ". 2 positions were open at the end, marked at $12.00. Unknown sizes were assumed: "
        "100 contracts. The time at which some results were known was assumed. "
        "Some fee terms were assumed."
    )


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (0, "$0.00"),
        (1_234_567_890_000, "$1,234,567.89"),
        (-41_000_000, "-$41.00"),
        (5_000, "$0.00"),
        (-5_000, "$0.00"),
        (5_001, "$0.01"),
        (-15_000, "-$0.02"),
        (999_995_000, "$1,000.00"),
    ],
)
def test_money_is_rounded_to_cents_only_where_it_is_told(money, text):
    assert dollars(money) == text


def test_a_verdict_names_what_was_not_observed_where_it_may_have_decided_the_result():
    seen = CoverageFigures(
        observed_share=0.834,
        fills_across_gaps=2,
        pnl_across_gaps=-3 * DOLLARS,
        thin_hours=1,
        pnl_of_thin_hours=40 * DOLLARS,
    )
    assert verdict(replace(figures(), coverage=seen)).endswith(
        " The traded markets were observed for 83% of the time."
        " 2 of 3 fills came from orders that were sent before a gap and filled after it, and earned"
        " -$3.00. Hours observed for less than 90% earned $40.00."
    )


def test_a_verdict_is_silent_about_gaps_that_decided_nothing():
    seen = CoverageFigures(observed_share=0.97, thin_hours=1, pnl_of_thin_hours=2 * DOLLARS)
    assert "observed" not in verdict(replace(figures(), coverage=seen))
