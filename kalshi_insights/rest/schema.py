"""The OpenAPI schema: what drf-spectacular cannot read from the views by itself."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema_serializer,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.settings import api_settings

from kalshi_insights.export.copy import ColumnTypes
from kalshi_insights.rest.renderers import (
    ArrowRenderer,
    ColumnsRenderer,
    CsvRenderer,
    ParquetRenderer,
)

S = TypeVar("S", bound=Callable[..., Any])


class DocumentedSchema(AutoSchema):
    """Adds summaries, and descriptions of the parameters that all views share."""

    view: Any

    def get_summary(self) -> str | None:
        first_sentence: str = self.get_description().partition("\n")[0].partition(". ")[0]
        return super().get_summary() or first_sentence.removesuffix(".")

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        for each in parameters:
            if each["in"] == "path":
                each.update(self.view.lookup_schema)
            elif each["name"] == api_settings.URL_FORMAT_OVERRIDE:
                each["description"] = "The format of the response, whatever `Accept` says."
            else:
                # The browsable API's form also sends the fields that nobody filled in.
                each.setdefault("allowEmptyValue", True)
            if each["schema"].get("format") == "date-time":
                each["schema"]["example"] = "2026-11-20T12:00:00Z"
        return parameters


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes tokens; drf-spectacular looks for it by the name of the class it is for."""

    target_class = "kalshi_insights.rest.authentication.ThrottledTokenAuthentication"
    name = "tokenAuth"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return build_bearer_security_scheme_object("Authorization", "Token")


def with_example(answer: dict[str, Any]) -> Callable[[S], S]:
    """Show this example wherever the decorated serializer is the response."""
    example = OpenApiExample("An answer", value=answer, response_only=True)
    return extend_schema_serializer(examples=[example])


def instant_parameter(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.DATETIME, description=description)


# --- Time series --------------------------------------------------------------------------------


class SeriesSpec(NamedTuple):
    """A time series that the API serves as pages, as columns for charts and as files."""

    name: str  # in the plural, as files are called
    component: str  # in the singular, as the schema's components are called
    columns: ColumnTypes
    chart: Sequence[str]  # the columns that a chart draws


def series_responses(
    rows: serializers.BaseSerializer[Any] | type[serializers.BaseSerializer[Any]], spec: SeriesSpec
) -> Any:
    """The responses of a time series by media type, for `extend_schema`."""
    responses: dict[tuple[int, str], Any] = {(200, "application/json"): rows}
    if spec.chart:
        responses[200, ColumnsRenderer.media_type] = _columns_serializer(spec)
    responses[200, CsvRenderer.media_type] = OpenApiTypes.STR
    responses[200, ParquetRenderer.media_type] = OpenApiTypes.BINARY
    responses[200, ArrowRenderer.media_type] = OpenApiTypes.BINARY
    return responses


def _columns_serializer(spec: SeriesSpec) -> serializers.Serializer[Any]:
    lists: dict[str, serializers.Field[Any, Any, Any, Any]] = {
        name: _list_of(spec.columns[name]) for name in spec.chart
    }
    columns: serializers.Serializer[Any] = inline_serializer(
        f"{spec.component}Columns",
        {
            "columns": inline_serializer(f"{spec.component}Lists", lists),
            "next": serializers.URLField(allow_null=True),
        },
    )
    # In a list too it is one object, and no page of them.
    extend_schema_serializer(many=False)(type(columns))
    return columns


def _list_of(column_type: str) -> serializers.ListField:
    if column_type == "timestamptz":
        return serializers.ListField(
            child=serializers.IntegerField(), help_text="Milliseconds since 1970, UTC."
        )
    if column_type == "text":
        return serializers.ListField(child=serializers.CharField())
    return serializers.ListField(child=serializers.FloatField(allow_null=True))


# --- Errors -------------------------------------------------------------------------------------

ERROR = {
    "type": "object",
    "description": "An error.",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "string", "description": "The kind of error, for programs."},
        "message": {"type": "string", "description": "The error in one line, for people."},
        "details": {
            "type": "object",
            "additionalProperties": {},
            "description": "The messages of each parameter or field that is wrong.",
        },
    },
    "example": {
        "code": "invalid",
        "message": "limit: Must be a whole number from 1 to 1000.",
        "details": {"limit": ["Must be a whole number from 1 to 1000."]},
    },
}
READ_ERRORS, WRITE_ERRORS = (400, 401, 406, 415, 429, 500, 503), (403, 413)
RETRY_AFTER = {"schema": {"type": "integer"}, "description": "Seconds to wait."}


def add_error_responses(result: dict[str, Any], **given: object) -> dict[str, Any]:
    """Add the errors that every address may answer; a postprocessing hook of drf-spectacular."""
    result["components"].setdefault("schemas", {})["Error"] = ERROR
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status in _error_statuses(method, path):
                operation["responses"].setdefault(str(status), _error_response(status))
    return result


def _error_statuses(method: str, path: str) -> tuple[int, ...]:
    by_path = (404,) if "{" in path else ()
    return READ_ERRORS + by_path + (() if method == "get" else WRITE_ERRORS)


def _error_response(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    response = {"description": HTTPStatus(status).phrase, "content": content}
    return response | ({"headers": {"Retry-After": RETRY_AFTER}} if status in (429, 503) else {})
