from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.kalshi.replies import (
    ExchangeSchedule,
    MaintenanceWindow,
    TradingSession,
    TradingWeek,
)
from markets.kalshi.schedule import WEEKDAYS, closures

NEW_YORK = ZoneInfo("America/New_York")
AGES = (datetime(2024, 12, 1, tzinfo=UTC), datetime(2200, 12, 1, tzinfo=UTC))
ALWAYS = (TradingSession("00:00", "00:00"),)
THURSDAY = (TradingSession("00:00", "03:00"), TradingSession("05:00", "00:00"))
HOUR = timedelta(hours=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
# These cover both clock changes of 2026.
INSTANTS = st.integers(0, 365 * 24 * 60).map(lambda n: NEW_YEAR + timedelta(minutes=n))


def schedule(*, maintenance=(), within=AGES, **days):
    week = dict.fromkeys(WEEKDAYS, ALWAYS) | {"thursday": THURSDAY} | days
    return ExchangeSchedule((TradingWeek(*within, **week),), tuple(maintenance))


def test_trading_pauses_on_thursday_mornings_in_new_york():
    closed = closures(schedule(), start=datetime(2026, 11, 16, tzinfo=UTC), days=7)
    assert closed == [
        (datetime(2026, 11, 19, 8, tzinfo=UTC), datetime(2026, 11, 19, 10, tzinfo=UTC))
    ]


@given(start=INSTANTS, days=st.integers(1, 40))
def test_every_closure_is_two_hours_of_a_thursday_across_clock_changes(start, days):
    for opened, ended in closures(schedule(), start=start, days=days):
        local = opened.astimezone(NEW_YORK), ended.astimezone(NEW_YORK)
        assert all(each.weekday() == 3 for each in local)
        whole = start < opened and ended < start + timedelta(days=days)
        assert (ended - opened == 2 * HOUR and local[0].hour == 3) or not whole


@given(start=INSTANTS)
def test_a_year_has_one_closure_a_week(start):
    assert 52 <= len(closures(schedule(), start=start, days=365)) <= 53


@pytest.mark.parametrize(("month", "day"), [(3, 8), (11, 1)])
def test_a_day_of_23_or_25_hours_is_open_throughout(month, day):
    start = datetime(2026, month, day, tzinfo=NEW_YORK) - HOUR
    assert closures(schedule(), start=start, days=2) == []


@given(start=INSTANTS, close=st.sampled_from(["17:00", "23:59", "02:00", "00:00", "24:00"]))
def test_closures_are_in_order_and_inside_the_window(start, close):
    every_day = dict.fromkeys(WEEKDAYS, (TradingSession("08:00", close),))
    closed = closures(schedule(**every_day), start=start, days=10)
    ends = [instant for interval in closed for instant in interval]
    assert ends == sorted(set(ends))
    assert all(start <= instant <= start + timedelta(days=10) for instant in ends)
    assert sum((b - a for a, b in closed), timedelta()) > timedelta(days=2)


def test_maintenance_is_merged_with_the_weekly_closure():
    thursday = datetime(2026, 11, 19, 9, tzinfo=UTC)
    window = MaintenanceWindow(thursday, thursday + 4 * HOUR)
    closed = closures(schedule(maintenance=[window]), start=thursday - 24 * HOUR, days=3)
    assert closed == [(thursday - HOUR, thursday + 4 * HOUR)]


def test_time_outside_every_week_is_left_out():
    end = datetime(2026, 11, 19, 9, tzinfo=UTC)
    closed = closures(schedule(within=(AGES[0], end)), start=end - 24 * HOUR, days=7)
    assert closed == [(end - HOUR, end)]


@pytest.mark.parametrize("time", ["24:01", "3:00", "25:00", "03:60", ""])
def test_a_wall_time_is_written_one_way(time):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"open_time": time, "close_time": "00:00"}, TradingSession)
