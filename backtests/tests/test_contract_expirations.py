"""The expiration of an order is as docs/backtrader.md says."""

import math
from datetime import UTC, date, datetime, timedelta, timezone

import backtrader as bt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import DAY, EPOCH_DAY, SECOND, instant
from backtests.engine.event_driven.instructions import expiration
from backtests.rules.execution import FillModel
from backtests.rules.meetings import meetings
from backtests.tests.contract import (
    ARGUMENTS,
    ORDER,
    asked,
    quoted,
    refused,
)
from backtests.tests.scripted import LIMIT, lines_of, scripted
from backtests.tests.test_execution import NOW
from backtests.tests.test_makers import SOLD, taped

OLDEST = datetime(1971, 1, 1)  # noqa: DTZ001 (backtrader's instants have no zone)


def expiring(seconds, **how):
    """A bid of five contracts that stands for so many seconds from `NOW`."""
    return {0: lambda s: s.bid(5, 41, valid=instant(NOW + round(seconds * SECOND)), **how)}


class TestValid:
    @ARGUMENTS.differs("buy(valid)")
    @pytest.mark.parametrize("fills", FillModel)
    def test_an_order_at_rest_ends_at_its_expiration(self, fills):
        universe = taped(quoted(), (25, 40, 50, SOLD))
        finished = scripted(universe, expiring(20), fills)
        assert lines_of(finished) == [(20, "CANCELLED", 0, 5, "OUT_OF_TIME")]
        assert finished.strategy.told[-1] == (20, "Expired", "its expiration time came")
        assert finished.strategy.broker.held_back == 0

    @pytest.mark.parametrize("fills", FillModel)
    def test_before_it_fills(self, fills):
        universe = taped(quoted(), (15, 40, 50, SOLD))
        assert lines_of(scripted(universe, expiring(20), fills)) == [(15, "FILL", 0, 5, "NONE")]

    @ARGUMENTS.differs("buy(valid)")
    def test_on_its_way_an_order_ends_as_well_and_meets_nothing(self):
        finished = scripted(quoted(), {0: lambda s: s.bid(5, 45, valid=timedelta(seconds=4))})
        assert lines_of(finished) == [(4, "CANCELLED", 0, 5, "OUT_OF_TIME")]
        found = meetings(quoted(), finished.outcome, latency=SECOND)
        assert found.never_met == 1

    def test_one_that_ends_with_its_observation_never_meets_it(self):
        finished = scripted(quoted(), {0: lambda s: s.bid(5, 45, valid=timedelta(seconds=5))})
        assert lines_of(finished) == [(5, "CANCELLED", 0, 5, "OUT_OF_TIME")]
        assert meetings(quoted(), finished.outcome, latency=SECOND).never_met == 1

    @ARGUMENTS.differs("buy(valid)")
    @pytest.mark.parametrize("seconds", [-5, 0.5, 1])
    def test_one_that_is_over_as_the_order_arrives_is_refused(self, seconds):
        finished = scripted(quoted(), expiring(seconds))
        assert lines_of(finished) == [(1, "REFUSED", 0, 5, "NOT_FUTURE")]
        assert finished.strategy.told[-1][1] == "Rejected"

    def test_one_after_the_run_never_comes(self):
        assert lines_of(scripted(quoted(), expiring(3_600))) == []

    @ARGUMENTS.differs("buy(valid)")
    @pytest.mark.parametrize("valid", [timedelta(), 0, bt.Order.DAY])
    def test_there_are_no_day_orders(self, valid):
        refused("Kalshi has no day orders", price=0.41, exectype=LIMIT, valid=valid)

    @ARGUMENTS.differs("buy(valid)")
    @pytest.mark.parametrize("how", [{}, {"price": 0.41, "exectype": LIMIT, "tif": "ioc"}])
    def test_only_an_order_that_rests_has_one(self, how):
        refused("valid needs a limit order with tif='gtc'", valid=timedelta(seconds=9), **how)

    @pytest.mark.parametrize(
        ("valid", "words"),
        [
            ("tomorrow", "valid must be a number"),
            (math.nan, "valid must be finite"),
            (1e300, "valid must be a day between"),
            (-1, "valid must be a day between"),
        ],
    )
    def test_what_is_no_instant_is_refused(self, valid, words):
        refused(words, price=0.41, exectype=LIMIT, valid=valid)

    @ARGUMENTS.differs("buy(valid)")
    @pytest.mark.parametrize(
        "valid",
        [
            instant(NOW + 90 * SECOND),
            instant(NOW + 90 * SECOND).replace(tzinfo=None),
            instant(NOW + 90 * SECOND).astimezone(timezone(timedelta(hours=-5))),
            instant(NOW + 90 * SECOND + 999_000 - 1),
            instant(NOW + 90 * SECOND - 9),
            timedelta(seconds=90),
            timedelta(seconds=90.5),
            EPOCH_DAY + (NOW + 90 * SECOND) / DAY,
            bt.date2num(instant(NOW + 90 * SECOND)),
        ],
    )
    def test_it_is_given_as_in_backtrader_and_rounded_down_to_seconds(self, valid):
        assert expiration(valid, NOW) == NOW + 90 * SECOND

    def test_a_date_is_its_first_moment(self):
        moment = datetime(2026, 9, 23, tzinfo=UTC)
        assert instant(expiration(date(2026, 9, 23), NOW)) == moment

    @given(st.datetimes(min_value=OLDEST, max_value=OLDEST.replace(year=2200)))
    def test_all_ways_to_give_it_tell_the_same_second(self, moment):
        by_number = expiration(bt.date2num(moment), NOW)
        assert by_number == expiration(moment, NOW)
        assert by_number % SECOND == 0

    @ORDER.differs("valid")
    def test_an_order_tells_its_expiration_as_backtrader_counts(self):
        order = asked(
            lambda s: s.buy(s.datas[0], 5, 0.41, exectype=LIMIT, valid=timedelta(hours=1))
        )
        assert order.valid == EPOCH_DAY + (NOW + 3_610 * SECOND) / DAY
        assert asked(lambda s: s.buy(s.datas[0], 5).valid) is None


class TestAmendingAnExpiration:
    def lines(self, *, valid=20, **change):
        script = expiring(valid) | {10: lambda s: s.sent.append(s.amend(s.sent[0], **change))}
        return lines_of(scripted(quoted(), script))

    def test_an_amended_order_keeps_its_expiration(self):
        assert self.lines(size=3) == [
            (11, "CANCELLED", 0, 5, "REPLACED"), (20, "CANCELLED", 1, 3, "OUT_OF_TIME"),
        ]  # fmt: skip

    def test_on_its_way_to_another_price_as_well(self):
        assert self.lines(valid=14, price=0.45) == [
            (11, "CANCELLED", 0, 5, "REPLACED"), (14, "CANCELLED", 1, 5, "OUT_OF_TIME"),
        ]  # fmt: skip

    def test_it_may_have_another_one(self):
        later = instant(NOW + 40 * SECOND)
        script = expiring(20) | {10: lambda s: s.amend(s.sent[0], valid=later)}
        assert lines_of(scripted(quoted(), script)) == [
            (11, "CANCELLED", 0, 5, "REPLACED"), (40, "CANCELLED", 1, 5, "OUT_OF_TIME"),
        ]  # fmt: skip

    def test_which_keeps_the_place_in_the_queue(self):
        universe = taped(quoted(41, 45), (8, 41, 60, SOLD), (20, 41, 43, SOLD))
        later = instant(NOW + 40 * SECOND)
        script = expiring(30) | {10: lambda s: s.amend(s.sent[0], valid=later)}
        assert (20, "FILL", 1, 3, "NONE") in lines_of(scripted(universe, script))

    def test_one_that_is_over_is_refused_and_leaves_the_order_as_it_was(self):
        script = expiring(20) | {10: lambda s: s.amend(s.sent[0], valid=instant(NOW + 11 * SECOND))}
        assert lines_of(scripted(quoted(), script)) == [
            (11, "REFUSED", 1, 5, "NOT_FUTURE"), (20, "CANCELLED", 0, 5, "OUT_OF_TIME"),
        ]  # fmt: skip

    def test_an_amendment_of_an_order_that_expires_first_is_refused(self):
        script = expiring(11) | {10.5: lambda s: None, 10: lambda s: s.amend(s.sent[0], size=3)}
        assert lines_of(scripted(quoted(), script)) == [
            (11, "CANCELLED", 0, 5, "OUT_OF_TIME"), (11, "REFUSED", 1, 3, "GONE"),
        ]  # fmt: skip
