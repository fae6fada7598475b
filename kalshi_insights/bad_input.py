"""The error for input that a person gave and that cannot be used."""


class BadInput(ValueError):
    """Input that cannot be used; `field` names the form field, JSON key or option at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
