"""Match what a person says of files with the header of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kalshi_insights.bad_input import BadInput
from markets.importing.reading.description import Description
from markets.importing.reading.fields import (
    FIELDS,
    LEVEL_FIELDS,
    NEEDED,
    NO_SIDE,
    PAIRS,
    SIZE_FIELDS,
)
from markets.importing.reading.presets import PRESETS, Layout
from markets.importing.reading.side_names import check_sides, plain
from markets.kalshi.fields import fits_ticker
from markets.models.imports import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class FileShape:
    """Tells how one file is to be read. Without a unit, prices are taken for dollars and without a
    scale for those of YES, until the file shows that they cannot be."""

    kind: Kind
    columns: Mapping[str, str]
    unit: str = ""
    scale: str = ""
    time_zone: str = ""
    time_format: str = ""
    ticker: str = ""  # of all rows
    only: tuple[str, tuple[str, ...]] | None = None  # a column, and its words in rows to be read
    changes: str = ""  # the word of these in rows that change one level of a book

    @property
    def read(self) -> list[str]:
        """The columns of the file that are read."""
        needed = [*self.columns.values(), *([self.only[0]] if self.only else [])]
        return list(dict.fromkeys(needed))

    @property
    def has_sizes(self) -> bool:
        return bool(self.columns.keys() & SIZE_FIELDS.keys())

    def as_said(self) -> dict[str, Any]:
        """Return what is stored with an import, as JSON has it."""
        said = {
            "columns": dict(self.columns),
            "unit": self.unit or "dollars",
            "scale": self.scale or "yes",
            "time_zone": self.time_zone,
            "time_format": self.time_format,
            "ticker": self.ticker,
            "only": f"{self.only[0]}={','.join(self.only[1])}" if self.only else "",
        }
        return {name: value for name, value in said.items() if value}


def shape_of(file: str, name: str, header: Sequence[str], said: Description) -> FileShape:
    """Return the shape of a file; `name` is the file's without folder and ending.

    Raises BadInput, which names the flag that settles it.
    """
    layout = _layout(file, header, said)
    columns = _columns(_found(header, said.kind, layout), _stated(file, header, said))
    ticker = _ticker(name, said)
    if ticker:
        columns.pop("ticker", None)
    shape = FileShape(
        kind=said.kind,
        columns=_without_unknown_sizes(columns, said, file),
        unit=said.unit or layout.unit,
        scale=said.scale,
        time_zone=said.time_zone or layout.time_zone,
        time_format=said.time_format or layout.time_format,
        ticker=ticker,
        only=layout.only,
        changes=layout.changes,
    )
    _check(file, header, shape)
    check_sides(
        file, kind=shape.kind, columns=shape.columns, scale=shape.scale, stated=said.columns
    )
    return shape


def _ticker(name: str, said: Description) -> str:
    if said.ticker_from_name and not fits_ticker(name):
        raise BadInput("--ticker-from-name", f"{name!r} is not a ticker")
    return name if said.ticker_from_name else said.ticker


def _layout(file: str, header: Sequence[str], said: Description) -> Layout:
    """Return the layout of a preset that this file has; without a preset, one that says nothing."""
    if not said.preset:
        return Layout(said.kind, {}, needs=())
    layouts = [each for each in PRESETS[said.preset] if each.kind == said.kind]
    if not layouts:
        kinds = ", ".join(dict.fromkeys(each.kind for each in PRESETS[said.preset]))
        raise BadInput("--preset", f"{said.preset} has no {said.kind}, but {kinds}")
    stated = {*said.columns}
    for layout in layouts:
        needs = {layout.columns[each] for each in layout.needs if each not in stated}
        if layout.only:
            needs.add(layout.only[0])
        if needs <= {*header}:
            return layout
    missing = sorted({layouts[0].columns[each] for each in layouts[0].needs} - {*header})
    raise BadInput(
        "--preset", f"{file} has no column {', '.join(missing)}, which {said.preset} has"
    )


def _found(header: Sequence[str], kind: Kind, layout: Layout) -> dict[str, str]:
    """Return the columns of a layout, or those that usual names tell."""
    if layout.columns:
        return {each: column for each, column in layout.columns.items() if column in header}
    by_name = {plain(name): name for name in reversed(header)}
    found, taken = {}, set()
    for each, names in FIELDS[kind].items():
        column = next((by_name[n] for n in names if n in by_name and by_name[n] not in taken), "")
        found[each] = column
        taken.add(column)
    return found


def _columns(found: Mapping[str, str], stated: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each field; one that is stated is of no other field by its name."""
    others = {each: column for each, column in found.items() if column not in stated.values()}
    return {each: column for each, column in {**others, **stated}.items() if column}


def _stated(file: str, header: Sequence[str], said: Description) -> Mapping[str, str]:
    for column in said.columns.values():
        if column and column not in header:
            raise BadInput("--column", f"{file} has no column {column!r}: {', '.join(header)}")
    return said.columns


def _without_unknown_sizes(
    columns: Mapping[str, str], said: Description, file: str
) -> Mapping[str, str]:
    if said.sizes == "known" and not columns.keys() & SIZE_FIELDS.keys():
        raise BadInput("--sizes", f"{file} has no column of sizes; name it: --column bid_size=NAME")
    if said.sizes == "unknown":
        return {each: column for each, column in columns.items() if each not in SIZE_FIELDS}
    return columns


def _check(file: str, header: Sequence[str], shape: FileShape) -> None:
    """Raise BadInput for what is missing, and for what contradicts itself."""
    groups = [*([] if shape.ticker else [("ticker",)]), *NEEDED[shape.kind]]
    for group in groups:
        if not shape.columns.keys() & {*group}:
            wanted = " or ".join(group)
            hint = " or give --ticker or --ticker-from-name" if group == ("ticker",) else ""
            raise BadInput(
                "--column",
                f"{file} has no column for {wanted} that is known by its name; name it:"
                f" --column {group[0]}=NAME{hint}; the columns are {', '.join(header)}",
            )
    for one, other in PAIRS:
        if (one in shape.columns) != (other in shape.columns):
            has, lacks = (one, other) if one in shape.columns else (other, one)
            raise BadInput("--column", f"{file} has {has} but no {lacks}")
    of_changes = sorted(shape.columns.keys() & {*LEVEL_FIELDS})
    if of_changes and not shape.changes:
        raise BadInput(
            "--column", f"{of_changes[0]} is a field of a preset that has changes of books"
        )
    of_no = sorted(shape.columns.keys() & {*NO_SIDE})
    if shape.scale == "no" and of_no:
        raise BadInput(
            "--scale",
            f"{', '.join(of_no)} is of the NO side by its name; leave it out with"
            f" --column {of_no[0]}= or leave out --scale no",
        )
