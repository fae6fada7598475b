"""Helpers for pages that answer htmx with a fragment of themselves, at the same address."""

from django.http import HttpRequest, QueryDict
from django.views.decorators.vary import vary_on_headers

# Decorates a view whose response depends on the fragment that htmx asks for.
serves_fragments = vary_on_headers("HX-Request", "HX-Target")


def htmx_target(request: HttpRequest) -> str:
    """The id of the element that htmx will fill; empty where the whole page is requested."""
    target: str = request.headers.get("HX-Target", "")
    return target if request.headers.get("HX-Request") else ""


def template_for(request: HttpRequest, template: str, *fragments: str) -> str:
    """The name of the template, or of that one of its fragments which htmx asks for."""
    target = htmx_target(request)
    return f"{template}#{target}" if target in fragments else template


def page_number(query: QueryDict) -> int:
    """The page that a query asks for; 1 where it names none."""
    text = query.get("page", "")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 7 else 1
