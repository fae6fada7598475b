"""List imports, or show one of them."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from markets.models import Import

MOST_LISTED = 50
MISUSED = 2


class Command(BaseCommand):
    help = "List the newest imports, or show what an import, or each one of a group, brought."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="an import's number, or a group")

    def handle(self, *, name: str, **options: Any) -> None:
        if name:
            lines = [line for row in found(name) for line in described(row)]
        else:
            rows = Import.objects.newest_first()[:MOST_LISTED]
            lines = [brief(row) for row in rows] or ["Nothing was imported yet."]
        self.stdout.write("\n".join(lines))


def found(name: str) -> list[Import]:
    """Return the imports that a number or a group names. Raises CommandError for none."""
    rows = list(Import.objects.named(name).newest_first())
    if not rows:
        raise CommandError(f"name: no import has the number or group {name}.", returncode=MISUSED)
    return rows


def brief(row: Import) -> str:
    return (
        f"{row.pk:>6}  {row.state:<11}  {row.kind:<11}  {row.rows:>12,} rows "
        f" {row.started_at:%Y-%m-%d %H:%M}  {row.file}"
    )


def described(row: Import) -> Iterator[str]:
    first, last = row.span
    yield f"Import {row.pk}: {row.file}"
    facts = {
        "state": row.state,
        "kind": row.kind,
        "group": str(row.group),
        "by": row.by,
        "started": f"{row.started_at:%Y-%m-%d %H:%M:%S} UTC",
        "ended": f"{row.finished_at:%Y-%m-%d %H:%M:%S} UTC" if row.finished_at else "",
        "file": f"{row.size:,} bytes, SHA-256 {row.sha256}",
        "rows": f"{row.rows:,} written, {row.refused:,} refused, {row.duplicates:,} repeated",
        "markets": f"{row.spans.count():,}",
        "times": f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC" if first else "",
        "said": json.dumps(row.said),
        "used by": ", ".join(row.used_by),
    }
    yield from _aligned(facts.items())


def _aligned(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in facts:
        if value:
            yield f"  {name:<8} {value}"
