"""Input that a person gave and that cannot be used: its error, and the text that nobody can write.

PostgreSQL stores no NUL, and half of a surrogate pair is not a character, so that no answer could
quote it. JSON can hold both behind a backslash, and arguments of commands the latter.
"""

import re

UNWRITABLE = re.compile("[\\0\\ud800-\\udfff]")


def writable(text: str) -> str:
    """Write what PostgreSQL cannot store as Python would between quotes, such as \\x00."""
    return UNWRITABLE.sub(lambda found: ascii(found.group())[1:-1], text)


class BadInput(ValueError):
    """Input that cannot be used; `field` names the form field, JSON key or option at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
