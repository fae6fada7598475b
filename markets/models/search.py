"""The texts by which series, events and markets are searched, and the words of a search.

A search text lies in a table of its own: a market's row is written anew with every quote, and an
index of its trigrams would have to follow.
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Self

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import connection, models
from django.db.models import Q, Value

MAX_WORDS = 8
# A shorter word has no trigram, and nearly every text would contain it.
MIN_LETTERS = 3


class Place(NamedTuple):
    """The series, event or market on record that an address of the exchange's web site names."""

    series: str = ""
    event: str = ""
    market: str = ""


class Folded(models.Func):
    """A text without accents and case, in one normal form."""

    function = "markets_fold"
    output_field = models.TextField()


def search_words(text: str) -> list[str]:
    """Return the words of a search, without those that another word contains."""
    words = list(dict.fromkeys(text.casefold().split()))
    return [
        word
        for word in words
        if not is_long(word) or not any(word in other and word != other for other in words)
    ]


def is_long(word: str) -> bool:
    return sum(map(str.isalnum, word)) >= MIN_LETTERS


def matches(words: Iterable[str], text: str = "search_text__text") -> Q:
    """Match rows whose search text contains every long word and begins with every short one.

    The text begins with the ticker; `text` is the path to it.
    """
    condition = Q()
    for word in words:
        lookup = "contains" if is_long(word) else "startswith"
        condition &= Q(**{f"{text}__{lookup}": Folded(Value(word))})
    return condition


class SearchTextQuerySet(models.QuerySet["SearchText"]):
    def matching(self, words: Iterable[str]) -> Self:
        """Texts with every one of the words; see `matches`."""
        return self.filter(matches(words, text="text"))

    def refresh(self, ids: Iterable[int], *, by: str = "id") -> None:
        """Write the texts of these rows anew; `by` is the column that holds the ids."""
        named, ids = self.model, list(ids)
        if not ids:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO {named._meta.db_table} AS known ({named.NOUN}_id, text)
                SELECT {named.NOUN}.id, markets_fold(concat_ws(' ', {named.WORDS}))
                FROM {named.SOURCE} WHERE {named.NOUN}.{by} = ANY(%s) ORDER BY 1
                ON CONFLICT ({named.NOUN}_id) DO UPDATE SET text = excluded.text
                    WHERE known.text <> excluded.text
                """,
                [ids],
            )


class SearchText(models.Model):
    """The ticker and the titles of a row, folded; see `Folded`."""

    NOUN: ClassVar[str]
    WORDS: ClassVar[str]
    SOURCE: ClassVar[str]

    text = models.TextField()

    objects = SearchTextQuerySet.as_manager()

    class Meta:
        abstract = True
        indexes = [GinIndex(OpClass("text", name="gin_trgm_ops"), name="%(class)s_trigrams")]

    def __str__(self) -> str:
        return self.text


class SeriesSearchText(SearchText):
    NOUN = "series"
    WORDS = "series.ticker, series.title"
    SOURCE = "markets_series AS series"

    series = models.OneToOneField(
        "markets.Series", models.CASCADE, primary_key=True, related_name="search_text"
    )


class EventSearchText(SearchText):
    NOUN = "event"
    WORDS = "event.ticker, event.title, event.sub_title"
    SOURCE = "markets_event AS event"

    event = models.OneToOneField(
        "markets.Event", models.CASCADE, primary_key=True, related_name="search_text"
    )


class MarketSearchText(SearchText):
    NOUN = "market"
    WORDS = "market.ticker, event.title, market.title, market.yes_sub_title"
    SOURCE = "markets_market AS market JOIN markets_event AS event ON event.id = market.event_id"

    market = models.OneToOneField(
        "markets.Market", models.CASCADE, primary_key=True, related_name="search_text"
    )
