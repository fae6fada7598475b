"""Names followed through sweeps: the instants of the pages that showed them, and no others."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from markets.pages.contents import encode_page, places_of, unchanged
from markets.pages.followed_names import HOUR, FollowedNames, StoredSweep

NAMES = "ABCDEF"
PAGES = st.lists(st.lists(st.sampled_from(NAMES), max_size=4), max_size=4)
# What the pages show, and when the sweep began: clocks step back, and hours pass.
SWEEPS = st.lists(st.tuples(PAGES | st.none(), st.integers(0, 3 * 3600)), max_size=8)


def stored(sweeps: list[tuple[list[list[str]] | None, int]]) -> list[StoredSweep]:
    """Write sweeps as the recorder does; one without pages is the same as the one before."""
    found: list[StoredSweep] = []
    before: tuple[int, list[list[str]]] | None = None
    for pages, second in sweeps:
        start = second * 1_000_000 + len(found)
        if before is None or start // HOUR != before[0] // HOUR or start == before[0]:
            before = None
        own = pages if pages is not None else before[1] if before else []
        places = places_of(before[1]) if before else {}
        contents = b"".join(encode_page(page, places) for page in own)
        if before and contents == unchanged(before[1]):
            contents = b""
        instants = [start + 10 * (n + 1) for n in range(len(own))]
        found.append(StoredSweep(start, before[0] if before else None, contents, instants))
        before = start, own
    return found


def looks(names: str, sweeps: list[StoredSweep]) -> dict[str, set[int]]:
    followed = FollowedNames({name: n for n, name in enumerate(names)})
    for sweep in sweeps:
        followed.read(sweep)
    spans = followed.spans()
    for instants in followed.streams:
        assert list(instants) == sorted(set(instants))
    found: dict[str, set[int]] = {name: set() for name in names}
    for name, since, until, stream in zip(*spans, strict=True):
        stay = {at for at in followed.streams[stream] if since <= at <= until}
        assert stay
        found[names[name]] |= stay
    return found


def shown(names: str, sweeps: list[tuple[list[list[str]] | None, int]]) -> dict[str, set[int]]:
    """The same, told anew, page by page."""
    found: dict[str, set[int]] = {name: set() for name in names}
    before: list[list[str]] = []
    hour = -1
    for n, (pages, second) in enumerate(sweeps):
        start = second * 1_000_000 + n
        own = pages if pages is not None else before if start // HOUR == hour else []
        for number, name in ((p, name) for p, page in enumerate(own) for name in page):
            if name in found:
                found[name].add(start + 10 * (number + 1))
        before, hour = own, start // HOUR
    return found


@given(sweeps=SWEEPS)
def test_a_name_was_observed_by_the_pages_that_showed_it(sweeps):
    assert looks("ABC", stored(sweeps)) == shown("ABC", sweeps)


def test_a_name_that_stays_on_its_page_is_one_span():
    listing = [["A", "B"], ["C", "D"]]
    followed = FollowedNames({"C": 0, "A": 1})
    for sweep in stored([(listing, second) for second in range(0, 300, 30)]):
        followed.read(sweep)
    assert [len(instants) for instants in followed.streams] == [10, 10]
    assert sorted(followed.spans().names.tolist()) == [0, 1]


def test_a_sweep_that_is_based_on_an_unknown_one_tells_nothing():
    first, second, third = stored([([["A"], ["B"]], 0), ([["A"], ["B"]], 30), ([["B"]], 60)])
    assert looks("AB", [second, third]) == {"A": set(), "B": set()}
    assert looks("AB", [first, third])["B"] == {first.instants[1]}


def test_sweeps_of_an_hour_are_read_by_themselves():
    sweeps = stored([([["A"]], 3_590), ([["A"]], 3_600), (None, 3_630)])
    assert sweeps[1].based_on is None
    assert looks("A", sweeps[1:])["A"] == set(chain.from_iterable(s.instants for s in sweeps[1:]))
