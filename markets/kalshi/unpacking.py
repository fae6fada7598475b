"""Replies without their compression, bounded in size whatever they unpack to."""

import zlib
from collections.abc import Iterator

from markets.kalshi.errors import TemporaryError, Unintelligible

# The largest reply is the list of all series, some 19 MB of JSON; pages and batches of candlesticks
# stay below 10 MB. Three times the largest leaves room to grow, and four replies at a time, as the
# recorder asks for them, still fit into a small machine.
MAX_REPLY = 64 * 2**20
# Of an error's body a code and a message are read.
MAX_ERROR = 64 * 2**10
# So much is unpacked at a time.
PIECE = 64 * 2**10
MAX_LAYERS = 2
# Arguments of zlib: a gzip or a zlib header is expected, or none at all.
GZIP, ZLIB, BARE = 31, 15, -15
WINDOW_BITS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}


def unpacked(chunks: Iterator[bytes], *, encoding: str, limit: int) -> Iterator[bytes]:
    """Yield a reply's content in pieces of at most 64 KiB, given its `Content-Encoding`.

    Raises `Unintelligible` as soon as any layer of the compression yields more than `limit` bytes,
    and for a compression that was never asked for; `TemporaryError` for a reply that is damaged.
    """
    layers = [name for part in encoding.lower().split(",") if (name := part.strip())]
    layers = [name for name in layers if name != "identity"]
    if len(layers) > MAX_LAYERS or not all(name in WINDOW_BITS for name in layers):
        raise Unintelligible(f"a reply is packed in a way that was not asked for: {encoding[:40]}")
    for name in reversed(layers):
        chunks = _bounded(_inflated(chunks, WINDOW_BITS[name]), limit)
    return chunks if layers else _bounded(chunks, limit)


def _bounded(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise Unintelligible(f"a reply unpacks to more than {limit:,} bytes")
        yield piece


def _inflated(chunks: Iterator[bytes], window_bits: int) -> Iterator[bytes]:
    inflate, is_empty = zlib.decompressobj(window_bits), True
    for chunk in filter(None, chunks):
        if is_empty and window_bits == ZLIB and not _has_zlib_header(chunk):
            inflate = zlib.decompressobj(BARE)
        is_empty = False
        yield from _pieces(inflate, chunk)
    if not is_empty and not inflate.eof:
        raise TemporaryError("a reply cannot be unpacked: its end is missing")


def _has_zlib_header(beginning: bytes) -> bool:
    """Tell by RFC 1950 if "deflate" has the header that some servers leave out."""
    is_deflate = beginning[0] & 0x0F == zlib.DEFLATED
    return is_deflate and (len(beginning) < 2 or int.from_bytes(beginning[:2]) % 31 == 0)


def _pieces(inflate: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    while not inflate.eof:
        try:
            piece = inflate.decompress(packed, PIECE)
        except zlib.error as fault:
            raise TemporaryError(f"a reply cannot be unpacked: {fault}") from None
        if piece:
            yield piece
        packed = inflate.unconsumed_tail
        # After a whole piece, more of it may be ready although nothing is left to read.
        if not packed and len(piece) < PIECE:
            return
