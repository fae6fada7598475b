"""A process with an invalid setting refuses to start and names the setting."""

import logging
import runpy
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.exceptions import ImproperlyConfigured

pytestmark = pytest.mark.usefixtures("logging_as_it_is")
SETTINGS = Path(__file__).resolve().parent.parent / "kalshi_insights" / "settings.py"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "mysql://user:secret@localhost/kalshi"),
        ("DATABASE_URL", "postgres://user:secret@localhost:port/kalshi"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:secret@localhost:abc/0"),
        ("KALSHI_API_URL", "ftp://example.org"),
        ("KALSHI_RATE", "9"),
        ("POLL_INTERVAL", "often"),
        ("POLL_INTERVAL", "0"),
        ("HOT_MARKETS", "-1"),
        ("RETENTION_DAYS", "nan"),
        ("TRADE_RETENTION_DAYS", "-1"),
        ("RECORD_TRADES", "some"),
        ("SIMULATED", "perhaps"),
        ("ENVIRONMENT", "moon"),
        ("API_RATE_ANONYMOUS", "fast"),
        ("API_RATE_ANONYMOUS", "0/min"),
        ("API_RATE_TOKEN", "600"),
        ("API_RATE_TOKEN", "-1/s"),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "one"),
        ("HTTPS_ONLY", "perhaps"),
        ("SIGN_IN_RATE", "often"),
        ("ADMIN_URL", "/"),
        ("ADMIN_URL", "markets/admin"),
        ("ADMIN_URL", "api"),
        ("ADMIN_URL", "a b"),
        ("ADMIN_URL", "<str:any>"),
        ("ADMIN_URL", "../admin"),
        ("EMAIL_URL", "mail.example.org"),
        ("EMAIL_URL", "https://user:secret@mail.example.org"),
        ("EMAIL_URL", "smtp://user:secret@mail.example.org:port"),
        ("ARCHIVE_PATH", "ftp://example.org/archive"),
        ("ARCHIVE_PATH", "s3:///archive"),
        ("ARCHIVE_PATH", "s3://[bucket/archive"),
        ("ARCHIVE_PATH", "s3://key:secret@bucket/archive"),
        ("ARCHIVE_PATH", "gs://bucket/archive?endpoint_override=me:secret@localhost"),
        ("ARCHIVE_PATH", "s3://bucket/archive?access_key=secret"),
        ("STRATEGIES_PATH", "."),
        ("STRATEGIES_PATH", "/"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://a.example,b.example"),
        ("CORS_ORIGINS", "https://a.example/path"),
    ],
)
def test_a_wrong_setting_refuses_to_start_and_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must ") as refused:
        runpy.run_path(str(SETTINGS))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_a_setting_that_cannot_be_done_without_is_named(monkeypatch, name):
    monkeypatch.setenv(name, "")
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is not set"):
        runpy.run_path(str(SETTINGS))


def test_where_nothing_is_wrong_it_starts(monkeypatch):
    monkeypatch.setenv("API_RATE_ANONYMOUS", "30/h")
    assert runpy.run_path(str(SETTINGS))["POLL_INTERVAL"]


def test_a_password_may_have_signs_that_mean_something_in_addresses(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://user:pa#ss[word@localhost:5432/kalshi")
    database = runpy.run_path(str(SETTINGS))["DATABASES"]["default"]
    assert (database["PASSWORD"], database["PORT"]) == ("pa#ss[word", 5432)


@pytest.mark.parametrize("given", ["s3://bucket/archive?region=eu-central-1", "gs://bucket"])
def test_the_archive_may_lie_in_object_storage(monkeypatch, given):
    monkeypatch.setenv("ARCHIVE_PATH", given)
    assert runpy.run_path(str(SETTINGS))["ARCHIVE_PATH"] == given


def test_the_archive_is_a_folder_otherwise(monkeypatch):
    monkeypatch.setenv("ARCHIVE_PATH", "/var/archive")
    assert runpy.run_path(str(SETTINGS))["ARCHIVE_PATH"] == Path("/var/archive")
    monkeypatch.setenv("ARCHIVE_PATH", "")
    assert runpy.run_path(str(SETTINGS))["ARCHIVE_PATH"].name in ("archive", "archive-simulated")


@pytest.mark.parametrize("given", ["admin", "/admin/", "admin/"])
def test_the_path_of_the_admin_may_have_slashes_or_not(monkeypatch, given):
    monkeypatch.setenv("ADMIN_URL", given)
    assert runpy.run_path(str(SETTINGS))["ADMIN_URL"] == "admin/"


class TestMail:
    def test_without_a_server_there_is_none(self, monkeypatch):
        monkeypatch.delenv("EMAIL_URL", raising=False)
        assert "EMAIL_HOST" not in runpy.run_path(str(SETTINGS))

    @pytest.mark.parametrize("sender", ["", "nobody"])
    def test_with_a_server_it_needs_a_sender(self, monkeypatch, sender):
        monkeypatch.setenv("EMAIL_URL", "smtp://mail.example.org")
        monkeypatch.setenv("EMAIL_FROM", sender)
        with pytest.raises(ImproperlyConfigured, match=r"^EMAIL_FROM must "):
            runpy.run_path(str(SETTINGS))

    @pytest.mark.parametrize(
        ("address", "port", "tls", "ssl"),
        [
            ("smtp://u:p%40ss@mail.example.org", 25, False, False),
            ("smtp+tls://u:p%40ss@mail.example.org", 587, True, False),
            ("smtp+ssl://u:p%40ss@mail.example.org", 465, False, True),
            ("smtp+tls://u:p%40ss@mail.example.org:2525", 2525, True, False),
        ],
    )
    def test_an_address_tells_all_of_it(self, monkeypatch, address, port, tls, ssl):
        monkeypatch.setenv("EMAIL_URL", address)
        monkeypatch.setenv("EMAIL_FROM", "insights@example.org")
        read = runpy.run_path(str(SETTINGS))
        assert (read["EMAIL_HOST"], read["EMAIL_PORT"]) == ("mail.example.org", port)
        assert (read["EMAIL_HOST_USER"], read["EMAIL_HOST_PASSWORD"]) == ("u", "p@ss")
        assert (read["EMAIL_USE_TLS"], read["EMAIL_USE_SSL"]) == (tls, ssl)
        assert read["DEFAULT_FROM_EMAIL"] == "insights@example.org"


@pytest.mark.parametrize("environment", ["development", "production"])
def test_a_traceback_in_the_log_does_not_show_what_variables_hold(monkeypatch, environment):
    monkeypatch.setenv("ENVIRONMENT", environment)
    monkeypatch.setenv("SECRET_KEY", "for tests")
    line = runpy.run_path(str(SETTINGS))["LOGGING"]["formatters"]["line"]
    formatter = line.pop("()")(**line)
    try:
        token = "-".join(("my", "secret"))
        int(token[:2])
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "", 0, "it broke", None, sys.exc_info())
    formatted = formatter.format(record)
    assert "test_settings.py" in formatted
    assert "ValueError: invalid literal" in formatted
    assert "my-secret" not in formatted


class TestTheKey:
    @pytest.fixture
    def file(self, monkeypatch, tmp_path):
        file = tmp_path / "key.pem"
        monkeypatch.setenv("KALSHI_API_KEY_ID", "an id")
        monkeypatch.setenv("KALSHI_PRIVATE_KEY_PATH", str(file))
        return file

    def refusal(self):
        with pytest.raises(ImproperlyConfigured, match=r"^KALSHI_PRIVATE_KEY_PATH ") as refused:
            runpy.run_path(str(SETTINGS))
        return str(refused.value)

    def test_its_file_must_be_there(self, file):
        assert "No such file" in self.refusal()

    def test_its_file_must_hold_a_key(self, file):
        file.write_text("my secret")
        refusal = self.refusal()
        assert "no private key in PEM form" in refusal
        assert "my secret" not in refusal

    def test_its_kind_must_be_one_that_the_exchange_takes(self, file):
        key = generate_private_key(SECP256R1())
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        assert "neither an RSA nor an Ed25519 key" in self.refusal()

    @pytest.mark.parametrize("lacking", ["KALSHI_API_KEY_ID", "KALSHI_PRIVATE_KEY_PATH"])
    def test_its_id_and_its_file_go_together(self, file, monkeypatch, lacking):
        monkeypatch.delenv(lacking)
        with pytest.raises(ImproperlyConfigured, match=f"^{lacking} must be set too"):
            runpy.run_path(str(SETTINGS))
