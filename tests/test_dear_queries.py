"""No query that anybody can make is dear: what the planner reckons with, on a small universe."""

import logging
from typing import Any

import pytest
from django.db import connection

from benchmarks.titled_universe import COMMON, create
from tests.dear_queries import dearest_of_each

MARKETS = 1_000
# In the planner's units for each market on record, in all statements of a request. A scan of all
# markets takes about a tenth of one; the dearest list, as of an instant and by status, nine.
MOST = 15.0

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:No directory at")]


class PlannedCost:
    """Adds up what the planner reckons that the statements of a request cost."""

    def __init__(self) -> None:
        self.total = 0.0
        self._explains = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self._explains and sql.lstrip().upper().startswith(("SELECT", "WITH")):
            self._explains = True
            with context["connection"].cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                [plan] = cursor.fetchone()[0]
            self._explains = False
            self.total += plan["Plan"]["Total Cost"]
        return execute(sql, params, many, context)


def test_a_statement_that_compares_all_markets_with_all_is_dear():
    create(MARKETS)
    planned = PlannedCost()
    with connection.execute_wrapper(planned), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM markets_market AS one JOIN markets_market AS other"
            " ON one.yes_sub_title < other.yes_sub_title"
        )
    assert planned.total > MOST * MARKETS


def test_the_dearest_query_of_every_address_grows_with_the_markets_and_no_faster(client):
    create(MARKETS)
    logging.disable(logging.CRITICAL)

    def cost(address: str) -> float | None:
        planned = PlannedCost()
        with connection.execute_wrapper(planned):
            response = client.get(address)
        assert response.status_code in (200, 400, 404), (address, response.content)
        return planned.total if response.status_code == 200 else None

    try:
        found = [dearest for _, dearest in dearest_of_each(cost, common_words=COMMON)]
    finally:
        logging.disable(logging.NOTSET)
    assert len(found) > 20
    dear = {each.address: each.cost / MARKETS for each in found if each.cost > MOST * MARKETS}
    assert dear == {}
