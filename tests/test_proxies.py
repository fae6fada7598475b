"""Trust in what a request says of its origin: behind no proxy, behind one and behind two."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as installed
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from redis import Redis

from kalshi_insights.middleware.proxies import client_address
from markets.tests.factories import a_market

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "kalshi_insights" / "settings.py"
PEER, HOST = "192.0.2.1", "insights.example"
# Each proxy appends the address of its peer; the client has forged what comes before.
FORGED, CLIENT, OUTER = "10.9.9.9", "203.0.113.1", "198.51.100.1"
MARKETS = "/api/v1/markets/"
TOKEN = "t" * 32


def origin(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{client_address(request)} {request.build_absolute_uri('/')}")


urlpatterns = [
    path("origin/", origin),
    path("", include("kalshi_insights.urls")),
]

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("logging_as_it_is"),
]


def settings_with(monkeypatch, **variables: str) -> dict:
    """The settings that these variables lead to."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(SETTINGS))


@pytest.fixture
def behind(monkeypatch, settings):
    """Let the site stand behind so many proxies, as its settings would."""

    def stand(proxies: int, **variables: str) -> None:
        result = settings_with(monkeypatch, TRUSTED_PROXIES=str(proxies), **variables)
        for name in (
            "TRUSTED_PROXIES",
            "SECURE_PROXY_SSL_HEADER",
            "USE_X_FORWARDED_HOST",
            "SECURE_SSL_REDIRECT",
            "SECURE_HSTS_SECONDS",
            "SECURE_REDIRECT_EXEMPT",
        ):
            if name in result:
                setattr(settings, name, result[name])
        settings.ALLOWED_HOSTS = [HOST, "inner.example"]

    return stand


def headers(*addresses: str, **more: str) -> dict[str, str]:
    """The headers of a request that came by these addresses, the client's first."""
    return {
        "Host": "inner.example",
        "X-Forwarded-For": ", ".join(addresses),
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": HOST,
        **more,
    }


@pytest.mark.parametrize(
    ("proxies", "sent", "believed"),
    [
        (0, headers(FORGED), f"{PEER} http://inner.example/"),
        (
            0,
            headers(FORGED, Forwarded=f"for={FORGED};proto=https"),
            f"{PEER} http://inner.example/",
        ),
        (1, headers(CLIENT), f"{CLIENT} https://{HOST}/"),
        (1, headers(FORGED, CLIENT), f"{CLIENT} https://{HOST}/"),
        (2, headers(FORGED, CLIENT, OUTER), f"{CLIENT} https://{HOST}/"),
        # A request that has passed by the outer proxy comes from whoever the inner one saw.
        (2, headers(CLIENT), f"{CLIENT} https://{HOST}/"),
        (1, headers(f"{CLIENT}:4711"), f"{CLIENT} https://{HOST}/"),
        (1, headers("[2001:db8::1]:4711"), f"2001:db8::1 https://{HOST}/"),
        (1, headers("2001:db8::1"), f"2001:db8::1 https://{HOST}/"),
        (1, headers("unknown"), f"{PEER} https://{HOST}/"),
        (1, {"Host": HOST}, f"{PEER} http://{HOST}/"),
        (1, headers(CLIENT, **{"X-Forwarded-Proto": "gopher"}), f"{CLIENT} http://{HOST}/"),
        (1, headers(CLIENT, **{"X-Forwarded-Proto": "https, http"}), f"{CLIENT} http://{HOST}/"),
        (
            2,
            headers(CLIENT, OUTER, **{"X-Forwarded-Proto": "https, http"}),
            f"{CLIENT} https://{HOST}/",
        ),
    ],
)
def test_as_much_is_believed_as_our_own_proxies_wrote(behind, proxies, sent, believed):
    behind(proxies)
    answer = Client().get("/origin/", headers=sent, REMOTE_ADDR=PEER)
    assert answer.content.decode() == believed


def test_a_forwarded_host_must_be_ours(behind):
    behind(1)
    sent = headers(CLIENT, **{"X-Forwarded-Host": "evil.example"})
    assert Client().get("/origin/", headers=sent).status_code == 400


@pytest.mark.parametrize(("proxies", "scheme"), [(0, "http"), (1, "https")])
def test_links_to_the_next_page_have_the_scheme_of_the_request(behind, proxies, scheme):
    behind(proxies)
    a_market("KXA-1-X")
    a_market("KXA-1-Y")
    sent = headers(CLIENT, Host=HOST)
    following = Client().get(f"{MARKETS}?limit=1", headers=sent).json()["next"]
    assert following == f"{scheme}://{HOST}{MARKETS}?limit=1&skip=1"


@pytest.mark.parametrize(("proxies", "is_accepted"), [(0, False), (1, True), (2, True)])
def test_a_form_of_our_own_page_is_accepted(behind, proxies, is_accepted):
    behind(proxies)
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = TOKEN
    sent = headers(CLIENT, Origin=f"https://{HOST}", **{"X-CSRFToken": TOKEN})
    assert (client.post("/origin/", headers=sent).status_code == 200) is is_accepted


@pytest.mark.parametrize(
    ("sent", "counted"),
    [((FORGED,), PEER), ((FORGED, CLIENT), CLIENT), ((FORGED, CLIENT, OUTER), CLIENT)],
)
def test_limits_and_logs_go_by_the_same_address(behind, settings, caplog, sent, counted):
    behind(len(sent) - 1)
    settings.API_RATE_ANONYMOUS = 0.2
    server = Redis.from_url(settings.REDIS_URL)
    with caplog.at_level("INFO"):
        Client().get(MARKETS, headers=headers(*sent), REMOTE_ADDR=PEER)
    keys = server.keys("api:rate:*")
    server.delete(*keys)
    server.close()
    assert keys == [f"api:rate:address:{counted}".encode()]
    lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert [line["ip"] for line in lines] == [counted] * 2


def test_behind_a_proxy_in_production_plain_http_is_redirected(behind):
    behind(1, ENVIRONMENT="production", SECRET_KEY="for tests")
    plain = headers(CLIENT, **{"X-Forwarded-Proto": "http"})
    redirected = Client().get("/origin/", headers=plain)
    assert (redirected.status_code, redirected["Location"]) == (301, f"https://{HOST}/origin/")
    secure = Client().get("/origin/", headers=headers(CLIENT))
    assert (secure.status_code, secure["Strict-Transport-Security"]) == (200, "max-age=2592000")


@pytest.mark.parametrize("address", ["/health", "/api/v1/health/"])
def test_the_health_is_told_by_plain_http_too(behind, address):
    behind(1, ENVIRONMENT="production", SECRET_KEY="for tests")
    assert Client().get(address, headers={"Host": HOST}).status_code == 200


@pytest.mark.parametrize(
    ("variables", "redirects", "seconds"),
    [
        ({}, False, 0),
        ({"TRUSTED_PROXIES": "1"}, True, 2_592_000),
        ({"TRUSTED_PROXIES": "1", "HTTPS_ONLY": "false"}, False, 0),
        ({"HTTPS_ONLY": "true", "HSTS_SECONDS": "60"}, True, 60),
    ],
)
def test_https_is_required_where_a_proxy_or_a_setting_says_so(
    monkeypatch, variables, redirects, seconds
):
    result = settings_with(monkeypatch, ENVIRONMENT="production", SECRET_KEY="a", **variables)
    assert (result["SECURE_SSL_REDIRECT"], result["SECURE_HSTS_SECONDS"]) == (redirects, seconds)


@pytest.mark.parametrize("proxies", ["0", "1"])
def test_djangos_own_check_finds_nothing_in_production(proxies):
    database = installed.DATABASES["default"]
    credentials = "{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    environment = {
        **os.environ,
        "ENVIRONMENT": "production",
        "DEBUG": "false",
        "SECRET_KEY": "7sEfKcXq0vZt3mB9yLw5uR8hJd2nPa6gQoVxCiTkYrMbUeWzN4sA",
        "TRUSTED_PROXIES": proxies,
        "ALLOWED_HOSTS": HOST,
        "DATABASE_URL": f"postgres://{credentials}",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    check = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stderr) == (0, "")
