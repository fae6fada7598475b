"""Client, recorder, pages and commands say in words why the exchange cannot be reached."""

import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.core.management import CommandError, call_command

from markets.coverage.causes import Cause, outages
from markets.kalshi.client import KalshiClient
from markets.kalshi.errors import (
    ConfigurationError,
    KalshiError,
    NoConnection,
    TemporaryError,
    TimedOut,
)
from markets.kalshi.reach import REASONS, reason_of
from markets.kalshi.signing import Signer
from markets.models import Poll
from markets.recording.exchange import kalshi_client
from markets.recording.recorder import record_tick
from markets.tasks import refresh_reference
from markets.tests.factories import a_poll
from markets.tests.fake_exchange import URL, Exchange

NOWHERE = "http://127.0.0.1:9/trade-api/v2"
HOST = "exchange.test"


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), NoConnection, f"name not found: {HOST}"),
        (socket.gaierror(socket.EAI_AGAIN, ""), NoConnection, "no network: no name server"),
        (OSError(errno.ENETUNREACH, ""), NoConnection, "no network: there is no way"),
        (OSError(errno.EHOSTUNREACH, ""), NoConnection, "no network: there is no way"),
        (ConnectionRefusedError(), NoConnection, f"connection refused: nothing answers at {HOST}"),
        (certificate_error(10, "certificate has expired"), ConfigurationError, "clock: at this"),
        (certificate_error(9, "not yet valid"), ConfigurationError, "clock: at this"),
        (certificate_error(18, "self-signed"), ConfigurationError, f"TLS: .*{HOST} is not trusted"),
        (ssl.SSLError(1, "wrong version number"), NoConnection, f"TLS: {HOST} does not agree"),
        (OSError(errno.ECONNRESET, "reset"), TemporaryError, "reset"),
    ],
)
def test_a_failure_to_connect_is_told_in_words(cause, kind, words):
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(str(cause)) from cause

    client = KalshiClient(URL, transport=httpx.MockTransport(fail), sleep=lambda seconds: None)
    with pytest.raises(KalshiError, match=words) as output:
        client.exchange_status()
    assert type(output.value) is kind


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (httpx.ConnectTimeout("late"), NoConnection, r"^no answer: no connection to .* within 3 s"),
        (httpx.ReadTimeout("late"), TimedOut, r"^no answer: .*/exchange/status timed out"),
        (httpx.ProxyError("403"), NoConnection, r"^connection refused: by the proxy before .*403"),
    ],
)
def test_what_comes_too_late_and_what_a_proxy_refuses_is_told_too(fault, kind, words):
    def fail(request: httpx.Request) -> httpx.Response:
        raise fault

    client = KalshiClient(URL, transport=httpx.MockTransport(fail), sleep=lambda seconds: None)
    with pytest.raises(KalshiError, match=words) as output:
        client.exchange_status()
    assert type(output.value) is kind


def test_a_port_where_nothing_listens_refuses_the_connection():
    with (
        KalshiClient(NOWHERE) as client,
        pytest.raises(NoConnection, match=r"^connection refused: "),
    ):
        client.exchange_status()


@pytest.fixture
def untrusted(tmp_path) -> Iterator[str]:
    """The address of a server whose certificate nobody has signed."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/trade-api/v2"
        thread.join()


def test_a_certificate_that_nobody_signed_is_told(untrusted):
    with (
        KalshiClient(untrusted) as client,
        pytest.raises(ConfigurationError, match=r"^TLS: the certificate of localhost is not tr"),
    ):
        client.exchange_status()


@pytest.mark.parametrize(
    ("seconds_behind", "words"),
    [
        (0, r"^key: the exchange denies access .*status 401"),
        (90, r"^clock: this machine's clock is (88|89|90) s behind the exchange's, and"),
    ],
)
def test_a_key_that_is_denied_and_a_clock_that_makes_it_so_are_told_apart(seconds_behind, words):
    def deny(request: httpx.Request) -> httpx.Response:
        date = datetime.now(UTC) + timedelta(seconds=seconds_behind)
        return httpx.Response(401, headers={"Date": f"{date:%a, %d %b %Y %H:%M:%S GMT}"})

    signer = Signer("id", Ed25519PrivateKey.generate())
    client = KalshiClient(URL, signer=signer, transport=httpx.MockTransport(deny))
    with pytest.raises(ConfigurationError, match=words):
        client.exchange_status()


def test_every_text_begins_with_a_reason_that_names_no_host():
    assert reason_of("universe: name not found: exchange.test is not known") == "name not found"
    assert reason_of("universe: exchange.test/events: timed out") == ""
    assert all(reason_of(f"hot: {reason}: more") == reason for reason in REASONS)


def logged(caplog) -> list[dict[str, str]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


# --- the recorder -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestTheRecorder:
    @pytest.fixture
    def failed(self) -> Poll:
        with KalshiClient(NOWHERE) as client:
            poll = record_tick(client, interval=1)
        assert poll is not None
        return poll

    def test_a_run_without_a_way_to_the_exchange_fails_with_words_and_tries_once(self, failed):
        assert failed.error.startswith("status: connection refused: nothing answers at 127.0.0.1")
        assert failed.requests <= 3
        assert failed.finished_at is not None

    def test_it_is_logged(self, caplog):
        with KalshiClient(NOWHERE) as client:
            record_tick(client, interval=1)
        [line] = logged(caplog)
        assert "connection refused" in line["error"]

    def test_a_run_that_has_read_nothing_is_no_good_one(self, exchange: Exchange):
        exchange.list("KXA-1-X")

        def fail(request: httpx.Request) -> httpx.Response:
            return httpx.Response(500)

        with KalshiClient(URL, transport=httpx.MockTransport(fail)) as client:
            poll = record_tick(client, interval=0.05)
        assert poll is not None
        assert "status: " in poll.error
        assert not Poll.objects.good().exists()

    def test_health_pill_and_page_say_it_at_once(self, failed, client):
        health = client.get("/api/v1/health/").json()
        assert (health["status"], health["problem"]) == ("stopped", "connection refused")
        pill = client.get("/recorder/", headers={"HX-Request": "true", "HX-Target": "recording"})
        assert "connection refused" in pill.content.decode()
        page = client.get("/recorder/").content.decode()
        assert "The newest run failed: connection refused." in page
        assert "checkkalshi" in page
        # Hosts are for those who run the site.
        assert "127.0.0.1" not in page

    def test_a_good_run_ends_it(self, failed, client):
        a_poll(datetime.now(UTC))
        assert client.get("/api/v1/health/").json()["problem"] == ""
        assert "connection refused" not in client.get("/recorder/").content.decode()[:4_000]

    def test_a_failure_of_long_ago_says_nothing_of_today(self, client):
        a_poll(datetime.now(UTC) - timedelta(hours=1), error="hot: no answer: nothing")
        assert client.get("/api/v1/health/").json()["problem"] == ""

    @pytest.mark.parametrize(
        ("error", "problem"),
        [
            ("universe: exchange.test/events: timed out", "universe failed"),
            ("OperationalError: no connection to 10.0.0.7", "OperationalError"),
        ],
    )
    def test_other_failures_are_named_without_their_details(self, client, error, problem):
        a_poll(datetime.now(UTC), error=error)
        assert client.get("/api/v1/health/").json()["problem"] == problem


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("hot: no network: there is no way", Cause.OUR_OUTAGE),
        ("hot: key: the exchange denies access", Cause.OUR_OUTAGE),
        ("hot: connection refused: nothing answers", Cause.EXCHANGE_FAILING),
    ],
)
def test_what_fails_on_our_side_is_an_outage_of_ours(settings, error, cause):
    settings.POLL_INTERVAL = 5
    start = datetime.now(UTC) - timedelta(minutes=5)
    for n in range(60):
        a_poll(start + timedelta(seconds=5 * n), error=error if 20 < n < 40 else "")
    assert {gap.cause for gap in outages(start, datetime.now(UTC))} == {cause}


# --- commands -----------------------------------------------------------------------------------


@pytest.fixture
def unreachable(settings) -> Iterator[None]:
    settings.KALSHI_API_URL = NOWHERE
    kalshi_client.cache_clear()
    yield
    kalshi_client().close()
    kalshi_client.cache_clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "words",
    [
        ("pollmarkets", "--once"),
        ("backfill", "--ticker", "KXA-1-X", "--start", "2026-11-20"),
    ],
)
def test_a_command_says_why_and_names_the_one_that_tells_more(unreachable, words):
    with pytest.raises(CommandError, match=r"connection refused: .*checkkalshi tells more"):
        call_command(*words)


def test_the_check_says_why(unreachable, capsys):
    with pytest.raises(CommandError):
        call_command("checkkalshi")
    assert "WRONG  reach     connection refused: nothing answers at 127.0.0.1; check" in (
        capsys.readouterr().out
    )


@pytest.mark.django_db(transaction=True)
def test_reference_data_that_cannot_be_fetched_are_one_line_in_the_log(unreachable, caplog):
    refresh_reference()
    [line] = logged(caplog)
    assert "connection refused" in line["error"]
