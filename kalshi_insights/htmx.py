"""Helpers for pages that answer htmx with a fragment of themselves, at the same address.

An open page refreshes its fragments every few seconds. With each request it names the tag of the
answer it had before (`static/js/app.js`), and gets 304 where the fragment is still the same. Of a
fragment in parts, such as rows, it gets those that have changed. What time alone changes, such as
an age, stands in a `<time>` element with an id, which comes by itself where nothing else differs.
"""

import base64
import hashlib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from http import HTTPStatus
from itertools import compress
from typing import Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.cache import get_conditional_response
from django.views.decorators.vary import vary_on_headers

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]

# Letters of six bits: one change in seventy thousand million goes unnoticed, until the next.
TAG_LETTERS = 6
TAG = re.compile(r'W/"([\w-]*)"')
TIME = re.compile(r"<time .*?</time>", re.DOTALL)


def serves_fragments(view: View[P]) -> View[P]:
    """Decorate a view whose response depends on the fragment that htmx asks for.

    A fragment gets a tag. No cache keeps it: the page that asked for it does.
    """

    @vary_on_headers("HX-Request", "HX-Target")
    @wraps(view)
    def served(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        response = view(request, *args, **kwargs)
        is_fragment = request.method == "GET" and htmx_target(request)
        if not is_fragment or response.status_code != HTTPStatus.OK:
            return response
        response.headers["Cache-Control"] = "no-store"
        response.headers.setdefault("ETag", f'W/"{tag_of(response.text)}"')
        tag = response.headers["ETag"]
        return get_conditional_response(request, etag=tag, response=response) or response

    return served


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


# --- Refreshing in parts --------------------------------------------------------------------------


def refreshed(request: HttpRequest, parts: Iterable[str]) -> HttpResponse:
    """Answer with a fragment that is made of parts, each of them one element with an id.

    Where the request names parts that the page has already, it gets only those that differ, for
    htmx to put in their places.
    """
    parts = [part.strip() for part in parts]
    times = ["".join(TIME.findall(part)) for part in parts]
    tags = [tag_of(TIME.sub("", part)) for part in parts]
    held = held_tags(request)
    if held and len(held) == len(tags):
        is_held = [tag == other for tag, other in zip(tags, held, strict=True)]
        response = HttpResponse(difference(parts, times, is_held))
        response.headers["HX-Reswap"] = "none"
    else:
        response = HttpResponse("".join(parts))
    response.headers["ETag"] = f'W/"{"".join([*tags, tag_of("".join(times))])}"'
    return response


def difference(parts: Sequence[str], times: Sequence[str], is_held: Sequence[bool]) -> str:
    """The parts that a page does not have, and of the others what time alone changes."""
    changed = compress(parts, map(operator.not_, is_held))
    passing = TIME.sub(lambda time: in_place(time[0]), "".join(compress(times, is_held)))
    return f"<template>{''.join(map(in_place, changed))}</template>{passing}"


def in_place(element: str) -> str:
    """The element, marked for htmx to put it in the place of the one with its id."""
    return element.replace(" ", ' hx-swap-oob="true" ', 1)


def tag_of(content: str) -> str:
    digest = hashlib.blake2b(content.encode()).digest()
    return base64.urlsafe_b64encode(digest)[:TAG_LETTERS].decode()


def held_tags(request: HttpRequest) -> list[str]:
    """The tags of the parts that a page has, by the tag of the answer it had before."""
    tag = TAG.fullmatch(request.headers.get("If-None-Match", ""))
    letters = tag[1] if tag else ""
    # The last of them is that of all times.
    starts = range(0, len(letters) - TAG_LETTERS, TAG_LETTERS)
    return [letters[start : start + TAG_LETTERS] for start in starts]
