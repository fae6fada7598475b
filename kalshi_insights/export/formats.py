"""The formats of files that are streamed, and how a request asks for one."""

from urllib.parse import parse_qs

CSV, PARQUET, ARROW = "csv", "parquet", "arrow"
# Media types by format.
FILE_TYPES = {
    CSV: "text/csv",
    PARQUET: "application/vnd.apache.parquet",
    ARROW: "application/vnd.apache.arrow.stream",
}


def asks_for_file(query: str, accepted: str) -> bool:
    """True for a request, by its query and the media types it accepts, that a file may answer."""
    formats = parse_qs(query, keep_blank_values=True).get("format")
    if formats:
        return formats[-1] in FILE_TYPES
    return any(media_type in accepted.lower() for media_type in FILE_TYPES.values())
