"""What a `Strategy` sees of the record, at an instant of its run."""

from dataclasses import replace

import numpy as np
import pytest

from backtests.data.further_record import FurtherRecord
from backtests.data.gaps import MarketGaps
from backtests.data.observations import of_rows
from backtests.data.tape import tape_of
from backtests.data.universe import Listing, Terms
from backtests.rules.execution import ExecutionModel
from backtests.tests.further_records import books_of, with_books, with_open_interest
from backtests.tests.scripted import clocked, scripted
from backtests.tests.test_execution import USUAL, book, universe_of
from backtests.tests.test_further_columns import second


def seen(universe, at, see, *, before=None, execution=None):
    """What a strategy sees at some seconds."""
    answers = []
    script = {when: lambda s: answers.append(see(s)) for when in at}
    scripted(universe, script | (before or {}), execution=execution or ExecutionModel())
    return answers


def quoted(*rows, **others):
    return clocked(*(rows or (book(42, 45, at=0),)), looks=range(0, 60, 5), **others)


def first(method):
    """Ask a method about the first feed."""
    return lambda s: getattr(s, method)(s.datas[0])


def test_the_last_price_and_the_volume_are_those_of_the_newest_row():
    universe = quoted(
        book(42, 45, at=0), book(42, 46, at=5, last=4_400, volume=1_250), book(1, 2, at=10)
    )
    before, then, after = seen(universe, (4, 6, 11), first("last_price"))
    assert then == 0.44
    assert np.isnan([before, after]).all()
    assert seen(universe, (6,), first("volume")) == [12.5]


def test_the_open_interest_is_what_was_recorded_by_then():
    universe = with_open_interest(quoted(), [(second(3), 700), (second(8), 1_150)], [])
    answers = seen(universe, (2, 3, 9), first("open_interest"))
    assert np.isnan(answers[0])
    assert answers[1:] == [7, 11.5]


def test_the_depth_is_the_newest_book_that_was_recorded_by_then():
    books = books_of(
        (second(3), [(4_200, 100), (4_100, 50)], [(4_500, 30)]),
        (second(8), [], [(4_600, 250)]),
    )
    none, whole, newer = seen(with_books(quoted(), books, books_of()), (2, 4, 9), first("depth"))
    assert none is None
    assert whole == (second(3), ((0.42, 1), (0.41, 0.5)), ((0.45, 0.3),))
    assert whole.bids[0].price == 0.42
    assert newer.bids == ()
    assert newer.asks[0].contracts == 2.5


def test_where_no_book_was_recorded_there_is_none():
    assert seen(quoted(), (9,), first("depth")) == [None]
    assert np.isnan(seen(quoted(), (9,), first("open_interest"))[0])


def test_trades_are_in_dollars_and_contracts_and_those_of_its_market_alone():
    trades = [(second(20), 0, 4_250, 350, -1, second(21)), (second(20), 1, 100, 100, 1, second(20))]
    whole = [(second(0), second(59))]
    universe = replace(quoted(), tape=tape_of(trades, [whole, whole]))
    none, one = seen(universe, (20, 30), first("trades"))
    assert none == []
    assert one == [(second(20), 0.425, 3.5, -1, second(21))]
    assert (one[0].price, one[0].contracts, one[0].taker) == (0.425, 3.5, -1)


def with_listings(universe, *listings):
    return replace(universe, listings=listings)


def test_an_event_s_feeds_go_by_strike_and_only_those_that_have_begun_are_there():
    rows = [book(42, 45, at=at, market=m) for m, at in ((0, 0), (1, 0), (2, 20), (3, 0))]
    ticks = [book(1, 9, at=at, market=4) for at in range(30)]
    rows = sorted([*rows, *ticks], key=lambda row: (row["at"], row["market"]))
    universe = universe_of(*rows, markets=5)
    strikes = (None, 30.0, 20.0, 10.0, 5.0)
    listings = [
        Listing(ticker=f"T{n}", event="E" if n < 4 else "F", floor_strike=floor,
                cap_strike=10.0 if floor is None else None)
        for n, floor in enumerate(strikes)
    ]  # fmt: skip
    universe = with_listings(universe, *listings)

    def tickers(s):
        return [feed.listing.ticker for feed in s.event_feeds(s.datas[1])]

    assert seen(universe, (5, 25), tickers) == [["T0", "T3", "T1"], ["T0", "T3", "T2", "T1"]]


def gapped(universe, *gaps):
    since, until = np.array([[second(edge) for edge in gap] for gap in gaps]).T
    spans = np.array([0, len(gaps), len(gaps)])
    return replace(universe, gaps=MarketGaps(spans, since, until, np.zeros(len(gaps), np.int64)))


def test_a_market_is_unobserved_from_the_begin_of_a_gap_to_its_end():
    universe = gapped(quoted(), (15, 30), (45, 50))
    answers = seen(universe, (14, 15, 29, 30, 47), first("unobserved_since"))
    assert answers == [None, second(15), second(15), None, second(45)]
    assert seen(quoted(), (14,), first("unobserved_since")) == [None]


def test_a_market_that_nobody_has_looked_at_yet_tells_nothing_of_its_first_look():
    observed = of_rows(np.array([0]), np.array([second(50)]), markets=1)
    gap = MarketGaps(*(np.array(each) for each in ([0, 1], [second(0)], [second(48)], [0])))
    further = FurtherRecord([], lambda: observed, gap, None, None, None)
    assert further.observed_share(0, np.array([second(40)]), time=second(30)).tolist() == [0.0]


def test_the_share_observed_leaves_out_gaps_and_what_was_before_the_first_look():
    universe = gapped(quoted(), (15, 30))
    assert seen(universe, (20, 40), lambda s: s.observed_share(s.datas[0], 40)) == [0.375, 0.625]
    with pytest.raises(ValueError, match="seconds must be above 0, not 0"):
        seen(universe, (20,), lambda s: s.observed_share(s.datas[0], 0))


def test_fees_are_those_in_force_now():
    universe = replace(quoted(), terms=[[USUAL, Terms(second(5), 14, 100, 0, 1)], [USUAL]])
    taken = seen(universe, (4, 5), lambda s: s.taker_fee(s.datas[0], 100, 0.5))
    rested = seen(universe, (4, 5), lambda s: s.maker_fee(s.datas[0], -100, 0.5))
    assert (taken, rested) == ([1.75, 3.5], [0.4375, 0])


@pytest.mark.parametrize(
    ("size", "price", "words"),
    [(0, 0.5, "size"), (2e6, 0.5, "size"), (5, 1.5, "price"), (5, float("nan"), "price")],
)
def test_what_could_never_be_an_order_has_no_fee(size, price, words):
    with pytest.raises(ValueError, match=words):
        seen(quoted(), (4,), lambda s: s.taker_fee(s.datas[0], size, price))


def test_a_broker_s_member_pays_whole_cents():
    through = ExecutionModel(through_broker=True)
    universe = replace(quoted(), terms=[[USUAL], [USUAL]])
    fee = seen(universe, (4,), lambda s: s.taker_fee(s.datas[0], 1, 0.5), execution=through)
    assert fee == [0.02]


def test_open_orders_tell_what_is_on_its_way_and_what_rests():
    def tell(s):
        return [
            (o.feed is s.datas[0], o.book_side, o.left, o.limit, o.filled, o.rests)
            for o in s.open_orders()
        ]

    before = {10: lambda s: (s.bid(5, 40), s.ask(7.5, 60))}
    assert seen(quoted(), (9, 11, 30), tell, before=before) == [
        [],
        [(True, "bid", 5, 0.4, 0, False), (True, "ask", 7.5, 0.6, 0, False)],
        [(True, "bid", 5, 0.4, 0, True), (True, "ask", 7.5, 0.6, 0, True)],
    ]


def test_open_orders_of_one_market_are_its_own_and_those_that_are_over_are_gone():
    before = {10: lambda s: s.bid(5, 40), 20: lambda s: s.cancel(s.sent[0])}
    own = seen(
        quoted(), (15, 30), lambda s: [len(s.open_orders(feed)) for feed in s.datas], before=before
    )
    assert own == [[1, 0], [0, 0]]


def test_an_order_that_is_filled_in_part_tells_both_parts():
    trade = (second(20), 0, 4_000, 300, -1, second(20))
    universe = quoted(book(40, 45, size=0, at=0))
    tape = tape_of([trade], [[(second(0), second(59))], []])
    before = {10: lambda s: s.bid(5, 40)}
    (order,) = seen(replace(universe, tape=tape), (30,), lambda s: s.open_orders(), before=before)[
        0
    ]
    assert (order.left, order.filled) == (2, 3)
