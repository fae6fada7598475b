"""docs/backtrader.md has a row for all that backtrader has, and each row has a test."""

import inspect
import re

import backtrader as bt
import pytest
from backtrader.brokers import BackBroker

from backtests.tests import (
    test_annotated_runs,
    test_contract_arguments,
    test_contract_broker,
    test_contract_checks,
    test_contract_expirations,
    test_contract_members,
    test_contract_notifications,
    test_contract_orders,
    test_contract_strategy,
)
from backtests.tests.contract import PROVED, VERDICTS, asked, rows
from backtests.tests.scripted import Scripted

# Importing them fills `PROVED`.
PROOFS = (
    test_annotated_runs,
    test_contract_arguments,
    test_contract_broker,
    test_contract_checks,
    test_contract_expirations,
    test_contract_members,
    test_contract_notifications,
    test_contract_orders,
    test_contract_strategy,
)
ROWS = rows()


def public(*classes):
    return {name for kind in classes for name in dir(kind) if not name.startswith("_")}


def named(section):
    return {name for title, name in ROWS if title == section}


@pytest.mark.parametrize(
    ("section", "classes"),
    [
        ("Strategy", (bt.Strategy,)),
        ("Broker", (bt.BrokerBase, BackBroker)),
        ("Order", (bt.Order,)),
    ],
)
def test_every_public_member_has_a_row(section, classes):
    assert public(*classes) - named(section) == set()


def test_a_strategy_s_attributes_have_rows():
    attributes = asked(lambda s: set(vars(s)) - set(vars(Scripted())))
    # Feeds and lines have many names by number; the first ones stand for them.
    by_number = re.compile(r"_|line_?\d|data\d*_(?!close)|data[1-9]")
    assert {n for n in attributes if not by_number.match(n)} - named("Strategy") == set()


def test_an_order_s_attributes_have_rows():
    order = asked(lambda s: s.buy(s.datas[0], 5))
    attributes = {*vars(order), *order.params._getkeys()} - {"p", "params", "ticket"}
    assert {name for name in attributes if not name.startswith("_")} - named("Order") == set()


def arguments(function, without=frozenset({"self", "kwargs"})):
    return [name for name in inspect.signature(function).parameters if name not in without]


def methods(section, kind):
    """The functions of a class that rows tell of, by name."""
    rows = [n for (title, n), verdict in ROWS.items() if title == section and verdict != "inner"]
    return {n: getattr(kind, n) for n in rows if inspect.isfunction(getattr(kind, n, None))}


def has_row(call, argument):
    """Return whether a row tells of an argument, or of one of its values."""
    rows = named("Arguments")
    return f"{call}({argument})" in rows or any(r.startswith(f"{call}({argument}=") for r in rows)


def test_every_argument_of_a_strategy_s_methods_has_a_row():
    same = {"sell": "buy", "sell_bracket": "buy_bracket"}
    found = methods("Strategy", bt.Strategy)
    for method, other in same.items():
        assert arguments(found.pop(method)) == arguments(getattr(bt.Strategy, other))
    missing = [
        (method, argument)
        for method, function in found.items()
        for argument in arguments(function)
        if not has_row(method, argument)
    ]
    assert missing == []


def test_every_argument_of_the_broker_s_methods_has_a_row():
    """What raises does so with any arguments, and those of `buy` have rows already."""
    refused = {name for (title, name), said in ROWS.items() if said == "raises"}
    same = {"sell": "buy", "get_value": "getvalue"}
    missing = [
        (method, argument)
        for method, function in methods("Broker", BackBroker).items()
        for argument in arguments(function)
        if method not in refused
        and not has_row(f"broker.{same.get(method, method)}", argument)
        and not (method in ("buy", "sell") and has_row("buy", argument))
    ]
    assert missing == []


def test_every_row_has_a_test_that_says_the_same():
    assert set(ROWS.values()) <= set(VERDICTS)
    assert {row: {verdict} for row, verdict in ROWS.items()} == dict(PROVED)
