"""What imports state of markets, beside what is recorded of them, whichever came first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from markets.importing.import_writer import ImportWriter
from markets.importing.undo import undo
from markets.models import FeeChange, Import, Market, MarketRevision
from markets.models.definitions import RevisedMarket, with_imported
from markets.models.imports import Kind
from markets.models.observations import microseconds
from markets.tests.factories import a_market
from markets.tests.import_builders import START, an_import, batch, imported, quote

TICKER = "KXOWN-26NOV20-T40"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
RESULT = [(TICKER, None, {"result": "no"})]


def known(*imports: Import, recorded_by: datetime | None = None) -> list[RevisedMarket]:
    """Return the revisions of the market that whoever names these imports reads."""
    market = Market.objects.get()
    return MarketRevision.objects.histories(
        [market.pk],
        recorded_by=recorded_by or datetime.now(UTC) + DAY,
        imports=[each.pk for each in imports],
    ).get(market.pk, [])


def times(*imports: Import) -> list[datetime]:
    return [datetime.fromtimestamp(each.known_at / 1_000_000, UTC) for each in known(*imports)]


def quotes(*seconds: float) -> Import:
    return imported(Kind.QUOTES, [(TICKER, at, quote(42, 45)) for at in seconds])


def record(at: datetime, **values: object) -> None:
    """Record what the exchange says of the market."""
    market = Market.objects.get()
    MarketRevision.objects.create(
        market=market, known_at=at, recorded_at=at, **{"status": "active", **values}
    )


@pytest.mark.django_db
class TestAssumedTimes:
    """A result without a time is known a day after the close, or after the last named row."""

    def test_results_may_be_imported_before_the_quotes(self):
        results = imported(Kind.SETTLEMENTS, RESULT)
        rows = quotes(0, 5)

        assert times(rows, results) == [START + timedelta(seconds=5) + DAY]

    def test_the_last_row_of_all_named_files_counts_and_no_other_one(self):
        first = quotes(0)
        results = imported(Kind.SETTLEMENTS, RESULT)
        later, unnamed = quotes(90_000), quotes(900_000)

        assert times(first, later, results) == [START + timedelta(seconds=90_000) + DAY]
        assert times(first, results) == [START + DAY]
        assert unnamed.pk

    def test_a_close_that_becomes_known_later_moves_it(self):
        results, rows = imported(Kind.SETTLEMENTS, RESULT), quotes(0, 7_200)
        closes = {"close_time": microseconds(START + HOUR)}
        definitions = imported(Kind.MARKETS, [(TICKER, None, closes)])

        assert times(rows, results) == times(rows, results, definitions) == [START + HOUR + DAY]
        Market.objects.update(close_time=START + 2 * HOUR)
        assert times(rows, results) == [START + 2 * HOUR + DAY]

    def test_a_result_with_a_time_keeps_it(self):
        results, rows = imported(Kind.SETTLEMENTS, [(TICKER, 60, {"result": "no"})]), quotes(0)

        assert times(rows, results) == [START + timedelta(seconds=60)]


@pytest.mark.django_db
class TestResults:
    """A result on record stays alone."""

    @pytest.mark.parametrize("seconds", [None, 60, 9 * 3_600])
    @pytest.mark.parametrize("comes_first", [True, False])
    def test_the_exchange_s_own_one_counts_whichever_came_first(self, seconds, comes_first):
        a_market(TICKER)
        rows = [(TICKER, seconds, {"result": "no"})]
        if comes_first:
            results = imported(Kind.SETTLEMENTS, rows)
        record(START)
        record(START + 2 * HOUR, status="finalized", result="yes")
        if not comes_first:
            results = imported(Kind.SETTLEMENTS, rows)

        assert [each.result for each in known(results)] == ["", "yes"]

    def test_one_that_was_recorded_after_the_run_is_unknown_to_it(self):
        a_market(TICKER)
        results = imported(Kind.SETTLEMENTS, RESULT)
        before = datetime.now(UTC)
        record(before + HOUR, status="finalized", result="yes")

        [revision] = known(results, recorded_by=before)
        assert (revision.result, revision.is_imported) == ("no", True)

    def test_one_of_an_import_comes_after_all_else_that_is_known(self):
        a_market(TICKER)
        results = imported(Kind.SETTLEMENTS, [(TICKER, 60, {"result": "no"})])
        record(START, close_time=START + HOUR)
        record(START + 2 * HOUR, status="closed", close_time=START + HOUR)

        assert times(results) == [START, START + 2 * HOUR, START + 2 * HOUR]
        assert known(results)[-1].result == "no"

    def test_one_of_an_import_closes_nothing(self):
        market = a_market(TICKER, close_time=START + 9 * HOUR)
        results = imported(Kind.SETTLEMENTS, RESULT)
        record(START, close_time=market.close_time)
        record(START + HOUR, close_time=START + 2 * HOUR)

        closes = [each.close_time for each in known(results)]
        assert closes == [microseconds(START + 9 * HOUR), microseconds(START + 2 * HOUR), None]

    def test_the_recorder_tells_its_own_time_whatever_an_import_says(self):
        market = a_market(TICKER)
        imported(Kind.SETTLEMENTS, [(TICKER, 9 * 86_400, {"result": "no"})])

        MarketRevision.objects.append_current({market.pk: START}, at=START)

        assert MarketRevision.objects.recorded().get().known_at == START


@pytest.mark.django_db
class TestCloses:
    @pytest.mark.parametrize("comes_first", [True, False])
    def test_one_counts_until_the_record_knows_its_own_whichever_came_first(self, comes_first):
        a_market(TICKER)
        rows = [
            (TICKER, seconds, {"close_time": microseconds(START + 9 * HOUR)})
            for seconds in (0, 2 * 3_600)
        ]
        if comes_first:
            definitions = imported(Kind.MARKETS, rows)
        record(START + HOUR, close_time=START + 5 * HOUR)
        if not comes_first:
            definitions = imported(Kind.MARKETS, rows)

        closes = [(each.known_at, each.close_time) for each in known(definitions)]

        expected = (START, START + 9 * HOUR), (START + HOUR, START + 5 * HOUR)
        assert closes == [tuple(map(microseconds, each)) for each in expected]
        undo(definitions)
        assert len(known()) == 1

    def test_of_two_that_become_known_at_once_one_is_counted_as_written(self):
        a_market(TICKER)
        closes = [{"close_time": microseconds(START + n * HOUR)} for n in (8, 9)]

        row = imported(Kind.MARKETS, [(TICKER, 0, each) for each in closes])

        row.refresh_from_db()
        assert (row.rows, row.duplicates) == (1, 1)
        assert known(row)[0].close_time == microseconds(START + 8 * HOUR)

    @pytest.mark.parametrize(
        ("kind", "rows"),
        [
            (Kind.MARKETS, [{"close_time": microseconds(START + n * HOUR)} for n in (8, 9)]),
            (Kind.SETTLEMENTS, [{"result": "yes"}, {"result": "no"}]),
        ],
    )
    def test_the_same_is_so_where_an_earlier_batch_has_the_other(self, kind, rows):
        a_market(TICKER)
        row = an_import(kind)
        writer = ImportWriter(row)
        for n, each in enumerate(rows):
            writer.write(batch(kind, [(TICKER, 0, each)], first_line=2 + n))

        assert (row.rows, row.duplicates) == (1, 1)
        assert MarketRevision.objects.filter(import_row=row).count() == 1


@pytest.mark.django_db
class TestFees:
    @pytest.mark.parametrize("comes_first", [True, False])
    def test_terms_on_record_stay_alone_whichever_came_first(self, comes_first):
        market = a_market(TICKER)
        rows, said = [(TICKER, 0, quote(42, 45))], {"fee_type": "flat", "fee_multiplier": "9"}
        if comes_first:
            row = imported(Kind.QUOTES, rows, **said)
        at = START + HOUR
        FeeChange.objects.create(
            series=market.event.series, fee_type="quadratic", fee_multiplier=1,
            effective_at=at, known_at=at, recorded_at=at,
        )  # fmt: skip
        if not comes_first:
            row = imported(Kind.QUOTES, rows, **said)

        for start, assumed in ((START, True), (at, False)):
            [terms] = FeeChange.objects.schedule(
                [market.pk], start=start, end=at - HOUR / 2 if assumed else at, imports=[row.pk]
            )[market.pk]
            assert (terms.fee_type, terms.assumed) == ("quadratic", assumed)


def revision(at: int, **values: Any) -> RevisedMarket:
    plain = RevisedMarket(
        market_id=1,
        known_at=at,
        known_at_assumed=False,
        status="active",
        result="",
        settlement_value=None,
        settlement_ts=None,
        close_time=None,
        price_ranges="[]",
    )
    return plain._replace(**values)


class TestDefinitions:
    """An imported definition counts until the record knows the close."""

    def test_it_tells_the_close_of_a_market_that_the_record_met_later(self):
        imported_ones = [revision(1, close_time=50), revision(7, close_time=60)]
        recorded = [revision(5, close_time=40), revision(9, close_time=40)]

        found = with_imported(recorded, imported_ones)

        assert [(each.known_at, each.close_time) for each in found] == [(1, 50), (5, 40), (9, 40)]

    def test_it_stays_beside_a_record_that_knows_the_final_close_alone(self):
        recorded = [revision(0), revision(9, status="finalized", result="yes", close_time=8)]

        found = with_imported(recorded, [revision(3, close_time=20)])

        assert [each.close_time for each in found] == [None, 20, 8]

    def test_without_a_record_all_of_it_counts_and_the_results_come_last(self):
        stated = [revision(3, result="no"), revision(5, close_time=9)]

        found = with_imported([], stated)

        assert [(each.known_at, each.result) for each in found] == [(5, ""), (5, "no")]
