"""The instants at which markets are observed, and that no outcome chooses them."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.calibration.anchors import (
    FINAL,
    MISSING,
    RANDOM,
    Anchor,
    Exclusion,
    MarketDates,
    Schedules,
    observed_at,
)

HOUR = 3_600_000_000
few = settings(max_examples=80, deadline=None)


def dates(**columns: Any) -> MarketDates:
    """Make markets 1, 2, ... that opened at hour 0; hours stand for instants."""
    size = len(next(iter(columns.values())))
    defaults: dict[str, Any] = {
        "opened": [0] * size,
        "may_close_early": [1] * size,
        "draw": [0.5] * size,
    }
    columns = defaults | columns
    hours = {
        name: np.array(
            [MISSING if h is None else h * HOUR for h in columns.get(name, [None] * size)]
        )
        for name in ("opened", "closed", "expected", "strike_date", "occurrence")
    }
    return MarketDates(
        market=np.arange(1, size + 1),
        may_close_early=np.array(columns["may_close_early"]),
        draw=np.array(columns["draw"]),
        **hours,
    )


def schedules(*rows):
    """Make revisions of (market, known, until, close) in hours."""
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    market, *instants = columns
    return Schedules(
        np.array(market, np.int64),
        *(
            np.array([MISSING if h is None else h * HOUR for h in column], np.int64)
            for column in instants
        ),
    )


def one(found):
    at = found.at[0]
    return (
        (None if at == MISSING else at / HOUR),
        Anchor(found.anchor[0]),
        Exclusion(found.reason[0]),
    )


def observed(revisions, moment="6h", anchor="announced", **columns):
    columns = {"closed": [100]} | columns
    return one(observed_at(dates(**columns), schedules(*revisions), moment, anchor))


def test_a_lead_time_counts_back_from_the_close_as_it_was_known_then():
    assert observed([(1, 0, None, 50)]) == (44, Anchor.SCHEDULED_CLOSE, Exclusion.NONE)


def test_a_postponement_after_the_instant_does_not_move_it():
    assert observed([(1, 0, 46, 50), (1, 46, None, 90)])[0] == 44


def test_a_postponement_before_the_instant_moves_it():
    assert observed([(1, 0, 40, 50), (1, 40, None, 90)])[0] == 84


def test_an_early_close_before_the_instant_leaves_none():
    found = observed([(1, 0, 20, 50)], closed=[20])
    assert found == (None, Anchor.NONE, Exclusion.ENDED)


def test_a_close_that_was_brought_forward_over_the_instant_leaves_none():
    """The market still traded, but never with exactly six hours left."""
    assert observed([(1, 0, 30, 50), (1, 30, None, 33)], closed=[33])[2] == Exclusion.ENDED


def test_a_schedule_that_was_learned_too_late_leaves_none():
    assert observed([(1, 47, None, 50)])[2] == Exclusion.TOO_LATE
    assert observed([(1, 0, None, 3)], closed=[3])[2] == Exclusion.TOO_LATE


def test_a_market_that_was_over_before_anybody_noticed_has_none():
    assert observed([(1, 0, None, 50)], closed=[43])[2] == Exclusion.ENDED


def test_without_a_schedule_the_date_of_the_event_counts_and_then_that_of_the_market():
    assert observed([], strike_date=[60], occurrence=[70]) == (
        54,
        Anchor.STRIKE_DATE,
        Exclusion.NONE,
    )
    assert observed([], occurrence=[70]) == (64, Anchor.OCCURRENCE, Exclusion.NONE)


def test_with_a_schedule_no_other_date_counts():
    assert observed([(1, 47, None, 50)], strike_date=[60])[2] == Exclusion.TOO_LATE


def test_the_final_close_alone_says_nothing():
    assert observed([]) == (None, Anchor.NONE, Exclusion.SCHEDULE_UNKNOWN)


def test_the_final_close_counts_where_it_is_asked_for_and_could_not_be_another():
    fixed = {"expected": [100], "may_close_early": [0]}
    assert observed([], **fixed)[2] == Exclusion.SCHEDULE_UNKNOWN
    assert observed([], anchor=FINAL, **fixed) == (94, Anchor.FINAL_CLOSE, Exclusion.NONE)
    early = fixed | {"may_close_early": [1]}
    assert observed([], anchor=FINAL, **early)[2] == Exclusion.SCHEDULE_UNKNOWN
    unknown = fixed | {"may_close_early": [-1]}
    assert observed([], anchor=FINAL, **unknown)[2] == Exclusion.SCHEDULE_UNKNOWN
    later = fixed | {"expected": [101]}
    assert observed([], anchor=FINAL, **later)[2] == Exclusion.SCHEDULE_UNKNOWN


def test_a_lead_longer_than_the_life_of_a_market_leaves_none():
    assert observed([], "24h", strike_date=[20], closed=[20])[2] == Exclusion.TOO_LATE


def test_a_random_instant_lies_between_the_opening_and_the_first_scheduled_close():
    revisions = [(1, 0, 30, 50), (1, 30, None, 90)]
    assert observed(revisions, RANDOM, draw=[0.2])[:2] == (10, Anchor.SCHEDULED_CLOSE)
    assert observed([], RANDOM, strike_date=[60], draw=[0.5])[0] == 30
    assert observed(revisions, RANDOM, draw=[0.9], closed=[20])[2] == Exclusion.ENDED
    assert observed([], RANDOM)[2] == Exclusion.SCHEDULE_UNKNOWN


def test_a_random_instant_before_its_schedule_was_known_is_none():
    """The close had been moved to hour 40, and nobody knows what stood before."""
    revisions = [(1, 30, None, 40)]
    assert observed(revisions, RANDOM, draw=[0.7])[2] == Exclusion.TOO_LATE
    assert observed(revisions, RANDOM, draw=[0.75]) == (30, Anchor.SCHEDULED_CLOSE, Exclusion.NONE)


# Histories of one market: when a close became known, and which; hours.
histories = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 90)), min_size=1, max_size=5,
    unique_by=lambda each: each[0],
).map(sorted)  # fmt: skip


def by_watching(history, lead, closed):
    """Find the instant as somebody who looks at the market every hour would."""
    for hour in range(100):
        known = [close for at, close in history if at <= hour]
        if hour >= closed:
            return None
        if known and known[-1] - hour == lead:
            return hour
    return None


@few
@given(histories, st.integers(1, 95))
def test_the_instant_is_the_one_that_a_watcher_would_choose(history, closed):
    """A watcher knows nothing of the future, so neither does the instant."""
    ends = [at for at, _ in history[1:]] + [None]
    revisions = [(1, at, end, close) for (at, close), end in zip(history, ends, strict=True)]
    at, _, reason = observed(revisions, closed=[closed])
    assert at == by_watching(history, 6, closed)
    assert (reason == Exclusion.NONE) == (at is not None)


@few
@given(st.lists(st.tuples(histories, st.integers(1, 95)), min_size=2, max_size=4))
def test_markets_are_observed_each_by_itself(markets):
    rows, alone = [], []
    for number, (history, closed) in enumerate(markets, 1):
        ends = [at for at, _ in history[1:]] + [None]
        own = [(number, at, end, close) for (at, close), end in zip(history, ends, strict=True)]
        rows += own
        alone.append(observed([(1, *row[1:]) for row in own], closed=[closed]))
    together = observed_at(dates(closed=[closed for _, closed in markets]), schedules(*rows), "6h")
    at = [None if each == MISSING else each / HOUR for each in together.at.tolist()]
    assert at == [each[0] for each in alone]
    assert together.reason.tolist() == [each[2] for each in alone]
