"""Query parameters: unknown and repeated ones are refused, the others are read by forms."""

from collections.abc import Mapping
from typing import Any, TypeVar

from django import forms
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from kalshi_insights.rest.filters import messages
from kalshi_insights.rest.parsers import MAX_NAME_LENGTH
from kalshi_insights.rest.renderers import FormatNegotiation, JsonRenderer
from kalshi_insights.rest.schema import DocumentedSchema

F = TypeVar("F", bound=forms.Form)


class KnownParameters(APIView):
    """A view that answers 400 to query parameters it does not know, or that are given twice.

    It knows the parameters of its filters and of its paginator, except where it shows a single
    row, and the fields of its `query_form`, which an `@action` may set for itself. A filter
    backend could not check this, since views of a single row need not run any.
    """

    schema = DocumentedSchema()
    renderer_classes = [JsonRenderer, BrowsableAPIRenderer]
    content_negotiation_class = FormatNegotiation
    # The description and an example of the path parameter, for the schema.
    lookup_schema: Mapping[str, str] = {}
    query_form: type[forms.Form] | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        known = known_parameters(self)
        errors = {
            name[:MAX_NAME_LENGTH]: [_error(name, known)]
            for name, values in request.query_params.lists()
            if name not in known or len(values) > 1
        }
        if errors:
            raise ValidationError(errors)

    @property
    def query_fields(self) -> list[forms.BoundField]:
        """The form fields of the browsable API, filled in with the query."""
        query = self.request.query_params
        query_forms = [self.query_form(query)] if self.query_form else []
        if filters := _filters(self):
            empty = self.queryset.none()  # type: ignore[attr-defined]
            query_forms.insert(0, filters(query, queryset=empty).form)
        return sorted(
            (field for form in query_forms for field in form), key=lambda field: field.name
        )


def read_query(form: type[F], request: Request) -> F:
    """Validate the query by a form; raises ValidationError with the messages by parameter."""
    bound = form(request.query_params)
    if not bound.is_valid():
        raise ValidationError(messages(bound.errors))
    return bound


def known_parameters(view: APIView) -> set[str]:
    form, filters = getattr(view, "query_form", None), _filters(view)
    paginator = None if _is_single(view) else getattr(view, "paginator", None)
    paging = paginator.get_schema_operation_parameters(view) if paginator else ()
    return {
        str(api_settings.URL_FORMAT_OVERRIDE),
        *(form.base_fields if form else ()),
        *(filters.base_filters if filters else ()),
        *(each["name"] for each in paging),
    }


def _is_single(view: APIView) -> bool:
    return getattr(view, "action", None) == "retrieve"


def _filters(view: APIView) -> Any:
    return None if _is_single(view) else getattr(view, "filterset_class", None)


def _error(name: str, known: set[str]) -> str:
    if name in known:
        return "Given more than once."
    return f"Unknown parameter. Known ones are {', '.join(sorted(known))}."
