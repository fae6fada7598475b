"""The client's address, and the scheme and host it asked for, as our own proxies forward them.

Each of the `TRUSTED_PROXIES` proxies before the site appends the address of its peer to
X-Forwarded-For. So that many entries, counted from the end, are the word of our proxies; whoever
sends a request may have written those before them. What is believed is put where everything else
looks for it: the address into REMOTE_ADDR, scheme and host into headers that Django's settings
name. The headers as they were sent are removed, so that no library believes more of them.
"""

from collections.abc import Callable
from ipaddress import ip_address

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

FOR, PROTO, HOST = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"
REMOVED = (
    *(FOR, PROTO, HOST, "HTTP_X_FORWARDED_PORT", "HTTP_FORWARDED", "HTTP_X_REAL_IP"),
    *("HTTP_CLIENT_IP", "HTTP_X_CLIENT_IP", "HTTP_CF_CONNECTING_IP", "HTTP_TRUE_CLIENT_IP"),
)


def trusted_proxies(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        sent = {name: request.META.pop(name, "") for name in REMOVED}
        if settings.TRUSTED_PROXIES:
            believe(request, sent)
        with structlog.contextvars.bound_contextvars(ip=client_address(request)):
            return get_response(request)

    return middleware


def client_address(request: HttpRequest) -> str:
    """The address that a request came from; "" where the server does not know it.

    Limits, locks and logs all ask here. Behind proxies it is right only after the middleware.
    """
    address: str = request.META.get("REMOTE_ADDR") or ""
    return address


def believe(request: HttpRequest, sent: dict[str, str]) -> None:
    if address := without_port(forwarded(sent[FOR])):
        request.META["REMOTE_ADDR"] = address
    if (scheme := forwarded(sent[PROTO]).lower()) in ("http", "https"):
        request.META[PROTO] = scheme
    # Django compares it with ALLOWED_HOSTS.
    if host := forwarded(sent[HOST]):
        request.META[HOST] = host


def forwarded(header: str) -> str:
    """The entry of a forwarding header that the outermost of our proxies wrote.

    Where there are fewer entries than proxies, the first one is: all are ours.
    """
    entries = [entry.strip() for entry in header.split(",")]
    return entries[-min(settings.TRUSTED_PROXIES, len(entries))]


def without_port(entry: str) -> str:
    """An address without the port that some proxies append; "" for what is no address."""
    plain, bracket, _ = entry.removeprefix("[").partition("]")
    for address in (plain, "" if bracket else plain.rpartition(":")[0]):
        try:
            return str(ip_address(address))
        except ValueError:
            continue
    return ""
