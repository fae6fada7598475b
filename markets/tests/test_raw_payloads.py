"""Raw payloads: what comes in comes out, for as long as the settings say, and takes little room."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from markets.models import MarketSnapshot, PayloadBlock, Source
from markets.models.fields import Quote
from markets.models.raw_payloads import KeptPayload, pack, unpack
from markets.models.snapshots import Observation
from markets.storage import retention
from markets.tests.factories import a_market, a_snapshot
from markets.tests.fake_exchange import market_json

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
UNKNOWN = Quote(*[None] * len(Quote._fields))


def an_observation(market, payload, *, at=NOW, bid="0.42"):
    return Observation(
        market_id=market.pk,
        timestamp=at,
        quote=UNKNOWN._replace(yes_bid=Decimal(bid)),
        quality=0,
        volume_24h=None,
        previous_price=None,
        quote_mark=0,
        payload=payload,
    )


def record(*observations, source=Source.POLL, keep_payloads=True):
    MarketSnapshot.objects.record(
        observations, source=source, recorded_at=NOW, keep_payloads=keep_payloads
    )


def maintain(now=NOW):
    return retention.maintain(now=now)


@given(st.lists(st.tuples(st.uuids(), st.binary(max_size=3_000)), min_size=1, max_size=30))
def test_whatever_bytes_go_in_come_out(pairs):
    kept = [KeptPayload(id, NOW, payload) for id, payload in pairs]
    assert list(unpack(pack(kept))) == pairs


@pytest.mark.django_db
class TestReading:
    @pytest.mark.parametrize("payload", [b"{}", b'"\xff\x00\n', b"", '{"é": "\u2028"}'.encode()])
    def test_a_snapshot_has_the_bytes_it_was_read_from(self, payload):
        record(an_observation(a_market(), payload))
        assert MarketSnapshot.objects.get().raw_payload == payload

    def test_two_quotes_of_one_instant_have_a_payload_each(self):
        market = a_market()
        record(an_observation(market, b"first", bid="0.42"))
        record(an_observation(market, b"second", bid="0.43"))
        found = {row.yes_bid: row.raw_payload for row in MarketSnapshot.objects.all()}
        assert found == {Decimal("0.42"): b"first", Decimal("0.43"): b"second"}

    def test_the_replies_of_one_write_are_found_by_their_own_instants(self):
        market = a_market()
        instants = [NOW + n * timedelta(seconds=1) for n in range(3)]
        record(*(an_observation(market, str(at).encode(), at=at) for at in instants))
        assert PayloadBlock.objects.get().payloads == 3
        for snapshot in MarketSnapshot.objects.all():
            assert snapshot.raw_payload == str(snapshot.timestamp).encode()

    def test_many_payloads_are_split_into_blocks(self, monkeypatch):
        monkeypatch.setattr("markets.models.raw_payloads.PAYLOADS_PER_BLOCK", 2)
        markets = [a_market(f"KXRAIN-{n}") for n in range(5)]
        record(*(an_observation(market, market.ticker.encode()) for market in markets))
        assert PayloadBlock.objects.count() == 3
        for snapshot in MarketSnapshot.objects.select_related("market"):
            assert snapshot.raw_payload == snapshot.market.ticker.encode()

    def test_without_a_payload_there_is_none(self):
        market = a_market()
        record(an_observation(market, b"{}"), keep_payloads=False)
        assert MarketSnapshot.objects.get().raw_payload is None
        assert PayloadBlock.objects.payloads_of({}) == {}


@pytest.mark.django_db
class TestKeeping:
    def test_they_go_as_soon_as_their_hours_are_over(self, settings):
        settings.RAW_PAYLOAD_HOURS = 6
        market = a_market()
        for hours in (0, 2, 4):
            at = NOW + hours * HOUR
            record(
                an_observation(market, b"{}", at=at), an_observation(market, b"{}", at=at + HOUR)
            )
        assert maintain(NOW + 7 * HOUR).dropped_payloads == 0
        assert maintain(NOW + 7.01 * HOUR).dropped_payloads == 2
        assert maintain(NOW + 11.01 * HOUR).dropped_payloads == 4
        assert not PayloadBlock.objects.exists()
        assert MarketSnapshot.objects.count() == 6

    def test_none_are_kept_once_the_setting_says_so(self, settings):
        record(an_observation(a_market(), b"{}"))
        settings.RAW_PAYLOAD_HOURS = 0
        assert maintain(NOW + HOUR).dropped_payloads == 1

    def test_the_command_tells_how_many_went(self, settings, capsys):
        settings.RAW_PAYLOAD_HOURS = 1
        record(an_observation(a_market(), b"{}", at=NOW - 2 * HOUR))
        call_command("maintainpartitions")
        assert "dropped 1 raw payloads\n" in capsys.readouterr().out


@pytest.mark.django_db
class TestRoom:
    def test_payloads_of_one_write_take_a_small_part_of_their_bytes(self):
        payloads = [
            msgspec.json.encode(market_json(f"KXA-1-{n}", volume_fp=f"{n * n}.00"))
            for n in range(200)
        ]
        kept = [KeptPayload(UUID(int=n << 64), NOW, p) for n, p in enumerate(payloads)]
        assert len(pack(kept)) < sum(map(len, payloads)) / 9

    def test_the_database_does_not_try_to_compress_them_again(self):
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT attstorage FROM pg_attribute
                   WHERE attrelid = 'markets_payloadblock'::regclass AND attname = 'content'"""
            )
            assert cursor.fetchone()[0] == "e"


@pytest.mark.django_db
class TestAdmin:
    def page(self, admin_client, snapshot):
        address = reverse("admin:markets_marketsnapshot_change", args=[snapshot.pk])
        return admin_client.get(address).content.decode()

    def test_a_snapshot_shows_its_payload(self, admin_client):
        record(an_observation(a_market(), b"<what \xff it said>"))
        html = self.page(admin_client, MarketSnapshot.objects.get())
        assert "&lt;what \ufffd it said&gt;" in html

    def test_it_says_why_there_is_none(self, admin_client, settings):
        settings.RAW_PAYLOAD_HOURS = 6
        market = a_market()
        snapshot = a_snapshot(market, NOW)
        snapshot.save()
        assert "No longer kept: payloads are kept for 6 hours" in self.page(admin_client, snapshot)
        settings.RAW_PAYLOAD_HOURS = 0
        assert "Not kept: RAW_PAYLOAD_HOURS is 0" in self.page(admin_client, snapshot)
        MarketSnapshot.objects.update(source=Source.BACKFILL)
        assert "a row of BACKFILL has no payload" in self.page(admin_client, snapshot)

    def test_a_block_is_listed_and_looked_at_without_its_bytes(self, admin_client):
        record(an_observation(a_market(), b"{}"))
        block = PayloadBlock.objects.get()
        listing = admin_client.get(reverse("admin:markets_payloadblock_changelist"), {"q": "20"})
        assert list(listing.context["cl"].result_list) == [block]
        address = reverse("admin:markets_payloadblock_change", args=[block.pk])
        assert "field-content" not in admin_client.get(address).content.decode()


@pytest.mark.django_db
class TestCommand:
    def show(self, capsys, *arguments):
        call_command("showpayloads", *arguments)
        out, error = capsys.readouterr()
        return [msgspec.json.decode(line) for line in out.splitlines()], error

    def test_a_markets_payloads_are_printed_oldest_first(self, capsys):
        market = a_market()
        for minutes in (5, 3):
            at = NOW - timedelta(minutes=minutes)
            record(
                an_observation(market, msgspec.json.encode({"minutes": minutes}), at=at),
                an_observation(a_market(f"KXSNOW-{minutes}"), b"{}", at=at),
            )
        lines, error = self.show(capsys, market.ticker.lower())
        assert [line["payload"]["minutes"] for line in lines] == [5, 3]
        assert lines[0]["snapshot"] == str(market.snapshots.oldest_first()[0].pk)
        assert lines[0]["timestamp"] == (NOW - timedelta(minutes=5)).isoformat()[:-6] + "Z"
        assert error == ""
        since = (NOW - timedelta(minutes=4)).isoformat()
        assert len(self.show(capsys, market.ticker, "--start", since)[0]) == 1

    def test_what_is_not_kept_is_told(self, capsys, settings):
        settings.RAW_PAYLOAD_HOURS = 6
        market = a_market()
        a_snapshot(market, NOW - HOUR).save()
        record(an_observation(market, b"{}"))
        lines, error = self.show(capsys, market.ticker)
        assert len(lines) == 1
        assert error.startswith("1 of 2 snapshots have none. No longer kept: payloads are kept")

    def test_a_time_without_snapshots_is_told(self, capsys):
        window = ("--start", "2026-01-01", "--end", "2026-01-02")
        lines, error = self.show(capsys, a_market().ticker, *window)
        assert lines == []
        assert "KXRAIN-26NOV21 was not recorded from 2026-01-01" in error

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(CommandError, match="There is no market KXNONE"):
            call_command("showpayloads", "KXNONE")
        with pytest.raises(CommandError, match=r"start.*neither a day nor an instant"):
            call_command("showpayloads", "KXNONE", "--start", "yesterday")
        with pytest.raises(CommandError, match="does not lie before --end"):
            call_command("showpayloads", "KXNONE", "--end", "2026-01-01")
