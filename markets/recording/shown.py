"""The names that sweeps showed, written with them page by page.

They are written as the difference from an earlier sweep, whose names the process remembers from run
to run. Where it does not, because it has just started or another process wrote the newest sweep,
they are written in full, and so they are at the beginning of each hour: whoever reads a window of
time reads whole hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markets.models import Sweep
from markets.pages.contents import encode_page, places_of, unchanged

Pages = list[list[str]]


@dataclass(frozen=True, slots=True)
class KnownSweep:
    """An earlier sweep that others are based on."""

    started_at: datetime
    pages: Pages
    places: Mapping[str, int]


@dataclass(slots=True)
class ShownNames:
    """The names of one sweep; `pages` is None where an earlier run read some that are forgotten."""

    based_on: KnownSweep | None
    pages: Pages | None

    def add_page(self, sweep: Sweep, names: Sequence[str]) -> None:
        """Write the names of the page that was added to the sweep last."""
        places: Mapping[str, int] = {}
        if self.pages is not None:
            self.pages.append(list(names))
            if self.based_on:
                places, sweep.based_on = self.based_on.places, self.based_on.started_at
        sweep.contents = bytes(sweep.contents or b"") + encode_page(names, places)

    def finish(self, sweep: Sweep) -> None:
        """Write nothing where the whole sweep is as the one that it is based on."""
        if sweep.complete and self.based_on and sweep.contents == unchanged(self.based_on.pages):
            sweep.contents = b""

    def base_for_next(self, sweep: Sweep) -> KnownSweep | None:
        """Return the sweep that the one after this is based on.

        A sweep that did not come to its end is a poor base, unless there is no better one.
        """
        if self.pages is None or (self.based_on and not sweep.contents):
            return self.based_on
        is_short = self.based_on and size_of(self.pages) < size_of(self.based_on.pages)
        if is_short and not sweep.complete:
            return self.based_on
        return KnownSweep(sweep.started_at, self.pages, places_of(self.pages))


def size_of(pages: Pages) -> int:
    return sum(map(len, pages))


class NamesMemory:
    """The names in each tier's newest sweep, remembered once the sweep is in the database."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[Sweep, ShownNames]] = {}

    def remember(self, sweep: Sweep, names: ShownNames) -> None:
        self._newest[sweep.tier] = sweep, names

    def begin(self, sweep: Sweep, *, after: Sweep | None) -> ShownNames:
        """Return the names of a new sweep, which follows the newest one in the database."""
        sweep.contents = b""
        known = self._known(after)
        base = known[1].base_for_next(known[0]) if known else None
        if base and hour_of(base.started_at) != hour_of(sweep.started_at):
            base = None
        return ShownNames(base, [])

    def resume(self, sweep: Sweep) -> ShownNames:
        """Return the names of a sweep that an earlier run began."""
        known = self._known(sweep)
        if known and known[1].pages is not None and len(known[1].pages) == len(sweep.pages):
            return ShownNames(known[1].based_on, [*known[1].pages])
        return ShownNames(None, None)

    def _known(self, sweep: Sweep | None) -> tuple[Sweep, ShownNames] | None:
        known = self._newest.get(sweep.tier) if sweep else None
        if known is None or sweep is None:
            return None
        same = (known[0].pk, known[0].started_at) == (sweep.pk, sweep.started_at)
        return known if same else None


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


# Each process has one, since runs follow each other in it.
memory = NamesMemory()
