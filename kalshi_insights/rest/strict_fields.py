"""Fields of request bodies that take nothing for what it only looks like."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from kalshi_insights.rest.parsers import MAX_NAME_LENGTH


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses unknown fields; `removed` says what came instead of some."""

    removed: Mapping[str, str] = {}

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if isinstance(data, Mapping) else ()
        if unknown:
            words = f"Unknown field. Known fields: {', '.join(self.fields)}."
            raise serializers.ValidationError(
                {name[:MAX_NAME_LENGTH]: [self.removed.get(name, words)] for name in unknown}
            )
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    """An integer that must be a JSON number, not a text that looks like one."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictFloatField(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictTextField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class AwareDateTimeField(serializers.DateTimeField):
    """An instant with an offset; without one it would mean different times to different people."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise serializers.ValidationError("Needs an offset, such as Z or +00:00.")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise serializers.ValidationError("Lies outside the years 1 to 9999.") from None
