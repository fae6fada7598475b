"""Files that our own API writes, and that an import reads: what leaves can enter."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.management import call_command

from markets.importing.parsed_rows import MISSING, NUMBERS
from markets.importing.reading.description import Description
from markets.importing.reading.source_file import SourceFile
from markets.importing.undo import undo
from markets.models import Import, Market, MarketRevision, OrderBookSnapshot
from markets.models.imports import Kind
from markets.models.observations import microseconds
from markets.tests.factories import a_market, a_snapshot, a_trade
from markets.tests.import_builders import START, imported, quote

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
FORMS = pytest.mark.parametrize("form", ["csv", "parquet"])


@pytest.fixture
def download(client, tmp_path):
    """Download what the API has under an address, as a file."""

    def download(address, form, **query):
        response = client.get(f"/api/v1/markets/{address}", {"format": form, **query})
        assert response.status_code == 200
        file = tmp_path / f"{address.strip('/').replace('/', '-')}.{form}"
        file.write_bytes(b"".join(response.streaming_content))
        return file

    return download


@pytest.fixture
def exported(download):
    """Download a time series of a market as a file, and parse it by the preset for that."""

    def exported(market, path, kind, form):
        file = download(f"{market.ticker}/{path}/", form)
        said = Description(kind=Kind(kind), preset="kalshi-insights")
        source = SourceFile(file, said, now=NOW)
        assert not source.survey().refused
        [batch] = source.rows()
        return batch.rows

    return exported


@FORMS
def test_quotes_that_leave_by_the_api_can_enter(exported, form):
    market = a_market()
    a_snapshot(market, NOON, yes_bid=Decimal("0.42"), volume=Decimal("10.5")).save()
    a_snapshot(
        market, NOON + timedelta(microseconds=1), yes_bid=None, yes_ask=Decimal("0.0001"),
        yes_ask_size=Decimal("2.25"), last_price=None,
    ).save()  # fmt: skip
    rows = exported(market, "snapshots", "quotes", form)
    recorded = list(market.snapshots.order_by("timestamp"))
    assert rows.tickers == [market.ticker]
    assert rows.at.tolist() == [microseconds(each.timestamp) for each in recorded]
    for name in NUMBERS[Kind.QUOTES]:
        per_unit = 10_000 if name in ("yes_bid", "yes_ask", "last_price") else 100
        values = [getattr(each, name) for each in recorded]
        expected = [MISSING if value is None else int(value * per_unit) for value in values]
        assert rows.numbers[name].tolist() == expected


@FORMS
def test_trades_that_leave_by_the_api_can_enter(exported, form):
    market = a_market()
    first = a_trade(market, NOON, "a", taker_side=2)
    second = a_trade(market, NOON + timedelta(seconds=1), "b", taker_side=None, is_block_trade=True)
    rows = exported(market, "trades", "trades", form)
    assert rows.texts["trade_id"] == [str(first.pk), str(second.pk)]
    assert rows.numbers["yes_price"].tolist() == [first.price, second.price]
    assert rows.numbers["count"].tolist() == [first.contracts, second.contracts]
    assert rows.numbers["taker_side"].tolist() == [2, MISSING]
    assert rows.numbers["is_block_trade"].tolist() == [0, 1]
    assert rows.at.tolist() == [microseconds(each.created_time) for each in (first, second)]


@FORMS
def test_results_that_leave_by_the_api_can_enter(exported, form):
    market = a_market()
    for result, value in (("", None), ("yes", Decimal(1))):
        MarketRevision.objects.create(
            market=market,
            known_at=NOON + timedelta(hours=len(result)),
            recorded_at=NOON,
            result=result,
            settlement_value=value,
            settlement_ts=NOON if result else None,
            open_time=NOON,
            close_time=NOON,
        )
    rows = exported(market, "revisions", "settlements", form)
    assert rows.texts["result"] == ["yes"]
    assert rows.numbers["settlement_value"].tolist() == [1_000_000]
    assert rows.at.tolist() == [microseconds(NOON)]


BOOK = {"bids": [(4200, 1000), (4100, 2050)], "asks": []}


@FORMS
def test_books_that_leave_by_the_api_can_enter(exported, form):
    market = a_market()
    for seconds, bids in ((0, ["0.4200", "0.4100"]), (1, [])):
        OrderBookSnapshot.objects.create(
            id=uuid4(),
            market=market,
            timestamp=NOON + timedelta(seconds=seconds),
            bid_prices=bids,
            bid_sizes=["10.00", "20.50"][: len(bids)],
            ask_prices=["0.4500"],
            ask_sizes=["3.00"],
        )
    rows = exported(market, "orderbooks", "books", form)
    assert rows.at.tolist() == [microseconds(NOON), microseconds(NOON) + 1_000_000]
    bids, asks = rows.levels["bids"], rows.levels["asks"]
    assert (bids.counts.tolist(), asks.counts.tolist()) == ([2, 0], [1, 1])
    assert (bids.prices.tolist(), bids.sizes.tolist()) == ([4200, 4100], [1000, 2050])
    assert (asks.prices.tolist(), asks.sizes.tolist()) == ([4500, 4500], [300, 300])


@FORMS
def test_definitions_that_leave_by_the_list_of_markets_can_enter(download, form):
    market = a_market(
        "KXRAIN-26NOV20-T1", title="Rain?", yes_sub_title="Above 1", strike_type="greater",
        floor_strike=Decimal("-1.05"), result="yes", settlement_value=Decimal(1),
        status="finalized",
    )  # fmt: skip
    a_market("KXFED-26DEC-H25")
    file = download("", form, series=market.event.series.ticker, status="all")
    Market.objects.all().delete()

    call_command("importdata", "markets", str(file), preset="kalshi-insights")

    read = Market.objects.select_related("event__series").get()
    for name in ("ticker", "title", "yes_sub_title", "strike_type", "floor_strike", "open_time",
                 "close_time"):  # fmt: skip
        assert getattr(read, name) == getattr(market, name)
    assert read.event.ticker == market.event.ticker
    assert read.event.mutually_exclusive == market.event.mutually_exclusive
    assert read.event.series.ticker == market.event.series.ticker
    assert read.revisions.get(result="yes").settlement_value == 1


@FORMS
def test_revisions_that_leave_by_the_api_tell_since_when_a_close_is_known(exported, form):
    market = a_market()
    MarketRevision.objects.create(
        market=market, known_at=NOON, recorded_at=NOON, open_time=NOON,
        close_time=NOON + timedelta(hours=3),
    )  # fmt: skip
    rows = exported(market, "revisions", "markets", form)
    assert rows.at.tolist() == [microseconds(NOON)]
    assert rows.numbers["close_time"].tolist() == [microseconds(NOON + timedelta(hours=3))]


@FORMS
@pytest.mark.parametrize(
    ("kind", "path", "row"),
    [
        ("quotes", "snapshots", quote(42, 45, volume=1_050)),
        ("books", "orderbooks", BOOK),
        ("trades", "trades", {"yes_price": 4_500, "count": 125, "taker_side": 1}),
    ],
)
def test_what_an_import_brought_leaves_by_its_number_and_enters_as_it_was(
    download, form, kind, path, row
):
    row = {"is_block_trade": 0, **row} if kind == "trades" else row
    other = dict(row, last_price=1_000) if kind == "quotes" else row
    one = imported(Kind(kind), [("KXA-1", 0, row), ("KXA-1", 1.5, row)])
    imported(Kind(kind), [("KXA-1", 0.25, other)])
    file = download(f"KXA-1/{path}/", form, **{"import": one.pk})
    for each in Import.objects.all():
        undo(each)

    call_command("importdata", kind, str(file), preset="kalshi-insights")

    again = Import.objects.newest_first()[0]
    assert (again.rows, again.span) == (2, (START, START + timedelta(seconds=1.5)))
