"""Imports of the API: what was imported, and undoing it."""

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from kalshi_insights.processes.broker import sender
from kalshi_insights.rest.errors import not_found
from kalshi_insights.rest.pagination import OffsetPages
from kalshi_insights.rest.schema import with_example
from kalshi_insights.rest.viewsets import ResourceViewSet
from markets.api import examples
from markets.filters import ImportFilter
from markets.models import Import
from markets.models.imports import UNDO_IMPORTS

# The task goes by name: its module imports what a web process does not need.
UNDO_TASK = "markets.tasks.undo_imports"
UNDOING = OpenApiExample(
    "An answer",
    value=examples.IMPORT | {"state": "undoing"},
    response_only=True,
    status_codes=["202"],
)


@with_example(examples.IMPORT)
class ImportSerializer(serializers.ModelSerializer[Import]):
    """One imported file. Its rows are read where the import is named, and nowhere else."""

    file = serializers.CharField(
        source="name", help_text="The name of the file, without the folder that it was in."
    )
    by = serializers.CharField(
        help_text="The user who imported it, or the system's account that ran the command."
    )
    said = serializers.DictField(
        help_text="What was said of the file: mapping, preset, unit, zone, recording, fees."
    )
    used_by = serializers.ListField(
        child=serializers.CharField(), help_text="The backtests that named it."
    )

    class Meta:
        model = Import
        fields = [
            "id",
            "group",
            "kind",
            "state",
            "file",
            "by",
            "sha256",
            "size",
            "started_at",
            "finished_at",
            "undone_at",
            "said",
            "rows",
            "refused",
            "duplicates",
            "line",
            "used_by",
        ]
        read_only_fields = fields


class ImportViewSet(ResourceViewSet):
    """Imported files."""

    queryset = Import.objects.newest_first()
    serializer_class = ImportSerializer
    filterset_class = ImportFilter
    lookup_field = "id"
    lookup_schema = {"description": "The number of the import.", "example": "12"}
    lookup_value_regex = "[0-9]{1,18}"
    write_permission = UNDO_IMPORTS

    @extend_schema(responses=ImportSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Imports, the newest first."""
        paginator = OffsetPages()
        rows = self.page(paginator)
        return paginator.get_paginated_response(ImportSerializer(rows, many=True).data)

    @extend_schema(responses=ImportSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        """One import."""
        return Response(ImportSerializer(import_or_404(id)).data)

    @extend_schema(
        responses={
            202: OpenApiResponse(ImportSerializer, description="The undo has begun, or is done.")
        },
        examples=[UNDOING],
    )
    def destroy(self, request: Request, id: str) -> Response:
        """Undo an import: remove everything that it brought.

        The rows go in the background; `state` is `undone` when all of them are gone. Backtests
        that used it keep their figures, and can no longer be reproduced. Needs the right to undo
        imports, and of a token the scope `operate`.
        """
        with transaction.atomic():
            if Import.objects.filter(pk=id).mark_undoing():
                # Without the broker, the next regular run of the task finds it.
                transaction.on_commit(lambda: sender.send_task(UNDO_TASK), robust=True)
        return Response(ImportSerializer(import_or_404(id)).data, status=status.HTTP_202_ACCEPTED)


def import_or_404(id: str) -> Import:
    return Import.objects.newest_first().filter(pk=id).first() or not_found("import", id)
