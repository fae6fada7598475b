"""The markets whose trades were stored while a span of the tape was read."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from django.conf import settings
from django.db import connection, models

from markets.models.observations import COMBO
from markets.models.scope import IN_SCOPE

HOT = "hot"


class Extent(models.TextChoices):
    """The markets that a recording of trades was for."""

    ALL = "all", "every recorded market"
    HOT = "hot", "the hot list"


class TapeScope(NamedTuple):
    """The markets whose trades were stored: of these series and categories, or of all of them.

    Those of the hot list are the ones that were on it when the trades were read.
    """

    extent: str = Extent.ALL
    with_combos: bool = False
    series: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def of_settings(cls) -> Self:
        """Return the scope by which trades are recorded now."""
        return cls(
            Extent.HOT if settings.RECORD_TRADES == HOT else Extent.ALL,
            settings.RECORD_COMBOS,
            tuple(sorted(settings.RECORD_SERIES)),
            tuple(sorted(settings.RECORD_CATEGORIES)),
        )

    def __str__(self) -> str:
        hot = " of the hot list" if self.extent == Extent.HOT else ""
        names = ", ".join([*self.series, *self.categories])
        inside = f" in {names}" if names else ""
        combos = ", combos included" if self.with_combos else ""
        return f"markets{hot}{inside}{combos}"

    @property
    def is_partial(self) -> bool:
        """True where trades of recorded markets were left out, but for combos."""
        return self.is_narrow or self.extent == Extent.HOT

    @property
    def is_narrow(self) -> bool:
        return bool(self.series or self.categories)

    def covers(self, other: "TapeScope") -> bool:
        """Return True if whatever the other one lets through is let through here, too."""
        is_named = not self.is_narrow or (
            other.is_narrow
            and set(other.series) <= set(self.series)
            and set(other.categories) <= set(self.categories)
        )
        has_combos = self.with_combos or not other.with_combos
        return is_named and has_combos and self.extent in (Extent.ALL, other.extent)

    def members(self, tickers: Sequence[str], ids: Sequence[int]) -> list[int]:
        """Return the places of those of these markets that it lets through, hot or not.

        A series counts with the category that it has today.
        """
        categories = list(self.categories)
        return self._places(tickers, self._inside(ids, categories) if self.is_narrow else None)

    def named(self, tickers: Sequence[str], ids: Sequence[int]) -> list[int]:
        """Return the places of those that it lets through whatever the category of their series."""
        return self._places(tickers, self._inside(ids, []) if self.is_narrow else None)

    def possible(self, tickers: Sequence[str], ids: Sequence[int]) -> list[int]:
        """Return the places of those that it lets through, or would in another category."""
        if self.categories:
            return self._places(tickers, None)
        return self.named(tickers, ids)

    def _places(self, tickers: Sequence[str], inside: Sequence[bool] | None) -> list[int]:
        return [
            place
            for place, ticker in enumerate(tickers)
            if (inside is None or inside[place])
            and (self.with_combos or not ticker.startswith(COMBO))
        ]

    def _inside(self, ids: Sequence[int], categories: Sequence[str]) -> list[bool]:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM markets_market WHERE id = ANY(%(ids)s) AND {IN_SCOPE}",
                {"ids": list(ids), "series": list(self.series), "categories": list(categories)},
            )
            found = {id for (id,) in cursor.fetchall()}
        return [id in found for id in ids]
