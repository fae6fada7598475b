"""docs/backtrader.md has a row for all that backtrader has, and each row has a test."""

import inspect
import re

import backtrader as bt
import pytest
from backtrader.brokers import BackBroker

from backtests.tests import test_contract_broker, test_contract_orders, test_contract_strategy
from backtests.tests.contract import PROVED, VERDICTS, asked, rows
from backtests.tests.scripted import Scripted

PROOFS = (test_contract_broker, test_contract_orders, test_contract_strategy)
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


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("buy", bt.Strategy.buy),
        ("close", bt.Strategy.close),
        ("cancel", bt.Strategy.cancel),
        ("buy_bracket", bt.Strategy.buy_bracket),
        ("order_target_size", bt.Strategy.order_target_size),
        ("order_target_value", bt.Strategy.order_target_value),
        ("order_target_percent", bt.Strategy.order_target_percent),
        ("getposition", bt.Strategy.getposition),
        ("setsizer", bt.Strategy.setsizer),
        ("getsizing", bt.Strategy.getsizing),
        ("add_timer", bt.Strategy.add_timer),
        ("get_value", BackBroker.get_value),
        ("get_orders_open", BackBroker.get_orders_open),
    ],
)
def test_every_argument_has_a_row(method, function):
    given = {name for name in inspect.signature(function).parameters if name != "self"}
    rest = {"kwargs"} if method != "add_timer" else set()
    has_rows = {
        name.partition("(")[2].rstrip(")").partition("=")[0]
        for name in named("Arguments")
        if name.startswith(f"{method}(")
    }
    assert given - rest - has_rows == set()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(bt.Strategy.sell, bt.Strategy.buy), (bt.Strategy.sell_bracket, bt.Strategy.buy_bracket)],
)
def test_sell_has_the_arguments_of_buy(ours, theirs):
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_every_row_has_a_test_that_says_the_same():
    assert set(ROWS.values()) <= set(VERDICTS)
    assert {row: {verdict} for row, verdict in ROWS.items()} == dict(PROVED)
