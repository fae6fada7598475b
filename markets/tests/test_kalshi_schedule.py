from datetime import UTC, datetime, timedelta
from typing import Any
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
    exchange_schedule,
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


MIDNIGHT = datetime(2026, 11, 16, tzinfo=UTC)


def read(**changes):
    week: dict[str, Any] = {
        "start_time": "2024-12-01T00:00:00Z",
        "end_time": "2030-12-01T00:00:00Z",
    }
    week |= {day: [{"open_time": "00:00", "close_time": "00:00"}] for day in WEEKDAYS}
    hours = {"standard_hours": [week | changes], "maintenance_windows": None}
    return exchange_schedule(msgspec.json.encode({"schedule": hours}))


@pytest.mark.parametrize("sessions", [None, []])
def test_a_day_without_sessions_is_closed(sessions):
    closed = closures(read(thursday=sessions), start=MIDNIGHT, days=7)
    assert [(end - start, start.weekday()) for start, end in closed] == [(24 * HOUR, 3)]


@pytest.mark.parametrize("schedule", [{}, {"standard_hours": None, "maintenance_windows": None}])
def test_a_schedule_without_lists_announces_nothing(schedule):
    announced = exchange_schedule(msgspec.json.encode({"schedule": schedule}))
    assert closures(announced, start=MIDNIGHT, days=7) == []


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", None])
def test_a_week_whose_beginning_or_end_is_unknown_holds_without_it(text):
    usual = closures(read(thursday=[]), start=MIDNIGHT, days=7)
    for key in ("start_time", "end_time"):
        assert closures(read(thursday=[], **{key: text}), start=MIDNIGHT, days=7) == usual


def test_a_maintenance_window_without_an_instant_closes_nothing():
    window = {"start_datetime": "0001-01-01T00:00:00Z", "end_datetime": "2026-11-17T00:00:00Z"}
    body = msgspec.json.encode({"schedule": {"maintenance_windows": [window]}})
    assert closures(exchange_schedule(body), start=MIDNIGHT, days=7) == []
