"""The side that the name of a column tells, so that prices of NO are not taken for those of YES."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kalshi_insights.bad_input import BadInput
from markets.importing.reading.fields import FIELDS, NO_SIDE, OF_SCALE
from markets.models.imports import Kind

# Where one word ends and another begins: `noBid`, and `NOBid`.
JOINTS = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
# Words that a side may be written together with, as in `nobid` and `askno`.
BESIDE = "bids?|asks?|offers?|prices?|last|sizes?|qty|buy|sell"
SIDES = {side: re.compile(rf"(^|_)({BESIDE})*{side}({BESIDE})*(_|$)") for side in ("yes", "no")}
OFFERS = ("bid", "ask")


class Mapped(NamedTuple):
    """A column of a file that stands for a field."""

    field: str
    column: str

    @property
    def side(self) -> str:
        """The side that the column's name tells; empty where it has the word of neither or both."""
        written = (plain(self.column), plain(self.column.lower()))
        told = [side for side, pattern in SIDES.items() if any(map(pattern.search, written))]
        return told[0] if len(told) == 1 else ""

    @property
    def offers(self) -> tuple[str, ...]:
        """The offers that the column may be of by its name: where it tells none, all."""
        words = plain(self.column)
        return tuple(each for each in OFFERS if each in words) or OFFERS

    @property
    def is_same_size(self) -> bool:
        """True for the size of one side's bid as that of the other side's ask, which it is."""
        return "size" in self.field and self.offers[0] not in self.field

    def own_fields(self, kind: Kind) -> list[str]:
        """The fields that the column may stand for by its name."""
        prefix = "no_" if self.side == "no" else ""
        offer = next((each for each in OFFERS if each in self.field), "")
        plain_field = self.field.removeprefix("no_")
        found = [
            prefix + (plain_field.replace(offer, each) if offer else plain_field)
            for each in self.offers
        ]
        return [each for each in dict.fromkeys(found) if each in FIELDS[kind]]


def plain(name: str) -> str:
    """Write a name in small letters with underscores, as usual names are."""
    return re.sub(r"[^a-z0-9_]+", "_", re.sub(JOINTS, "_", name).lower()).rstrip("_")


def check_sides(
    file: str, *, kind: Kind, columns: Mapping[str, str], scale: str, stated: Mapping[str, str]
) -> None:
    """Raise BadInput for a column whose name says that it is of the other side than its field.

    `stated` are the columns that somebody named.
    """
    for each in _contradictions(columns, scale):
        if each.side == "no":
            raise BadInput("--column", f"{file}: {_no_for_yes(each, kind)}")
        if each.field in NO_SIDE and scale != "yes":
            raise BadInput("--column", f"{file}: {_yes_for_no(each, kind)}")
        if each.field in OF_SCALE and stated.get(each.field) != each.column:
            raise BadInput("--scale", f"{file}: {_yes_on_the_scale_of_no(each)}")


def _contradictions(columns: Mapping[str, str], scale: str) -> Iterator[Mapped]:
    """Yield the columns that are of one side by their name and of the other by their field."""
    sides = {**dict.fromkeys(OF_SCALE, scale or "yes"), **dict.fromkeys(NO_SIDE, "no")}
    for each in map(Mapped._make, columns.items()):
        wanted = sides.get(each.field, "")
        if wanted and each.side and each.side != wanted and not each.is_same_size:
            yield each


def _no_for_yes(each: Mapped, kind: Kind) -> str:
    remedies = [f"--column {own}={each.column}" for own in each.own_fields(kind)]
    remedies = remedies or [f"leave it out: --column {each.field}="]
    if each.field != "settlement_value":
        remedies.append("if all prices are of NO, give --scale no")
    return (
        f"{each.field}={each.column} would take the NO side for YES, as the column's name says;"
        f" {', or '.join(remedies)}"
    )


def _yes_for_no(each: Mapped, kind: Kind) -> str:
    remedies = [f"--column {own}={each.column}" for own in each.own_fields(kind)]
    return (
        f"{each.field}={each.column} would take the YES side for NO, as the column's name says;"
        f" {', or '.join([*remedies, 'if its name is wrong, give --scale yes'])}"
    )


def _yes_on_the_scale_of_no(each: Mapped) -> str:
    return (
        f"{each.column} is of the YES side by its name; leave out --scale no, or if its name is"
        f" wrong, say so: --column {each.field}={each.column}"
    )
