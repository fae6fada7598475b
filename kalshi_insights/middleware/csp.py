"""The Content-Security-Policy of every page."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{inline}; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
# The only exception: the templates of Swagger and of the browsable API have inline styles.
INLINE_STYLE = "/api/"


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        inline = " 'unsafe-inline'" if request.path.startswith(INLINE_STYLE) else ""
        response.headers.setdefault("Content-Security-Policy", POLICY.format(inline=inline))
        return response

    return middleware
