"""Errors under `/api/` have one shape and never show the text of an exception."""

import json
import logging
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core import signals
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import include, path
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from kalshi_insights.rest.errors import validation_message
from kalshi_insights.wsgi import application

SECRET = "the password is hunter2"


class Writable(APIView):
    def post(self, request: Request) -> Response:
        if request.data == {}:
            raise ValidationError({"rows": [{}, {"price": ["Too high."]}], "name": ["Missing."]})
        return Response(request.data)


class Slow(APIView):
    def get(self, request: Request) -> Response:
        return slow(request._request)  # type: ignore[return-value]


def slow(request: HttpRequest) -> HttpResponse:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 20")
        cursor.execute("SELECT pg_sleep(20)")
    return HttpResponse()


class Broken(APIView):
    def get(self, request: Request) -> Response:
        raise DatabaseError(SECRET)


def plainly(fault: Exception):
    def view(request: HttpRequest) -> HttpResponse:
        raise fault

    return view


urlpatterns = [
    path("api/v1/writable/", Writable.as_view()),
    path("api/v1/broken/", Broken.as_view()),
    path("api/v1/slow/", Slow.as_view()),
    path("slow/", slow),
    path("api/v1/plainly-broken/", plainly(RuntimeError(SECRET))),
    path("api/v1/denied/", plainly(PermissionDenied(SECRET))),
    path("api/v1/suspicious/", plainly(SuspiciousOperation(SECRET))),
    path("api/v1/", include(("kalshi_insights.api", "api"))),
    path("broken/", plainly(RuntimeError(SECRET))),
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.urls")),
    path("", include("markets.urls")),
    path("backtests/", include("backtests.urls")),
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def member(client):
    client.force_login(User.objects.create_user("member", is_staff=True))
    return client


def error(response) -> dict[str, Any]:
    assert response["Content-Type"] == "application/json", response.content
    assert set(response.json()) == {"code", "message", "details"}
    assert SECRET not in response.text
    assert "Traceback" not in response.text
    problem: dict[str, Any] = response.json()
    return problem


@pytest.fixture(params=[False, True], ids=["", "debug"])
def both_ways(request, settings):
    settings.DEBUG = request.param


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/", 404, "not_found"),
        ("/api/v2/markets/", 404, "not_found"),
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/%00/", 404, "not_found"),
        ("/api/v1/denied/", 403, "permission_denied"),
        ("/api/v1/suspicious/", 400, "bad_request"),
        ("/api/v1/broken/", 500, "error"),
        ("/api/v1/plainly-broken/", 500, "error"),
    ],
)
def test_every_refusal_and_failure_is_in_the_envelope(client, both_ways, path, status, code):
    response = client.get(path)
    assert (response.status_code, error(response)["code"]) == (status, code)


def test_a_statement_that_was_cancelled_is_a_503_that_says_so(client):
    response = client.get("/api/v1/slow/")
    assert (response.status_code, error(response)["code"]) == (503, "took_too_long")
    assert response["Retry-After"] == "10"
    page = client.get("/slow/")
    assert page.status_code == 503
    assert page["Retry-After"] == "10"
    assert "took too long" in page.content.decode()


@pytest.mark.parametrize("version", ["%0A", "%0D%0AX-Evil:%20yes", "%00", "2"])
@pytest.mark.urls("kalshi_insights.urls")
def test_the_schema_has_one_version_whichever_is_asked_for(client, version):
    response = client.get(f"/api/v1/schema/?version={version}")
    assert response.status_code == 200
    assert "X-Evil" not in response.headers
    assert version not in response["Content-Disposition"]


NUL_COOKIE = {"Cookie": 'sessionid="' + "\\000" * 32 + '"'}
NUL_ADDRESSES = [
    *("/markets/%00/", "/markets/a%00/chart.json", "/api/v1/markets/%00/", "/api/v1/%00/"),
    *("/api/v1/events/%00/", "/api/v1/series/%00/", "/api/v1/markets/%00/latest/", "/%00/"),
]


@pytest.mark.parametrize("path", NUL_ADDRESSES)
def test_an_address_with_a_nul_leads_nowhere(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/markets/", "/recorder/", "/admin/", "/api/v1/health/"])
def test_a_session_whose_name_nobody_can_look_up_is_none(client, path):
    assert client.get(path, headers=NUL_COOKIE).status_code in (200, 302)


@pytest.mark.parametrize("path", ["/markets/", "/api/v1/markets/", "/nowhere/"])
@pytest.mark.parametrize("header", ["Authorization", "HX-Target", "If-None-Match", "Cookie"])
def test_a_header_with_a_nul_is_refused_by_its_name(client, path, header):
    response = client.get(path, headers={header: "Token a\0"})
    assert response.status_code == 400
    assert list(response.json()["details"]) == [header.title()]


@pytest.fixture
def ask():
    """Ask the WSGI application itself: Django's test client makes requests of its own kind."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)

    def ask(path: str, kind: str) -> tuple[str, bytes]:
        factory: Any = RequestFactory()
        environ = factory._base_environ(
            PATH_INFO=path, QUERY_STRING="q=%C3%A4", HTTP_HOST="localhost", CONTENT_TYPE=kind
        )
        statuses: list[str] = []
        start: Any = lambda status, headers: statuses.append(status)  # noqa: E731
        answer = application(environ, start)
        return statuses[0][:3], b"".join(answer)

    yield ask
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


CHARSETS = ["rot13", "undefined", "utf-16", "idna", "zip", "latin-1", "nonsense"]


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("path", ["/markets/", "/api/v1/markets/"])
@pytest.mark.urls("kalshi_insights.urls")
def test_text_in_another_charset_is_refused(ask, path, charset):
    status, body = ask(path, f"text/plain; charset={charset}")
    assert status == "415"
    assert b"charset must be utf-8" in body


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"', ""])
@pytest.mark.urls("kalshi_insights.urls")
def test_text_in_utf_8_is_read(ask, charset):
    status, body = ask("/markets/", f"text/plain; charset={charset}")
    assert status == "200"
    assert "matching “ä”" in body.decode()


def test_a_page_that_fails_is_no_business_of_the_api(client):
    assert client.get("/broken/")["Content-Type"].startswith("text/html")


def test_a_failure_can_be_found_in_the_log_by_its_request_id(client, caplog):
    with caplog.at_level(logging.ERROR):
        response = client.get("/api/v1/broken/", headers={"X-Request-ID": "mine-1"})
    assert error(response)["details"] == {"request_id": "mine-1"}
    failures = [r.msg for r in caplog.records if r.name.startswith("django_structlog")]
    assert [failure["request_id"] for failure in failures] == ["mine-1"]


def test_an_answer_has_the_request_id_of_whoever_asked(client):
    response = client.get("/api/v1/health/", headers={"X-Request-ID": "Trace-0123"})
    assert response["X-Request-ID"] == "Trace-0123"


@pytest.mark.parametrize("unfit_id", ["", "a b", "a\tb", "x" * 65, "id\u00e9", '{"a":1}'])
def test_an_unfit_request_id_is_replaced(client, unfit_id):
    problem = {
        client.get("/api/v1/health/", HTTP_X_REQUEST_ID=unfit_id)["X-Request-ID"] for _ in range(2)
    }
    assert len(problem) == 2
    assert unfit_id not in problem


def test_pages_have_a_request_id_too(client):
    assert client.get("/")["X-Request-ID"]


def test_a_foreign_host_is_refused_in_the_envelope(client):
    response = client.get("/api/v1/health/", headers={"Host": "evil.example"})
    assert (response.status_code, error(response)["code"]) == (400, "bad_request")
    assert "evil.example" not in response.text


def test_a_wrong_method_says_which_are_right(member):
    response = member.delete("/api/v1/health/")
    assert (response.status_code, error(response)["code"]) == (405, "method_not_allowed")
    assert "GET" in response["Allow"]


def test_a_format_that_nobody_makes_is_not_acceptable(client):
    response = client.get("/api/v1/health/", headers={"Accept": "image/png"})
    assert (response.status_code, error(response)["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("body", ["{", "\ud800", "[1,]", b"\xff", "NaN"])
def test_a_body_that_is_no_json_is_refused_without_the_parsers_words(member, body):
    body = body if isinstance(body, bytes) else body.encode(errors="surrogatepass")
    response = member.post("/api/v1/writable/", body, content_type="application/json")
    assert (response.status_code, error(response)["code"]) == (400, "parse_error")
    assert error(response)["message"] == "The body is not valid JSON."


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_a_body_nested_too_deeply_is_no_json_that_anybody_reads(member, opened):
    response = member.post("/api/v1/writable/", opened * 100_000, content_type="application/json")
    assert (response.status_code, error(response)["code"]) == (400, "parse_error")


def test_another_media_type_is_refused(member):
    response = member.post("/api/v1/writable/", "a=1", content_type="text/plain")
    assert (response.status_code, error(response)["code"]) == (415, "unsupported_media_type")


def test_a_body_too_large_is_refused_before_it_is_read(member, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20
    response = member.post("/api/v1/writable/", json.dumps("x" * 30), content_type="text/plain")
    assert (response.status_code, error(response)["code"]) == (413, "too_large")


def test_what_is_wrong_is_named_field_by_field(member):
    response = member.post("/api/v1/writable/", "{}", content_type="application/json")
    assert error(response)["message"] == "rows: price: Too high. name: Missing."
    assert error(response)["details"]["name"] == ["Missing."]


def test_what_is_wrong_with_no_field_in_particular_is_an_object_too(member):
    assert validation_message(["Too late.", "Too dear."]) == "Too late. Too dear."


def test_a_stranger_may_not_write(client):
    response = client.post("/api/v1/writable/", "{}", content_type="application/json")
    assert (response.status_code, error(response)["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Token"


def test_a_session_does_not_write_without_its_token_against_forgery():
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("member"))
    response = client.post("/api/v1/writable/", "{}", content_type="application/json")
    assert (response.status_code, error(response)["code"]) == (403, "permission_denied")
    response = client.post("/api/v1/nothing/", "{}", content_type="application/json")
    assert (response.status_code, error(response)["code"]) == (404, "not_found")


def test_a_write_without_the_slash_keeps_its_method(member):
    assert member.get("/api/v1/health").status_code == 301
    assert member.post("/api/v1/health").status_code == 308


def test_a_browser_is_shown_a_refusal_of_the_browsable_api(client):
    response = client.get("/api/v1/markets/NONE/", headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert "not_found" in response.text


@pytest.mark.urls("kalshi_insights.urls")
def test_the_schema_tells_what_may_go_wrong_at_every_address(client):
    schema = client.get("/api/v1/schema/", headers={"Accept": "application/json"}).json()
    assert schema["components"]["schemas"]["Error"]["required"] == ["code", "message", "details"]
    for operations in schema["paths"].values():
        for operation in operations.values():
            assert {"400", "401", "429", "500"} <= set(operation["responses"])
    assert "404" in schema["paths"]["/api/v1/markets/{ticker}/"]["get"]["responses"]
