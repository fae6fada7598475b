"""Locks of work on imports: one process does it, and others are told."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def held_alone(name: str, taken: Exception) -> Iterator[None]:
    """Hold the lock of a name as long as the block lasts; raise `taken` where another has it.

    PostgreSQL lets go of it when the connection ends, however that comes about.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        if not cursor.fetchone()[0]:
            raise taken
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
