"""The arguments and members of backtrader's orders do what docs/backtrader.md says of them."""

import math
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import DAY, EPOCH_DAY, SECOND, instant
from backtests.engine.event_driven.instructions import BadOrder, count_of, expiration, limit_price
from backtests.rules.execution import FillModel
from backtests.rules.meetings import meetings
from backtests.tests.contract import asked, hold, names_of, proves, quoted
from backtests.tests.scripted import LIMIT, Scripted, lines_of, scripted
from backtests.tests.test_contract_strategy import run_of
from backtests.tests.test_execution import NOW, book
from backtests.tests.test_makers import SOLD, taped

OLDEST = datetime(1971, 1, 1)  # noqa: DTZ001 (backtrader's instants have no zone)
ARGUMENTS, ORDER = "Arguments", "Order"
SIDES = pytest.mark.parametrize("method", ["buy", "sell"])


def works(*names):
    return proves(ARGUMENTS, "works", *names)


def differs(*names):
    return proves(ARGUMENTS, "differs", *names)


def raises(*names):
    return proves(ARGUMENTS, "raises", *names)


def ours(*names):
    return proves(ARGUMENTS, "ours", *names)


def refused(words, kind=BadOrder, method="buy", **how):
    """Assert that a call is refused with words, and leaves nothing behind."""
    sent = []

    def send(s):
        with pytest.raises(kind, match=words):
            getattr(s, method)(**{"data": s.datas[0], "size": 5} | how)
        sent.append(True)

    assert lines_of(scripted(quoted(), {10: send})) == []
    assert sent == [True]


class TestSizesAndPrices:
    @works("buy(data)")
    @SIDES
    def test_a_market_goes_by_its_feed_or_its_name(self, method):
        for market in (lambda s: s.datas[1], lambda s: "T1"):
            assert asked(lambda s: getattr(s, method)(market(s), 5).data is s.datas[1])  # noqa: B023
        assert asked(lambda s: getattr(s, method)(size=5).data is s.datas[0])

    @differs("buy(size)")
    @pytest.mark.parametrize(
        ("size", "contracts"),
        [(5, 5), (-5, 5), (0.014, 0.01), (0.005001, 0.01), (1_000_000, 1_000_000),
         (Decimal("2.5"), 2.5), (np.float64(7), 7)],
    )  # fmt: skip
    @SIDES
    def test_a_size_is_rounded_to_the_hundredth_of_a_contract(self, method, size, contracts):
        assert asked(lambda s: abs(getattr(s, method)(s.datas[0], size).size)) == contracts

    @differs("buy(size)")
    @pytest.mark.parametrize(
        ("size", "words"),
        [
            (math.nan, "size must be finite, not nan"),
            (math.inf, "size must be finite, not inf"),
            (1e300, "size must be from 0 to 1,000,000 contracts, not 1e"),
            (1_000_000.01, "size must be from 0 to 1,000,000 contracts, not 1000000.01"),
            (10**400, "size must be a number"),
        ],
    )
    @SIDES
    def test_a_size_that_is_out_of_range_is_refused_at_the_call(self, method, size, words):
        refused(words, method=method, size=size)

    def test_so_is_one_that_is_no_number(self):
        with pytest.raises(BadOrder, match="size must be a number, not 'ten'"):
            count_of("ten")

    @differs("buy(price)")
    @pytest.mark.parametrize(
        ("price", "words"),
        [
            (None, "price is missing: a limit order needs one"),
            (math.nan, "price must be finite, not nan"),
            (-math.inf, "price must be finite"),
            (1e300, "price must be between 0 and 1 dollar"),
            (0, "price must be between 0 and 1 dollar, not 0"),
            (1, "price must be between 0 and 1 dollar, not 1"),
            (42, "price must be between 0 and 1 dollar, not 42"),
            (0.00001, "price must be between 0 and 1 dollar"),
            ("cheap", "price must be a number, not 'cheap'"),
        ],
    )
    @SIDES
    def test_a_price_is_between_zero_and_a_dollar(self, method, price, words):
        refused(words, method=method, price=price, exectype=LIMIT)

    @differs("buy(price)")
    @SIDES
    def test_a_market_order_has_no_price(self, method):
        refused("price needs exectype=bt.Order.Limit", method=method, price=0.4)

    @given(st.floats())
    def test_a_size_is_counted_to_the_nearest_hundredth_or_refused(self, size):
        try:
            assert abs(count_of(size) - size * 100) <= 0.5
        except BadOrder:
            assert not 0 <= size <= 1_000_000

    @given(st.floats())
    def test_a_price_is_told_exact_or_not_or_refused(self, price):
        try:
            limit, is_exact = limit_price(price)
        except BadOrder:
            assert not 0.00005 < price < 0.99995
        else:
            assert 0 < limit < 10_000
            assert is_exact == (abs(price * 10_000 - limit) < 1e-6)


class TestKinds:
    @differs("buy(exectype=Market)")
    def test_a_market_order_takes_what_is_shown_at_the_price_of_its_moment(self):
        universe = quoted(42, 45, book(42, 46, at=12), size=3)
        for exectype in (None, bt.Order.Market):
            script = {
                0: lambda s, e=exectype: s.buy(s.datas[0], 5, exectype=e),
                11: lambda s, e=exectype: s.buy(s.datas[0], 5, exectype=e),
            }
            assert lines_of(scripted(universe, script)) == [
                (5, "FILL", 0, 3, "NONE"),
                (5, "CANCELLED", 0, 2, "UNFILLED"),
                (12, "CANCELLED", 1, 5, "UNFILLED"),
            ]

    @works("buy(exectype=Limit)")
    def test_a_limit_order_rests(self):
        universe = quoted(42, 45, book(38, 40, at=30))
        assert lines_of(scripted(universe, {0: lambda s: s.bid(5, 41)})) == [
            (30, "FILL", 0, 5, "NONE")
        ]

    @raises(*(f"buy(exectype={n})" for n in bt.Order.ExecTypes if n not in ("Market", "Limit")))
    @pytest.mark.parametrize(
        "name", [name for name in bt.Order.ExecTypes if name not in ("Market", "Limit")]
    )
    @SIDES
    def test_kalshi_has_no_other_kind(self, method, name):
        exectype = getattr(bt.Order, name)
        refused(f"Kalshi has no {name} orders", method=method, price=0.4, exectype=exectype)

    def test_nor_one_that_nobody_has(self):
        refused("Kalshi has no 99 orders", exectype=99)
        refused("Kalshi has no 'Limit' orders", exectype="Limit")

    @raises("buy(plimit)", "buy(trailamount)", "buy(trailpercent)", "buy(oco)", "buy(parent)")
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("plimit", "plimit: Kalshi has no stop orders"),
            ("trailamount", "trailamount: Kalshi has no trailing stops"),
            ("trailpercent", "trailpercent: Kalshi has no trailing stops"),
            ("oco", "oco: no order on Kalshi cancels another"),
            ("parent", "parent: no order on Kalshi waits for another"),
        ],
    )
    @SIDES
    def test_what_kalshi_does_not_have_is_refused_by_name(self, method, name, words):
        refused(words, method=method, **{name: 0.4})

    @raises("buy(transmit=False)")
    @SIDES
    def test_an_order_is_sent_at_once(self, method):
        refused("transmit=False: no order on Kalshi waits", method=method, transmit=False)

    @raises("buy(anything else)")
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("postonly", "no argument 'postonly': did you mean post_only"),
            ("time_in_force", "no argument 'time_in_force'"),
        ],
    )
    @SIDES
    def test_what_nobody_knows_is_refused_by_name(self, method, name, words):
        refused(words, kind=TypeError, method=method, **{name: True})

    @works("buy(tradeid)")
    def test_an_order_keeps_its_trade_s_id(self):
        assert asked(lambda s: s.buy(s.datas[0], 5, tradeid=7).tradeid) == 7


class TestOurs:
    @ours("buy(tif)")
    def test_an_order_may_be_for_now_only(self):
        script = {0: lambda s: s.bid(5, 41, tif="ioc")}
        assert lines_of(scripted(quoted(), script)) == [(5, "CANCELLED", 0, 5, "UNFILLED")]
        refused("tif must be 'gtc' or 'ioc', not 'day'", tif="day")
        refused("tif='gtc' needs exectype=bt.Order.Limit", tif="gtc")

    @ours("buy(post_only)")
    def test_a_post_only_order_never_takes(self):
        script = {0: lambda s: s.bid(5, 45, post_only=True)}
        assert lines_of(scripted(quoted(), script)) == [(5, "REFUSED", 0, 5, "WOULD_CROSS")]

    @ours("buy(self_trade_prevention)")
    def test_prevention_has_two_ways(self):
        assert asked(lambda s: s.buy(s.datas[0], 5, self_trade_prevention="maker"))
        refused("must be 'taker_at_cross' or 'maker', not 'none'", self_trade_prevention="none")


class TestReduceOnly:
    @ours("buy(reduce_only)")
    @pytest.mark.parametrize(
        ("held", "side", "filled"),
        [(5, "sell", 5), (-5, "buy", 5), (20, "sell", 10), (5, "buy", 0), (0, "sell", 0)],
    )
    def test_it_fills_at_most_what_is_held_on_the_other_side(self, held, side, filled):
        script = {
            0: hold(held) if held else lambda s: None,
            10: lambda s: getattr(s, side)(s.datas[0], 10, reduce_only=True),
        }
        finished = scripted(quoted(), script)
        lines = [line for line in lines_of(finished) if line[0] > 10]
        assert sum(abs(line[3]) for line in lines if line[1] == "FILL") == filled
        if filled < 10:
            assert lines[-1][1:2] + lines[-1][4:] == ("CANCELLED", "REDUCE_ONLY")
            assert finished.strategy.told[-1][1:] == (
                "Canceled", "reduce-only, and no more was held to be reduced",
            )  # fmt: skip
        assert finished.outcome.positions.get(0, 0) == 100 * (
            held + (-filled, filled)[side == "buy"]
        )

    def test_what_the_book_does_not_offer_is_unfilled(self):
        universe = quoted(42, 45, book(42, 45, at=6, bid_size=2))
        script = {0: hold(5), 10: lambda s: s.sell(s.datas[0], 9, reduce_only=True)}
        assert lines_of(scripted(universe, script))[1:] == [
            (15, "FILL", 1, -2, "NONE"), (15, "CANCELLED", 1, -7, "UNFILLED"),
        ]  # fmt: skip

    def test_it_needs_no_cash_for_what_it_cannot_open(self):
        script = {0: hold(5), 10: lambda s: s.sell(s.datas[0], 5_000, reduce_only=True)}
        assert [line[1] for line in lines_of(scripted(quoted(), script))[1:]] == [
            "FILL", "CANCELLED",
        ]  # fmt: skip

    def test_an_order_that_may_rest_cannot_have_it(self):
        refused("reduce_only needs tif='ioc'", price=0.4, exectype=LIMIT, reduce_only=True)

    def test_where_nothing_is_held_no_order_of_the_run_is_touched(self):
        how = {"tif": "ioc", "reduce_only": True, "self_trade_prevention": "maker"}
        script = {0: lambda s: s.ask(5, 44), 10: lambda s: s.bid(5, 44, **how)}
        assert lines_of(scripted(quoted(), script)) == [(15, "CANCELLED", 1, 5, "REDUCE_ONLY")]


def expiring(seconds, **how):
    """A bid of five contracts that stands for so many seconds from `NOW`."""
    return {0: lambda s: s.bid(5, 41, valid=instant(NOW + round(seconds * SECOND)), **how)}


class TestValid:
    @differs("buy(valid)")
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

    @differs("buy(valid)")
    def test_on_its_way_an_order_ends_as_well_and_meets_nothing(self):
        finished = scripted(quoted(), {0: lambda s: s.bid(5, 45, valid=timedelta(seconds=4))})
        assert lines_of(finished) == [(4, "CANCELLED", 0, 5, "OUT_OF_TIME")]
        found = meetings(quoted(), finished.outcome, latency=SECOND)
        assert found.never_met == 1

    def test_one_that_ends_with_its_observation_never_meets_it(self):
        finished = scripted(quoted(), {0: lambda s: s.bid(5, 45, valid=timedelta(seconds=5))})
        assert lines_of(finished) == [(5, "CANCELLED", 0, 5, "OUT_OF_TIME")]
        assert meetings(quoted(), finished.outcome, latency=SECOND).never_met == 1

    @differs("buy(valid)")
    @pytest.mark.parametrize("seconds", [-5, 0.5, 1])
    def test_one_that_is_over_as_the_order_arrives_is_refused(self, seconds):
        finished = scripted(quoted(), expiring(seconds))
        assert lines_of(finished) == [(1, "REFUSED", 0, 5, "NOT_FUTURE")]
        assert finished.strategy.told[-1][1] == "Rejected"

    def test_one_after_the_run_never_comes(self):
        assert lines_of(scripted(quoted(), expiring(3_600))) == []

    @differs("buy(valid)")
    @pytest.mark.parametrize("valid", [timedelta(), 0, bt.Order.DAY])
    def test_there_are_no_day_orders(self, valid):
        refused("Kalshi has no day orders", price=0.41, exectype=LIMIT, valid=valid)

    @differs("buy(valid)")
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

    @differs("buy(valid)")
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

    @proves(ORDER, "differs", "valid")
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


class TestOtherMethodsArguments:
    @works("close(data)", "close(size)")
    def test_close_takes_a_feed_and_a_part(self):
        assert asked(lambda s: s.close("T0", 2).size, before=hold(5)) == -2
        with pytest.raises(TypeError, match="no argument 'postonly'"):
            asked(lambda s: s.close(postonly=True), before=hold(5))
        with pytest.raises(BadOrder, match="size must be finite"):
            asked(lambda s: s.close(size=math.nan), before=hold(5))

    @works("cancel(order)")
    def test_an_order_that_a_notification_brought_can_be_cancelled(self):
        def cancel_first(s):
            kept: list[Any] = []
            s.notify_order = kept.append
            s.kept = kept
            s.bid(5, 41)

        script = {0: cancel_first, 10: lambda s: s.cancel(s.kept[0])}
        assert lines_of(scripted(quoted(), script)) == [(11, "CANCELLED", 0, 5, "ASKED")]

    @works(
        "order_target_size(data)", "order_target_size(target)", "order_target_value(data)",
        "order_target_value(target)", "order_target_value(price)", "order_target_percent(data)",
        "order_target_percent(target)",
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["size", "value", "percent"])
    def test_a_target_goes_by_feed_or_name_and_is_finite(self, kind):
        method = f"order_target_{kind}"
        for data in (lambda s: s.datas[0], lambda s: "T0", lambda s: None):
            order = asked(lambda s: getattr(s, method)(data(s), 0.5))  # noqa: B023
            assert order is None or order.data.listing.ticker == "T0"
        with pytest.raises(BadOrder, match="target must be finite, not nan"):
            asked(lambda s: getattr(s, method)(s.datas[0], math.nan))

    @pytest.mark.parametrize("kind", ["value", "percent"])
    def test_a_market_that_has_not_begun_has_no_price_to_size_by(self, kind):
        universe = quoted(None, 45)
        with pytest.raises(BadOrder, match="T0 has not shown a book with two sides yet"):
            asked(lambda s: getattr(s, f"order_target_{kind}")(s.datas[0], 0.5), universe=universe)
        assert asked(lambda s: s.order_target_value(s.datas[0], 5, 0.5), universe=universe)

    @raises("buy_bracket(stopexec)", "buy_bracket(limitexec)")
    @pytest.mark.parametrize("name", ["stopexec", "limitexec"])
    def test_a_bracket_with_an_exit_is_refused(self, name):
        others = {"stopexec": None, "limitexec": None} | {name: bt.Order.Limit}
        with pytest.raises(BadOrder, match="buy_bracket: Kalshi has no stop orders"):
            asked(lambda s: s.buy_bracket(price=0.4, **others))

    @raises(*(f"buy_bracket({n})" for n in ("stopprice", "stopargs", "limitprice", "limitargs")))
    @pytest.mark.parametrize("name", ["stopprice", "stopargs", "limitprice", "limitargs"])
    def test_without_exits_a_bracket_has_no_arguments_of_theirs(self, name):
        others = {"stopexec": None, "limitexec": None, name: {"tif": "ioc"}}
        with pytest.raises(BadOrder, match=f"{name}: the exits of this sell_bracket are None"):
            asked(lambda s: s.sell_bracket(price=0.4, **others))

    @differs(
        *(
            f"buy_bracket({name})"
            for name in (
                "data", "size", "price", "plimit", "exectype", "valid", "tradeid", "trailamount",
                "trailpercent", "oargs",
            )
        )
    )  # fmt: skip
    def test_the_others_are_those_of_buy(self):
        none = {"stopexec": None, "limitexec": None}
        order, _, _ = asked(
            lambda s: s.buy_bracket(
                s.datas[1], 5, 0.4, tradeid=3, valid=timedelta(hours=1), oargs={"post_only": True},
                **none,
            )
        )  # fmt: skip
        assert (order.data.listing.ticker, order.size, order.created.price) == ("T1", 5, 0.4)
        assert (order.tradeid, order.exectype, order.ticket.post_only) == (3, LIMIT, True)
        assert order.valid is not None
        for name in ("plimit", "trailamount", "trailpercent"):
            with pytest.raises(BadOrder, match=name):
                asked(lambda s: s.buy_bracket(price=0.4, **none, **{name: 0.1}))  # noqa: B023

    @works("getposition(data)", "getposition(broker)")
    def test_there_is_one_broker(self):
        assert asked(lambda s: s.getposition(s.datas[0], s.broker).size, before=hold(5)) == 5

    @works("setsizer(sizer)", "getsizing(data)", "getsizing(isbuy)")
    def test_a_sizer_is_asked_for_a_feed_and_a_side(self):
        class Sides(bt.Sizer):
            def _getsizing(self, comminfo, cash, data, isbuy):
                return 3 if isbuy else 4

        def ask(s):
            s.setsizer(Sides())
            return s.getsizing(s.datas[1], isbuy=False), s.getsizing(isbuy=True)

        assert asked(ask) == (4, 3)

    @works(
        *(
            f"add_timer({name})"
            for name in (
                "when", "offset", "repeat", "weekdays", "weekcarry", "monthdays", "monthcarry",
                "allow", "tzdata", "kwargs",
            )
        )
    )  # fmt: skip
    def test_a_timer_has_its_arguments(self):
        kept: list[Any] = []

        def init(s):
            Scripted.__init__(s)
            given = (time(9), timedelta(1), timedelta(2), [1], True, [2], False, bool, None, False)
            kept.append(s.add_timer(*given, word="x"))

        run_of({"__init__": init})
        [timer] = kept
        p = timer.p
        assert (p.when, p.offset, p.repeat) == (time(9), timedelta(1), timedelta(2))
        assert (p.weekdays, p.weekcarry, p.monthdays, p.monthcarry) == ([1], True, [2], False)
        assert (p.allow, p.tzdata, p.cheat, timer.kwargs) == (bool, None, False, {"word": "x"})

    @raises("add_timer(cheat)", "add_timer(args)")
    def test_a_timer_neither_cheats_nor_has_arguments_without_a_name(self):
        for cheating in (
            lambda s: s.add_timer(time(9), cheat=True),
            lambda s: s.add_timer(
                time(9), timedelta(), timedelta(), [], False, [], True, None, None, True
            ),
        ):
            with pytest.raises(ValueError, match="cheat=True"):
                asked(cheating)
        given: tuple[Any, ...] = (
            timedelta(), timedelta(), [], False, [], True, None, None, False, "more",
        )  # fmt: skip
        with pytest.raises(TypeError, match=r"add_timer\(\): give 'more' a name"):
            asked(lambda s: s.add_timer(time(9), *given))

    @works(
        "getpositionbyname(name)", "getpositionbyname(broker)", "getpositions(broker)",
        "getpositionsbyname(broker)", "getdatabyname(name)", "set_tradehistory(onoff)",
    )  # fmt: skip
    def test_positions_and_feeds_go_by_name_and_broker(self):
        def ask(s):
            s.set_tradehistory(onoff=False)
            return [
                s.getpositionbyname(name="T0", broker=s.broker).size,
                s.getpositions(broker=s.broker)[s.getdatabyname(name="T0")].size,
                s.getpositionsbyname(broker=s.broker)["T0"].size,
            ]

        assert asked(ask, before=hold(5)) == [5, 5, 5]
        with pytest.raises(BadOrder, match="no feed is called 'T9'"):
            asked(lambda s: s.getpositionbyname("T9"))

    @works(
        "notify_order(order)", "notify_trade(trade)", "notify_timer(timer)", "notify_timer(when)",
        "notify_timer(args)", "notify_timer(kwargs)", "notify_cashvalue(cash)",
        "notify_cashvalue(value)", "notify_fund(cash)", "notify_fund(value)",
        "notify_fund(fundvalue)", "notify_fund(shares)", "notify_store(msg)", "notify_store(args)",
        "notify_store(kwargs)", "notify_data(data)", "notify_data(status)", "notify_data(args)",
        "notify_data(kwargs)",
    )  # fmt: skip
    def test_notifications_bring_what_they_name(self):
        told = defaultdict(list)

        def noting(name):
            return lambda s, *given, **named: told[name].append((given, named))

        def init(s):
            Scripted.__init__(s)
            s.timer = s.add_timer(time(14, 13, 30), word="x")

        names = ("order", "trade", "timer", "cashvalue", "fund", "store", "data")
        body = {f"notify_{name}": noting(name) for name in names} | {"__init__": init}
        ran = run_of(body, script={0: hold(5)})
        [((order,), _), *_] = told["order"]
        [((trade,), _)] = told["trade"]
        assert (order.size, trade.size) == (5, 5)
        [((timer, when), named)] = told["timer"]
        assert (timer is ran.timer, when.time(), named) == (True, time(14, 13, 30), {"word": "x"})
        assert told["cashvalue"][0] == ((1_000, 1_000), {})
        assert told["fund"][0] == ((1_000, 1_000, 1_000, 1), {})
        assert told["store"] == told["data"] == []

    @works(
        *(
            f"broker.{call}"
            for call in (
                "buy(owner)", "cancel(order)", "getvalue(datas)", "getposition(data)",
                "getcommissioninfo(data)", "get_orders_open(safe)", "orderstatus(order)",
            )
        )
    )  # fmt: skip
    def test_the_broker_s_methods_take_their_arguments_by_name(self):
        def ask(s):
            order = s.broker.buy(owner=s, data=s.datas[0], size=5)
            s.broker.cancel(order=order)
            return (
                [order.owner is s, s.broker.orderstatus(order=order) == order.status],
                [s.broker.getvalue(datas=s.datas), s.broker.getposition(data=s.datas[0]).size],
                s.broker.getcommissioninfo(data=s.datas[0]) is order.comminfo,
                len(s.broker.get_orders_open(safe=True)),
            )

        assert asked(ask) == ([True, True], [0, 0], True, 1)

    @raises(
        "broker.buy(histnotify)", "broker.buy(_checksubmit)", "broker.cancel(bracket)",
        "broker.getvalue(mkt)", "broker.getvalue(lever)",
    )  # fmt: skip
    def test_but_for_those_that_the_exchange_does_not_have(self):
        calls = {
            "histnotify": lambda s, **more: s.broker.buy(s, s.datas[0], 5, **more),
            "_checksubmit": lambda s, **more: s.broker.buy(s, s.datas[0], 5, **more),
            "bracket": lambda s, **more: s.broker.cancel(s.buy(size=5), **more),
            "mkt": lambda s, **more: s.broker.getvalue(s.datas, **more),
            "lever": lambda s, **more: s.broker.get_value(s.datas, **more),
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match=name):
                asked(lambda s: call(s, **{name: True}))  # noqa: B023


class TestMembers:
    @proves(
        ORDER, "works", "alive", "isbuy", "issell", "getstatusname", "getordername", "ordtypename",
        "ExecType", "addinfo", "clone", "active", "brokerstatus",
    )  # fmt: skip
    @pytest.mark.parametrize(("method", "is_buy"), [("buy", True), ("sell", False)])
    def test_an_order_tells_what_it_is(self, method, is_buy):
        def ask(s):
            order = getattr(s, method)(s.datas[0], 5)
            order.addinfo(why="a test")
            copy = order.clone()
            return (
                [order.isbuy(), order.issell(), copy == order, copy is order],
                [order.alive(), order.active(), order.brokerstatus()],
                [order.getstatusname(), order.getordername(), order.info.why],
                [order.ordtypename(), order.ExecType("Limit")],
            )

        assert asked(ask) == (
            [is_buy, not is_buy, True, False],
            [True, True, bt.Order.Submitted],
            ["Submitted", "Market", "a test"],
            ["Buy" if is_buy else "Sell", LIMIT],
        )

    @proves(
        ORDER, "works", "ref", "data", "owner", "status", "info", "comminfo", "broker", "tradeid",
        "exectype", "plen", "size", "price", "created",
    )  # fmt: skip
    @pytest.mark.parametrize(("method", "size", "price"), [("buy", 5, 0.45), ("sell", -5, 0.42)])
    def test_an_order_has_its_attributes(self, method, size, price):
        def ask(s):
            order = getattr(s, method)(s.datas[0], 5.004)
            return (
                [order.ref > 0, order.data is s.datas[0], order.owner is s],
                [order.broker is s.broker, order.plen == len(s.datas[0]), dict(order.info)],
                order.comminfo is s.broker.getcommissioninfo(s.datas[0]),
                [order.status, order.tradeid, order.exectype],
                [order.size, order.price, order.created.size, order.created.price],
            )

        assert asked(ask) == (
            [True] * 3,
            [True, True, {}],
            True,
            [bt.Order.Submitted, 0, bt.Order.Market],
            [size, price, size, price],
        )

    @proves(ORDER, "works", "executed")
    def test_what_was_executed_is_told_as_the_journal_has_it(self):
        kept: list[Any] = []

        def closing(s):
            s.notify_order = kept.append
            s.sell(s.datas[0], 4)

        scripted(quoted(), {0: hold(10), 10: closing})
        done = kept[-1].executed
        assert (done.size, done.price, done.remsize, done.comm) == (-4, 0.42, 0, 0)
        assert (round(done.pnl, 9), done.psize, round(done.pprice, 9)) == (-0.12, 6, 0.45)
        assert done.value == 1.8

    @pytest.mark.parametrize(("held", "value"), [(0, 2.9), (-5, 2.9), (2, 3 * 0.58 + 2 * 0.45)])
    def test_its_value_is_the_cost_of_what_was_opened(self, held, value):
        kept: list[Any] = []

        def selling(s):
            s.notify_order = kept.append
            s.sell(s.datas[0], 5)

        scripted(quoted(), {0: hold(held) if held else lambda s: None, 10: selling})
        assert kept[-1].executed.value == pytest.approx(value)

    def test_its_instants_are_those_of_sending_and_of_the_fill(self):
        kept: list[Any] = []

        def buying(s):
            s.notify_order = s.notify_trade = kept.append
            s.buy(s.datas[0], 5)

        scripted(quoted(), {7: buying})
        order, trade = kept[-2:]
        days = [EPOCH_DAY + (NOW + at * SECOND) / DAY for at in (7, 10)]
        assert [order.created.dt, order.executed.dt, trade.dtopen] == [*days, days[1]]

    @proves(ORDER, "works", *names_of(ORDER, "works")[-41:])
    def test_statuses_and_kinds_are_backtrader_s(self):
        order = asked(lambda s: s.buy(s.datas[0], 5))
        for name in names_of(ORDER, "works"):
            if name[0].isupper() and name != "ExecType":
                assert getattr(order, name) == getattr(bt.Order, name)

    @proves(ORDER, "raises", "cancel")
    def test_an_order_does_not_cancel_itself(self):
        with pytest.raises(BadOrder, match=r"use self.cancel\(order\)"):
            asked(lambda s: s.buy(s.datas[0], 5).cancel())

    @proves(ORDER, "inner", *names_of(ORDER, "inner"))
    def test_what_is_inner_stands_at_its_default(self):
        order = asked(lambda s: s.buy(s.datas[0], 5))
        names = ("plimit", "pricelimit", "trailamount", "trailpercent", "oco", "parent")
        assert {name: getattr(order, name) for name in names} == dict.fromkeys(names)
        assert (order.transmit, order.triggered, order.histnotify) == (True, False, False)
        assert [name for name in names_of(ORDER, "inner") if not hasattr(order, name)] == []
