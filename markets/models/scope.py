"""The series that are recorded, where the settings name series or categories."""

from django.conf import settings
from django.db.models import Q

# A condition on `market`, whose parameters are these series and categories.
IN_SCOPE = """
    event_id IN (
        SELECT event.id FROM markets_event AS event
        JOIN markets_series AS series ON series.id = event.series_id
        WHERE series.ticker = ANY(%(series)s) OR series.category = ANY(%(categories)s))
"""


def in_scope(series: str = "") -> Q:
    """Return the condition that a row's series is recorded; `series` is the path to it."""
    if not settings.RECORD_SERIES and not settings.RECORD_CATEGORIES:
        return Q()
    return Q(**{f"{series}ticker__in": settings.RECORD_SERIES}) | Q(
        **{f"{series}category__in": settings.RECORD_CATEGORIES}
    )


def in_scope_sql() -> tuple[str, dict[str, list[str]]]:
    """Return the same condition on markets in SQL, with its parameters."""
    if not settings.RECORD_SERIES and not settings.RECORD_CATEGORIES:
        return "true", {}
    return IN_SCOPE, {
        "series": sorted(settings.RECORD_SERIES),
        "categories": sorted(settings.RECORD_CATEGORIES),
    }
