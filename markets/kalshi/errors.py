"""Errors of the exchange's client, as one tree."""


class KalshiError(Exception):
    """Base class of everything that can go wrong between us and the exchange."""


class ConfigurationError(KalshiError):
    """The address, the key or the permissions are wrong; the operator must correct them."""


class TemporaryError(KalshiError):
    """A lost connection, a timeout, a truncated reply or an error of the exchange's servers.

    The same request may succeed later.
    """


class NoConnection(TemporaryError):
    """There is no connection to the exchange's servers, so every other request would fail too."""


class ServerError(TemporaryError):
    """The exchange answered with a 5xx status: it is failing, or this one reply makes it fail."""


class TimedOut(TemporaryError):
    """The exchange took the request and did not answer in time."""


class RateLimited(TemporaryError):
    """The exchange answered 429: it counted too many requests."""


class OutOfTokens(TemporaryError):
    """Our own allowance of tokens or of time is used up, so no request was sent."""


class Refused(KalshiError):
    """The exchange refused the request with a 4xx status.

    `code` is the exchange's word for the reason, "" where it gave none.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"refused with status {status} {code or 'without a code'}: {message}")
        self.status = status
        self.code = code
        self.message = message


class UnknownResource(Refused):
    """The object does not exist, does not exist yet, or has moved to the historical tier."""


class FilterIgnored(KalshiError):
    """Most of a reply is not what its filter asked for, so the rest of it is not worth reading."""


class Unintelligible(KalshiError):
    """The reply breaks the contract: no JSON, missing keys, or a cursor that does not advance.

    `body` is the reply that could not be parsed, where that was the reason.
    """

    def __init__(self, message: str, *, body: bytes = b"") -> None:
        super().__init__(message)
        self.body = body
