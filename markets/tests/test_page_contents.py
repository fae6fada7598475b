"""Pages of a sweep: which names they showed, as the difference from an earlier sweep."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from markets.pages.contents import encode_page, names_of, places_of, unchanged

NAMES = st.text(alphabet="ABCÄ-.", max_size=4)
PAGES = st.lists(st.lists(NAMES, max_size=6), max_size=5)


def written(pages: list[list[str]], before: list[list[str]]) -> bytes:
    places = places_of(before)
    return b"".join(encode_page(page, places) for page in pages)


@given(before=PAGES, pages=PAGES)
def test_every_page_is_read_as_it_was_written(before, pages):
    contents = written(pages, before)
    assert names_of(contents, list(chain.from_iterable(before))) == pages


@given(pages=st.lists(st.lists(st.integers(0, 10**6).map(str), max_size=6), max_size=5))
def test_pages_as_before_are_recognised(pages):
    names = list(chain.from_iterable(pages))
    if len(set(names)) == len(names):
        # Names that follow each other on two pages are two runs, one on each.
        assert written(pages, pages) == unchanged(pages)


def test_a_page_that_is_as_before_takes_a_few_bytes():
    listing = [[f"KXEVENT-{n}-{m}" for m in range(200)] for n in range(50)]
    assert len(written(listing, listing)) < 50 * 6


def test_an_event_that_came_and_one_that_went_take_little_more():
    names = [f"KXEVENT-{n}" for n in range(10_000)]
    before = [names[n : n + 200] for n in range(0, 10_000, 200)]
    moved = [*names[:3_210], "KXNEW-1", *names[3_210:7_000], *names[7_001:]]
    pages = [moved[n : n + 200] for n in range(0, 10_000, 200)]
    assert len(written(pages, before)) < 50 * 6 + 30
