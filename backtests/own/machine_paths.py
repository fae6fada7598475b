"""Words that anybody may read, without the paths of the machine on which they came about."""

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

LIBRARIES = "stdlib", "platstdlib", "purelib", "platlib"
ROOT = Path(__file__).resolve().parent.parent.parent


def without_machine_paths(words: str) -> str:
    """Cut off the folders of the program, of libraries and of one's own files, and the home."""
    places = [*sys.path, str(ROOT), *(sysconfig.get_path(name) for name in LIBRARIES)]
    words = re.sub(f"{_any_of(places)}/?", "", words)
    return re.sub(_any_of([os.path.expanduser("~")]), "~", words)


def words_of(error: BaseException) -> str:
    """Return the message of an error, also of one whose `__str__` raises."""
    return without_machine_paths(str(traceback.TracebackException(type(error), error, None)))


def _any_of(places: Iterable[str]) -> str:
    """A pattern for any of some folders as a whole, be it named as it is or by way of links."""
    folders = {path for place in places for path in (place, os.path.realpath(place))}
    whole = (path for path in folders if os.path.isabs(path) and path != "/")
    names = "|".join(re.escape(path) for path in sorted(whole, key=len, reverse=True))
    return rf"(?<![\w./-])(?:{names or '(?!)'})(?![\w.-])"
