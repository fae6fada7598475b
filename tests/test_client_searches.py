"""Searches by the notebook client, against a running site."""

import importlib
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from accounts.tests.factories import a_token
from backtests.api.search_serializers import BRIEF_COLUMNS, POINT_COLUMNS
from backtests.models import Search
from backtests.searches import runner, universes
from backtests.tests.factories import a_user
from backtests.tests.search_builders import SERIES, WINDOW, a_search, record_days

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "notebooks"))
library = importlib.import_module("kalshi_insights_client")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(live_server, transactional_db):
    record_days()
    token = a_token(a_user("trader"), "backtest")
    with library.Client(live_server.url, token=token) as client:
        yield client
    universes.forget()


@pytest.fixture
def worker(monkeypatch):
    """Run queued searches whenever the client asks for their progress."""

    def work(seconds: float) -> None:
        for id in Search.objects.unfinished().values_list("pk", flat=True):
            while runner.run_chunk(id):
                pass

    monkeypatch.setattr("time.sleep", work)


def searched(client, **payload):
    wanted = {
        "vary": {"contracts": [1, 5], "edge": "0.0:0.02:0.01"},
        "series": [SERIES],
        "execution": {"across_gaps": "wait"},
        **payload,
    }
    return client.search("fade-longshots", *WINDOW, **wanted)


def test_a_search_is_run_and_waited_for(client, worker):
    found = searched(client, folds=1)
    assert (found.status, repr(found)) == (
        "done",
        f"<Search {found.id} fade-longshots: done. 6 points>",
    )
    points = found.points(ordering="-pnl")
    assert set(points.columns[:2]) == {"params.contracts", "params.edge"}
    assert (len(points), points.pnl.dtype, points.fills.dtype) == (6, "float64", "Int64")
    best = points.iloc[0]
    assert points.index[0] == found.figures["best"]
    assert found.best["contracts"] == best["params.contracts"]
    assert found.best["edge"] == best["params.edge"]
    assert found.best["ceiling"] == found.data["params"]["ceiling"]
    assert points.sharpe.isna().all()  # there are four events
    assert len(found.points(limit=2)) == 2
    assert list(client.searches(status="done").index) == [found.id]
    assert client.read_search(found.id).figures == found.figures


def test_a_walk_forward_has_its_folds_and_its_equity_in_dollars(client, worker):
    found = searched(client, folds=1)
    [fold] = found.folds().itertuples()
    assert (fold.train_markets, fold.test_markets) == (2, 2)
    assert fold.test_pnl == found.figures["walk_forward"]["pnl"] / 1_000_000
    assert WINDOW[0] < fold.begins < fold.ends < WINDOW[1]
    equity = found.equity()
    assert equity.index.dtype == "datetime64[us, UTC]"
    assert equity.out_of_sample.iloc[0] == 10_000
    assert equity.out_of_sample.iloc[-1] == pytest.approx(10_000 + fold.test_pnl)


def test_without_a_walk_forward_there_are_no_folds(client, worker):
    found = searched(client)
    assert list(found.folds().columns) == library.FOLDS.split()
    assert (len(found.folds()), len(found.equity())) == (0, 0)


def test_a_search_tells_how_probable_it_is_that_its_choice_is_overfitted(client, worker):
    found = searched(client)
    probability = found.probability_of_overfitting
    assert probability == found.figures["probability_of_overfitting"]
    assert probability is not None
    assert 0 <= probability <= 1
    beside = found.overfitting()
    assert beside["trials"] == 6
    assert beside["words"]


def test_a_search_is_cancelled_and_resumed(client, worker):
    found = searched(client, wait=False)
    assert (found.status, found.probability_of_overfitting) == ("queued", None)
    assert found.cancel().status == "cancelled"
    with pytest.raises(library.Failed, match=f"Search {found.id} was cancelled"):
        found.wait()
    assert found.resume().wait().status == "done"


def test_values_to_vary_may_be_of_any_kind(client):
    vary = {"contracts": range(1, 4), "edge": [Decimal("0.01")], "ceiling": np.array([0.1, 0.2])}
    found = searched(client, vary=vary, wait=False)
    assert found.data["varied"] == {"contracts": [1, 2, 3], "edge": [0.01], "ceiling": [0.1, 0.2]}


def test_wrong_values_are_named(client):
    with pytest.raises(library.Invalid) as fault:
        searched(client, vary={"edge": [9]})
    assert list(fault.value.details) == ["vary.edge"]


def test_the_columns_of_an_empty_list_are_those_of_the_api(client):
    assert library.SEARCHES.split() == BRIEF_COLUMNS
    assert library.POINTS.split() == POINT_COLUMNS
    assert set(client.searches().columns) == {*BRIEF_COLUMNS} - {"id"}


def test_an_exact_client_has_the_decimals_of_points(live_server, client, worker):
    done = searched(client)
    with library.Client(live_server.url, exact=True) as exact:
        pnl = exact.read_search(done.id).points().pnl
    assert all(isinstance(each, Decimal) for each in pnl)


def test_a_point_that_has_not_run_has_no_figures(client):
    waiting = client.read_search(a_search().pk)
    points = waiting.points()
    assert points.pnl.isna().all()
    assert points.fills.isna().all()
