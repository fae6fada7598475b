"""Imports: one row for each file of somebody's own data, and what it brought of each market."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import F, Func, Max, Min, Q, Value

from markets.models.markets import Market
from markets.models.observations import array_of

# The permission that undoing needs.
UNDO_IMPORTS = "markets.undo_import"
# A row's sequence is its import's id before the line in the file.
LINE_BITS = 36
RowsOfImports = TypeVar("RowsOfImports", bound=models.QuerySet[Any])


def rows_of(imports: Iterable[int]) -> Q:
    """Return the condition on `sequence` that a row is of one of these imports."""
    named = Q(pk__in=[])
    for id in imports:
        first = id << LINE_BITS
        named |= Q(sequence__gte=first, sequence__lt=first + (1 << LINE_BITS))
    return named


def of_finished_imports(rows: RowsOfImports) -> RowsOfImports:
    """Narrow rows to those of imports that are finished, not undone nor under way."""
    finished = Import.objects.in_state(ImportState.FINISHED).values("pk")
    numbered = rows.alias(import_number=F("sequence").bitrightshift(LINE_BITS))
    return numbered.filter(import_number__in=finished)


class Kind(models.TextChoices):
    """The kinds of rows that can be imported; a file has rows of one kind."""

    QUOTES = "quotes"
    BOOKS = "books"
    TRADES = "trades"
    SETTLEMENTS = "settlements"
    MARKETS = "markets"


class ImportState(models.TextChoices):
    """The stages of an import. Rows of one that is undone, even in part, are nobody's."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    UNDOING = "undoing"
    UNDONE = "undone"


class Recording(models.TextChoices):
    """The way in which the rows of a file were recorded, which says what they prove."""

    ON_CHANGE = "on-change", "whenever the quote changed"
    SAMPLED = "sampled", "at instants of their own"


UNFINISHED = (ImportState.RUNNING, ImportState.INTERRUPTED)
GONE = (ImportState.UNDOING, ImportState.UNDONE)
# The reasons why nothing uses the rows of an import that is not finished.
UNUSABLE: Mapping[str, str] = {
    ImportState.RUNNING: "is running",
    ImportState.INTERRUPTED: "was interrupted: import its file again, which goes on",
    ImportState.UNDOING: "is being undone: its data is gone",
    ImportState.UNDONE: "was undone: its data is gone",
}
UPSERT_SPANS = """
    INSERT INTO markets_importedspan AS known (import_row_id, market_id, first_at, last_at, rows)
    SELECT %s, market_id, first_at, last_at, rows
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::bigint[])
        AS new (market_id, first_at, last_at, rows)
    ON CONFLICT (import_row_id, market_id) DO UPDATE SET
        first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at), rows = known.rows + excluded.rows
"""


SELECT_TIMES = """
    SELECT market_id, kind, (extract(epoch FROM first_at) * 1000000)::bigint,
        (extract(epoch FROM last_at) * 1000000)::bigint,
        ((said->>'gap_after')::numeric * 1000000)::bigint,
        coalesce(said->>'recording' = 'on-change', false), import.id
    FROM markets_importedspan JOIN markets_import AS import ON import.id = import_row_id
    WHERE import.id = ANY(%s) AND market_id = ANY(%s::bigint[]) AND first_at < %s AND last_at >= %s
    ORDER BY import.id, market_id
"""


class ImportTaken(Exception):
    """Another process works on the file or on its import; this one has written nothing since."""

    @classmethod
    def of(cls, row: "Import") -> Self:
        return cls(f"Import {row.pk} was undone, or another process has gone on with it.")


class AlreadyImported(Exception):
    """The same file is imported already, and understood in the same way."""

    def __init__(self, row: "Import") -> None:
        self.row = row
        super().__init__(
            f"{row.file} is import {row.pk} already. Undo it first, to import the file anew."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFile:
    """A file to import, who imports it, and what was said of it.

    `said` is stored as it is. Read of it are `recording` and `gap_after`, `fee_type` and
    `fee_multiplier`.
    """

    kind: str
    name: str
    sha256: str
    size: int
    said: Mapping[str, Any] = field(default_factory=dict)
    user: User | None = None
    account: str = ""


class RowCounts(NamedTuple):
    """The numbers of rows of a batch: those written, refused, and left out as repeated."""

    rows: int
    refused: int = 0
    duplicates: int = 0


class MarketRows(NamedTuple):
    """The number of a market's rows in a batch, and the instants of the first and the last."""

    first_at: datetime
    last_at: datetime
    rows: int


class ImportedTime(NamedTuple):
    """The time of a market's rows in an import, in microseconds, and what these prove.

    After `gap_after` a row proves nothing more, None claims no gap. Recorded on change, a quote
    stands until the next row.
    """

    market_id: int
    kind: str
    first: int
    last: int
    gap_after: int | None
    on_change: bool
    import_id: int


class ImportQuerySet(models.QuerySet["Import"]):
    def of_file(self, file: ImportFile) -> "Import | None":
        """Return the newest import of the same content that was said to be the same."""
        same = self.filter(kind=file.kind, sha256=file.sha256, size=file.size, said=dict(file.said))
        return same.exclude(state__in=GONE).order_by("-pk").first()

    def of_same_content(self, file: ImportFile) -> Self:
        """Imports of the same content that were said to be something else, oldest first."""
        same = self.filter(kind=file.kind, sha256=file.sha256, size=file.size)
        return same.exclude(state__in=GONE).exclude(said=dict(file.said)).order_by("pk")

    def group_of(self, files: Iterable[ImportFile]) -> UUID:
        """Return the group of a command's files: the one that an earlier run of it has begun.

        All imports of that group are of these files; otherwise the group is a new one.
        """
        known = {row.pk: row for row in map(self.of_file, files) if row}
        for row in sorted(known.values(), key=lambda row: -row.pk):
            others = self.filter(group=row.group).exclude(state__in=GONE).exclude(pk__in=known)
            if not others.exists():
                return row.group
        return uuid4()

    def begin(self, file: ImportFile, *, group: UUID, at: datetime) -> "Import":
        """Return the import of a file: the one that was interrupted, or else a new one.

        Raises AlreadyImported where the same content was imported and said to be the same.
        """
        known = self.of_file(file)
        if known is None:
            return self.create(
                group=group,
                kind=file.kind,
                file=file.name,
                sha256=file.sha256,
                size=file.size,
                said=dict(file.said),
                user=file.user,
                account=file.account,
                started_at=at,
            )
        if known.state == ImportState.FINISHED:
            raise AlreadyImported(known)
        self.filter(pk=known.pk).update(state=ImportState.RUNNING)
        known.refresh_from_db()
        return known

    def advance(self, row: "Import", line: int) -> None:
        """Note at the beginning of a batch's transaction the line that its import comes to.

        Raises ImportTaken where another process has written since, or the import was undone.
        """
        ours = self.filter(pk=row.pk, line=row.line, state=ImportState.RUNNING)
        if not ours.update(line=line):
            raise ImportTaken.of(row)

    def end(self, row: "Import", state: ImportState, *, at: datetime) -> bool:
        """End a running import; return False where another process has written since."""
        ours = self.filter(pk=row.pk, line=row.line, state=ImportState.RUNNING)
        return bool(ours.update(state=state, finished_at=at))

    def add_counts(self, row: "Import", counts: RowCounts) -> None:
        """Add the rows of a batch to those of its import."""
        self.filter(pk=row.pk).update(
            rows=F("rows") + counts.rows,
            refused=F("refused") + counts.refused,
            duplicates=F("duplicates") + counts.duplicates,
        )

    def named(self, name: str) -> Self:
        """Return the import of an id, or all imports of a group."""
        if name.isascii() and name.isdigit() and len(name) < 10:
            return self.filter(pk=int(name))
        try:
            return self.filter(group=UUID(name))
        except ValueError:
            return self.none()

    def why_unusable(self, ids: Iterable[int]) -> dict[int, str]:
        """Return of which of these imports no rows can be used, each with the reason."""
        known = dict(self.filter(pk__in=list(ids)).values_list("pk", "state"))
        words = {id: UNUSABLE.get(known.get(id, ""), "is not on record") for id in ids}
        return {id: why for id, why in words.items() if known.get(id) != ImportState.FINISHED}

    def mark_undoing(self) -> int:
        """Mark imports for being undone, whatever has become of them; return how many."""
        return self.exclude(state=ImportState.UNDONE).update(state=ImportState.UNDOING)

    def note_use(self, ids: Sequence[int], user: str) -> None:
        """Note what uses imports, so that whoever undoes them is told."""
        unknown = self.filter(pk__in=list(ids)).exclude(used_by__contains=[user])
        appended = Func(
            F("used_by"), Value([user], ArrayField(models.TextField())), function="array_cat"
        )
        unknown.update(used_by=appended)

    def newest_first(self) -> Self:
        return self.select_related("user").order_by("-pk")

    def in_state(self, state: str) -> Self:
        return self.filter(state=state)


class Import(models.Model):
    """One imported file: who brought it, what was said of it, and how far it has come.

    The imports of one command share a `group`.
    """

    group = models.UUIDField(default=uuid4, db_index=True)
    kind = models.CharField(max_length=20, choices=Kind)
    file = models.TextField(help_text="The name of the file as it was given.")
    sha256 = models.CharField(max_length=64, help_text="SHA-256 of the file's content.")
    size = models.BigIntegerField(help_text="Bytes.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="imports",
        help_text="Null for an import by command.",
    )
    account = models.CharField(
        max_length=200, blank=True, help_text="The system's account that ran the command."
    )
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    said = models.JSONField(
        default=dict,
        help_text="What was said of the file: mapping, preset, unit, zone, recording, fees.",
    )
    state = models.CharField(
        max_length=20, choices=ImportState, default=ImportState.RUNNING, db_index=True
    )
    rows = models.BigIntegerField(default=0, help_text="Rows written.")
    refused = models.BigIntegerField(default=0, help_text="Rows that could not be read.")
    duplicates = models.BigIntegerField(
        default=0, help_text="Rows that repeat another one, or are on record already."
    )
    line = models.BigIntegerField(default=0, help_text="All lines up to it are written.")
    used_by = ArrayField(models.TextField(), default=list, blank=True)

    objects = ImportQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        permissions = [("undo_import", "Can undo imports")]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="import_kind_known"),
            models.CheckConstraint(
                condition=Q(state__in=ImportState.values), name="import_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"import {self.pk} of {self.file}"

    @property
    def name(self) -> str:
        """The name of the file, without the folder that it was in."""
        return Path(self.file).name

    @property
    def first_sequence(self) -> int:
        """The sequence of line 0; those of the import's rows follow it."""
        return self.pk << LINE_BITS

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """The instants of the first and the last row; None where there is none."""
        found = self.spans.aggregate(first=Min("first_at"), last=Max("last_at"))
        return found["first"], found["last"]

    @property
    def gap_after(self) -> timedelta | None:
        """The time after which a row proves nothing more; None claims no gap."""
        seconds = self.said.get("gap_after")
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def by(self) -> str:
        """The user who imported it, or the system's account that ran the command."""
        return self.user.get_username() if self.user else self.account


class ImportedSpanQuerySet(models.QuerySet["ImportedSpan"]):
    def within(self, start: datetime, end: datetime) -> Self:
        """Spans of rows from `start` on and before `end`."""
        return self.filter(first_at__lt=end, last_at__gte=start)

    def of_quotes(self) -> Self:
        """The spans of imports that have quotes."""
        return self.filter(import_row__kind__in=(Kind.QUOTES, Kind.BOOKS))

    def of_import(self, id: int, market: Market) -> "ImportedSpan | None":
        """Return the span of a market's quotes in an import; None where that has none of them."""
        return self.of_quotes().filter(import_row=id, market=market).first()

    def finished(self) -> Self:
        """The spans of imports that can be used."""
        return self.filter(import_row__state=ImportState.FINISHED)

    def add(self, row: Import, found: Mapping[int, MarketRows]) -> None:
        """Add the rows of a batch, by market id."""
        if not found:
            return
        columns = zip(*found.values(), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(UPSERT_SPANS, [row.pk, list(found), *map(list, columns)])

    def imports_of(self, ids: Sequence[int]) -> list[int]:
        """Return the finished imports that have quotes of any of these markets."""
        found = self.of_quotes().finished().filter(market__in=ids).order_by("import_row")
        return list(found.values_list("import_row", flat=True).distinct())

    def times(
        self, imports: Sequence[int], ids: Sequence[int], start: datetime, end: datetime
    ) -> list[ImportedTime]:
        """Return the times of these imports' rows of markets, as far as they touch a window."""
        if not imports:
            return []
        with connection.cursor() as cursor:
            cursor.execute(SELECT_TIMES, [list(imports), array_of(ids), end, start])
            return [ImportedTime(*row) for row in cursor.fetchall()]


class ImportedSpan(models.Model):
    """The rows of a market in an import, and the instants of the first and the last of them."""

    import_row = models.ForeignKey(
        Import, on_delete=models.CASCADE, related_name="spans", db_index=False
    )
    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="imported_spans")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    rows = models.BigIntegerField()

    objects = ImportedSpanQuerySet.as_manager()

    class Meta:
        ordering = ["import_row", "market"]
        constraints = [
            # `import_row` needs no index of its own, since this one begins with it.
            models.UniqueConstraint(fields=["import_row", "market"], name="imported_span_once")
        ]

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.market_id} in import {self.import_row_id}"
