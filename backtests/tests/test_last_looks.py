"""The last look at a market before an instant."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.first_observations import last_looks
from backtests.tests.observed_builders import observed_worlds
from markets.observed import BEFORE_ALL, ObservedInstants


def looks_at(observed: ObservedInstants, market: int) -> list[int]:
    """Every instant at which a page showed a market, the newest of its run or not."""
    found: list[int] = []
    for span in range(observed.spans[market], observed.spans[market + 1]):
        first, end = observed.starts[observed.streams[span] :][:2]
        instants = observed.instants[first:end].tolist()
        found += [at for at in instants if observed.since[span] <= at <= observed.until[span]]
    return found


@given(observed=observed_worlds(), before=st.integers(0, 110))
def test_it_is_the_newest_instant_of_all_pages_that_showed_the_market(observed, before):
    every = np.arange(observed.markets)
    found = last_looks(observed, every, np.full(len(every), before))
    assert found.tolist() == [
        max((at for at in looks_at(observed, m) if at < before), default=BEFORE_ALL) for m in every
    ]
