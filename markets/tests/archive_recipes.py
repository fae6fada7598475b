"""The recipes of `docs/archive.md`, for other folders than theirs."""

import re
from pathlib import Path

from django.conf import settings

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipe(language: str, containing: str, archive: Path | str) -> str:
    """Return the one recipe in that language that has these words, for an archive."""
    blocks = FENCED.findall((settings.BASE_DIR / "docs" / "archive.md").read_text())
    found: str
    (found,) = (text for name, text in blocks if name == language and containing in text)
    return found.replace("var/archive", str(archive)).replace("s3://bucket/kalshi", str(archive))
