"""Words that anybody may read, without the paths of the machine on which they came about."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def without_machine_paths(words: str) -> str:
    """Cut off the folders of the program, of libraries and of one's own files, and the home."""
    places = [*sys.path, str(ROOT), sys.prefix, sys.base_prefix]
    words = re.sub(f"{_any_of(places)}/?", "", words)
    return re.sub(_any_of([os.path.expanduser("~")]), "~", words)


def _any_of(places: Iterable[str]) -> str:
    """A pattern for any of some folders as a whole, be it named as it is or by way of links."""
    folders = {path for place in places for path in (place, os.path.realpath(place))}
    whole = (path for path in folders if os.path.isabs(path) and path != "/")
    names = "|".join(re.escape(path) for path in sorted(whole, key=len, reverse=True))
    return rf"(?<![\w./-])(?:{names or '(?!)'})(?![\w.-])"
