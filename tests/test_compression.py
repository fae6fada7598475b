"""Compression of pages, of JSON and of static files."""

import gzip
import re

import brotli  # type: ignore[import-untyped]
import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path

from kalshi_insights.middleware.compression import MAX_RANDOM_BYTES, accepted_encodings
from markets.tests.factories import a_market

ROWS = [{"ticker": f"KXFED-{n}", "yes_bid": "0.4200"} for n in range(100)]
BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd"}
STYLES = "/static/css/app.css"


def rows(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"results": ROWS}, headers={"ETag": '"one"'})


def columns(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"results": ROWS}, content_type="application/vnd.columns+json")


def few(request: HttpRequest) -> HttpResponse:
    return JsonResponse({})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"x" * 5_000] * 3), content_type="text/html")


def image(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"0" * 5_000, content_type="image/png")


urlpatterns = [
    path("api/v1/rows/", rows),
    path("rows/", rows),
    path("api/v1/few/", few),
    path("api/v1/columns/", columns),
    path("stream/", stream),
    path("image/", image),
    path("", include("kalshi_insights.urls")),
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class TestJson:
    @pytest.mark.parametrize(
        ("offered", "used", "undo"),
        [
            ("gzip, deflate", "gzip", gzip.decompress),
            ("gzip, deflate, br", "br", brotli.decompress),
            ("br;q=0, gzip;q=0.5", "gzip", gzip.decompress),
        ],
    )
    @pytest.mark.parametrize("address", ["/api/v1/rows/", "/rows/"])
    def test_it_comes_as_small_as_the_asker_can_read(self, client, address, offered, used, undo):
        plain = client.get(address)
        small = client.get(address, headers={"Accept-Encoding": offered})
        assert small["Content-Encoding"] == used
        assert undo(small.content) == plain.content
        assert int(small["Content-Length"]) == len(small.content) < len(plain.content) / 5
        assert (plain["ETag"], small["ETag"]) == ('"one"', 'W/"one"')
        assert "Accept-Encoding" in plain["Vary"]
        assert "Accept-Encoding" in small["Vary"]

    def test_columns_are_json_too(self, client):
        assert client.get("/api/v1/columns/", headers=BROWSER)["Content-Encoding"] == "br"


class TestPages:
    @pytest.mark.parametrize("address", ["/markets/", "/accounts/sign-in/", "/api/v1/markets/"])
    def test_they_come_by_gzip(self, client, address):
        a_market()
        page = client.get(address, headers={"Accept": "text/html", **BROWSER})
        assert page["Content-Type"].startswith("text/html")
        assert page["Content-Encoding"] == "gzip"
        assert "</html>" in gzip.decompress(page.content).decode()
        assert int(page["Content-Length"]) == len(page.content)
        assert "Accept-Encoding" in page["Vary"]

    def test_they_come_as_they_are_to_who_knows_no_gzip(self, client):
        for offered in ("", "identity", "br", "gzip;q=0"):
            page = client.get("/markets/", headers={"Accept-Encoding": offered})
            assert "Content-Encoding" not in page.headers
            assert "</html>" in page.content.decode()

    def test_their_lengths_tell_nothing_of_their_secrets(self, client):
        pages = [client.get("/accounts/sign-in/", headers=BROWSER).content for _ in range(30)]
        htmls = [gzip.decompress(page).decode() for page in pages]
        token = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
        assert len({token.findall(html)[0] for html in htmls}) == 30
        # The same page again, with the same token, would have another length.
        names = {page[10 : page.index(b"\0", 10)] for page in pages}
        assert len(names) > 10
        assert max(map(len, names)) <= MAX_RANDOM_BYTES


class TestStaticFiles:
    @pytest.mark.parametrize(
        ("offered", "used", "undo"),
        [
            ("gzip, deflate, br", "br", brotli.decompress),
            ("gzip", "gzip", gzip.decompress),
            ("identity", None, bytes),
        ],
    )
    def test_those_of_the_source_folders_come_compressed(self, client, offered, used, undo):
        response = client.get(STYLES, headers={"Accept-Encoding": offered})
        body = response.content
        assert response.headers.get("Content-Encoding") == used
        assert undo(body) == (settings.BASE_DIR / "static/css/app.css").read_bytes()
        assert int(response["Content-Length"]) == len(body)
        assert response["Content-Type"] == 'text/css; charset="utf-8"'
        assert "Accept-Encoding" in response["Vary"]

    def test_one_that_was_changed_is_another_one(self, client, settings, tmp_path):
        settings.STATICFILES_DIRS = [tmp_path]
        settings.WHITENOISE_AUTOREFRESH = True
        for content in (b"a { color: red } " * 200, b"a { color: blue } " * 200):
            (tmp_path / "fresh.css").write_bytes(content)
            response = client.get("/static/fresh.css", headers=BROWSER)
            assert brotli.decompress(response.content) == content

    def test_what_a_browser_has_is_not_sent_again(self, client):
        first = client.get(STYLES, headers=BROWSER)
        assert "ETag" not in first.headers
        known = {"If-Modified-Since": first["Last-Modified"]}
        assert client.get(STYLES, headers=BROWSER | known).status_code == 304

    def test_parts_and_heads_of_files_and_fonts_come_as_they_are(self, client):
        part = client.get(STYLES, headers=BROWSER | {"Range": "bytes=0-1999"})
        assert (part.status_code, part["Content-Length"]) == (206, "2000")
        head = client.head(STYLES, headers=BROWSER)
        font = client.get("/static/vendor/inter-latin-wght-normal.woff2", headers=BROWSER)
        for response in (part, head, font):
            response.close()
            assert response.status_code < 300
            assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("address", ["/api/v1/few/", "/stream/", "/image/"])
def test_little_answers_streams_and_images_come_as_they_are(client, address):
    response = client.get(address, headers=BROWSER)
    assert response.status_code == 200
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip;q=0, br", {"br"}),
        ("GZIP ; q=0.000", set()),
        ("gzip;q=0.001", {"gzip"}),
        ("identity", {"identity"}),
    ],
)
def test_an_encoding_of_no_weight_is_refused(header, expected):
    assert accepted_encodings(header) == expected
