"""The forms in which rows leave the API: JSON, columns for charts, and files that are streamed."""

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class File(BaseRenderer):
    """Announces a form that views stream; nothing is ever rendered in it."""

    charset = None
    render_style = "binary"


class Csv(File):
    media_type = "text/csv"
    format = "csv"


class Parquet(File):
    media_type = "application/vnd.apache.parquet"
    format = "parquet"


class Arrow(File):
    media_type = "application/vnd.apache.arrow.stream"
    format = "arrow"


class Json(JSONRenderer):
    """Plain rows by another encoder, in a tenth of the time; it writes decimals as strings."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        text = msgspec.json.encode(data, enc_hook=_words)
        indent = self.get_indent(accepted_media_type or "", renderer_context or {})
        return msgspec.json.format(text, indent=indent) if indent else text


def _words(value: object) -> str:
    """Kinds of text that are not quite one, such as what an error says."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError


class Columns(Json):
    media_type = "application/vnd.columns+json"
    format = "columns"


SERIES = [Json, BrowsableAPIRenderer, Columns, Csv, Parquet, Arrow]
FILES = (Csv.format, Parquet.format, Arrow.format)


class Negotiation(DefaultContentNegotiation):
    """An explicit `format` decides, whatever else the client accepts; an unknown one is a 400."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        wanted = request.query_params.get("format")
        if wanted is None:
            found: tuple[BaseRenderer, str] = super().select_renderer(
                request, renderers, format_suffix
            )
            return found
        for renderer in renderers:
            if renderer.format == wanted:
                return renderer, renderer.media_type
        words = ", ".join(str(renderer.format) for renderer in renderers)
        raise ValidationError({"format": [f"Must be one of {words}."]})


class InFormats(APIView):
    """A view whose rows come in one of these forms; whatever else it says is JSON."""

    content_negotiation_class = Negotiation

    def handle_exception(self, exc: Exception) -> Response:
        self._speak_json()
        return super().handle_exception(exc)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        self._speak_json()
        return super().options(request, *args, **kwargs)

    def _speak_json(self) -> None:
        if isinstance(getattr(self.request, "accepted_renderer", None), File | Columns):
            self.request.accepted_renderer = JSONRenderer()
            self.request.accepted_media_type = JSONRenderer.media_type


# --- Columns ------------------------------------------------------------------------------------


def columns_serializer(
    name: str, columns: Iterable[str], *, times: Iterable[str]
) -> serializers.Serializer[Any]:
    """Tells the schema of such an answer."""
    instants = {
        each: serializers.ListField(
            child=serializers.IntegerField(), help_text="Milliseconds since 1970, UTC."
        )
        for each in times
    }
    numbers = {
        each: serializers.ListField(child=serializers.FloatField(allow_null=True))
        for each in columns
    }
    lists = inline_serializer(f"{name}Lists", {**numbers, **instants})
    following = serializers.URLField(allow_null=True)
    found: serializers.Serializer[Any] = inline_serializer(
        f"{name}Columns", {"columns": lists, "next": following}
    )
    return found


# --- Files --------------------------------------------------------------------------------------


class Outgoing(io.RawIOBase):
    """What was written since it was last taken."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self.parts)
        self.parts.clear()
        return taken


def parquet(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[bytes]:
    """A Parquet file, each table a row group: its footer comes last, so it needs no file."""
    sink = Outgoing()
    with pq.ParquetWriter(sink, schema, compression="zstd") as file:
        for table in tables:
            file.write_table(table)
            yield sink.take()
    yield sink.take()


def arrow(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[bytes]:
    """An Arrow IPC stream, each table a record batch."""
    sink = Outgoing()
    with pa.ipc.new_stream(sink, schema) as file:
        for table in tables:
            file.write_table(table)
            yield sink.take()
    yield sink.take()


def sent(content: Iterator[bytes], renderer: BaseRenderer, *, name: str) -> StreamingHttpResponse:
    """A file under way; closing the response closes `content`."""
    disposition = content_disposition_header(True, f"{name}.{renderer.format}")
    return StreamingHttpResponse(
        content,
        content_type=renderer.media_type,
        headers={"Content-Disposition": disposition or "attachment", "Cache-Control": "no-store"},
    )
