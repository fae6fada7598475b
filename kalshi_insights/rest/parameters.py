"""Query parameters that an address does not know are refused, not overlooked."""

from collections.abc import Mapping
from typing import Any

from django import forms
from drf_spectacular.openapi import AutoSchema
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from kalshi_insights.rest.renderers import Json, Negotiation

LONGEST_NAME = 100


class Described(AutoSchema):
    """Tells in the schema what goes for all views."""

    view: Any

    def get_summary(self) -> str | None:
        first: str = self.get_description().partition("\n")[0].partition(". ")[0]
        return super().get_summary() or first.removesuffix(".")

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        for each in parameters:
            if each["in"] == "path":
                each.update(self.view.lookup_described)
            elif each["name"] == api_settings.URL_FORMAT_OVERRIDE:
                each["description"] = "The form of the answer, whatever `Accept` says."
            else:
                # A form for people sends the fields too that nobody filled in.
                each.setdefault("allowEmptyValue", True)
            if each["schema"].get("format") == "date-time":
                each["schema"]["example"] = "2026-11-20T12:00:00Z"
        return parameters


class KnownParameters(APIView):
    """A view that answers 400 to query parameters it does not know, or that come twice.

    It knows those of its filters and of its pages, except where it shows a single row, and those
    of its `query_form`, which an `@action` may set for itself. A filter backend could not do
    this: views of a single thing need not run any.
    """

    schema = Described()
    renderer_classes = [Json, BrowsableAPIRenderer]
    content_negotiation_class = Negotiation
    # Of what the address calls a thing by: its description and an example.
    lookup_described: Mapping[str, str] = {}
    query_form: type[forms.Form] | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        known = known_parameters(self)
        odd = {
            name[:LONGEST_NAME]: [_objection(name, known)]
            for name, values in request.query_params.lists()
            if name not in known or len(values) > 1
        }
        if odd:
            raise ValidationError(odd)

    @property
    def filled_in(self) -> list[forms.BoundField]:
        """The fields of a form for people, with what they asked for."""
        query = self.request.query_params
        forms_here = [self.query_form(query)] if self.query_form else []
        if filters := _filters(self):
            nothing = self.queryset.none()  # type: ignore[attr-defined]
            forms_here.insert(0, filters(query, queryset=nothing).form)
        return sorted(
            (field for form in forms_here for field in form), key=lambda field: field.name
        )


def known_parameters(view: APIView) -> set[str]:
    form, filters = getattr(view, "query_form", None), _filters(view)
    pages = None if _is_single(view) else getattr(view, "paginator", None)
    described = pages.get_schema_operation_parameters(view) if pages else ()
    return {
        str(api_settings.URL_FORMAT_OVERRIDE),
        *(form.base_fields if form else ()),
        *(filters.base_filters if filters else ()),
        *(each["name"] for each in described),
    }


def _is_single(view: APIView) -> bool:
    return getattr(view, "action", None) == "retrieve"


def _filters(view: APIView) -> Any:
    return None if _is_single(view) else getattr(view, "filterset_class", None)


def _objection(name: str, known: set[str]) -> str:
    if name in known:
        return "Given more than once."
    return f"Not known here. Known are: {', '.join(sorted(known))}."
