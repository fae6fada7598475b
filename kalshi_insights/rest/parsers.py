"""Parsers of request bodies."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.settings import api_settings

from kalshi_insights.bad_input import UNWRITABLE

MAX_NAME_LENGTH = 100


class JsonParser(JSONParser):
    """A JSON parser that refuses what cannot be read, stored or written.

    A body that is nested deeper than Python can read is not valid JSON for anybody.
    """

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        try:
            data = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError from None
        if names := set(unwritable_fields(data)):
            raise ValidationError(
                {name: ["Contains a character that cannot be written."] for name in sorted(names)}
            )
        return data


def unwritable_fields(data: object) -> Iterator[str]:
    """Yield the names of fields with an unwritable character in their names or values."""
    pending = [("", data)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, str) and UNWRITABLE.search(value):
            yield printable(name)
        elif isinstance(value, list):
            pending += ((name, each) for each in value)
        elif isinstance(value, Mapping):
            pending += ((_inside(name, key), each) for key, each in value.items())
            yield from (printable(_inside(name, key)) for key in value if UNWRITABLE.search(key))


def _inside(name: str, key: str) -> str:
    return f"{name}.{key}"[:MAX_NAME_LENGTH] if name else key[:MAX_NAME_LENGTH]


def printable(name: str) -> str:
    return UNWRITABLE.sub("?", name) or str(api_settings.NON_FIELD_ERRORS_KEY)
