"""The work of loading: it grows with the data, and not with how often that is looked at."""

import gc

import pytest

from backtests.loading import load
from backtests.tests.record_builders import (
    END,
    START,
    load_universe,
    record_market,
    record_quote,
    selection_of,
)
from kalshi_insights.bad_input import BadInput

pytestmark = pytest.mark.django_db


def test_no_garbage_is_collected_meanwhile():
    market, collecting = record_market(), []
    record_quote(market, START)
    load(
        selection_of(market),
        known_by=END,
        on_progress=lambda share: collecting.append(gc.isenabled()),
    )
    assert collecting
    assert not any(collecting)


def test_garbage_is_collected_again_afterwards_and_after_an_error():
    market = record_market()
    with pytest.raises(BadInput):
        load_universe(market)
    assert gc.isenabled()
    record_quote(market, START)
    load_universe(market)
    assert gc.isenabled()
