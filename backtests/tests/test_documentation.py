"""The strategies that docs/strategies.md shows are those that `newstrategy` writes, and run."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtests.analysis import lookahead
from backtests.analysis.evaluation import Evaluation
from backtests.analysis.signal_annotations import orders_of
from backtests.data.universe import MONEY, Floats, Ints, QuoteHistory, exact
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.own import beginnings
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import indicators
from backtests.strategies.base import HOLD
from backtests.strategies.parameters import BadParameter
from backtests.strategies.record_view import RecordView
from backtests.tests.random_universes import random_universe

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"
SHOWN = dict(
    re.findall(r"```python\n# var/strategies/(\w+)\.py\n(.*?)```", DOCUMENT.read_text(), re.S)
)
CASH = 1_000 * MONEY


@pytest.fixture(scope="module")
def shown() -> Any:
    names: dict[str, Any] = {"__name__": "cheap_side"}
    exec(SHOWN["cheap_side"], names)  # noqa: S102
    return names["CheapSide"]


class WithoutDocstrings(ast.NodeTransformer):
    def generic_visit(self, node):
        node = super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [
                each
                for each in body
                if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            ]
            node.body = [each for each in kept if getattr(each, "name", "") == "" or each.body]
        return node


@pytest.mark.parametrize(("name", "kind"), [("cheap-side", "signal"), ("patient-bid", "strategy")])
def test_the_document_shows_what_newstrategy_writes(tmp_path, name, kind):
    (strategy, _) = beginnings.write(name, kind, tmp_path)
    written, shown = (
        ast.dump(WithoutDocstrings().visit(ast.parse(text)))
        for text in (strategy.read_text(), SHOWN[strategy.stem])
    )
    assert written == shown


def test_it_trades_and_both_engines_agree(shown):
    universe, signal = random_universe(1), shown(quotes=5, edge=0.0)
    history = QuoteHistory(universe.quotes, universe.listings)
    targets = history.to_quote_order(signal.targets(history))
    execution, fills = ExecutionModel(), FillModel.EXPECTED
    quick = kernel.run(universe, targets, execution, fills, cash=CASH)
    stepped = cerebro.run(universe, signal, execution, fills, cash=CASH).outcome
    assert len(quick.journal) > 0
    assert quick.cash == stepped.cash
    assert quick.journal.tolist() == stepped.journal.tolist()


def test_it_does_not_look_ahead(shown):
    report = lookahead.check(shown, random_universe(2), parameters={"quotes": 5}, rows_shown=20_000)
    assert report.verdict == lookahead.LookaheadVerdict.CLEAN
    assert report.decisions > 0


def test_its_parameters_are_checked(shown):
    with pytest.raises(BadParameter, match="quotes: Must be at least 2"):
        shown(quotes=1)


TABLE = DOCUMENT.read_text().partition("## What a strategy sees")[2].partition("\n## ")[0]


@pytest.mark.parametrize("kind", [QuoteHistory, RecordView])
def test_all_that_a_strategy_sees_is_in_the_table(kind):
    members = {name for name in vars(kind) if not name.startswith("_")}
    rows = [row for row in TABLE.splitlines() if row.startswith("| ")]
    columns = [row.split(" | ")[kind is RecordView] for row in rows]
    told = set(re.findall(r"`(?:\w+\.)?(\w+)[`(]", " ".join(columns)))
    assert members - {"of", "to_quote_order"} - told == set()


def test_what_the_document_states_of_a_strategy_is_kept(shown):
    block = r"```python\n(class CheapSide\(Signal\):.*?)```"
    (stating,) = re.findall(block, DOCUMENT.read_text(), re.S)
    names: dict[str, Any] = {
        "Signal": shown, "np": np, "indicators": indicators, "exact": exact, "HOLD": HOLD,
        "Mapping": Mapping, "Sequence": Sequence, "Floats": Floats, "Ints": Ints,
        "QuoteHistory": QuoteHistory,
    }  # fmt: skip
    exec(stating, names)  # noqa: S102
    universe = random_universe(1)
    evaluation = Evaluation(
        universe=universe,
        strategy=names["CheapSide"],
        params={"quotes": 5, "edge": 0.0, "contracts": 10},
        execution=ExecutionModel(),
        cash=CASH,
        start=int(universe.quotes.at[0]),
        end=int(universe.quotes.at[-1]),
        in_kernel=True,
    )
    outcome = evaluation.annotated(evaluation.run(FillModel.EXPECTED, lambda share: None))
    assert {each.name for each in outcome.annotations.series.series} >= {"usual midpoint"}
    assert all(words.startswith("asked ") for words in outcome.annotations.reasons.values())
    assert len(outcome.annotations.reasons) == len(orders_of(outcome))
