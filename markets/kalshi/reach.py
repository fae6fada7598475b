"""Reasons why the exchange cannot be reached, in words for whoever has to correct it.

Each text begins with one of `REASONS`, which may be shown to anybody; what follows names hosts.
"""

import errno
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta

from markets.kalshi.errors import ConfigurationError, KalshiError, NoConnection

NO_NETWORK, NAME_NOT_FOUND, REFUSED = "no network", "name not found", "connection refused"
NO_ANSWER, TLS, CLOCK, KEY = "no answer", "TLS", "clock", "key"
REASONS = (NO_NETWORK, NAME_NOT_FOUND, REFUSED, NO_ANSWER, TLS, CLOCK, KEY)
NO_WAY = (errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN)
# The names that OpenSSL gives to certificates from before or after our time.
NOT_YET_VALID, EXPIRED = 9, 10
# The exchange does not document how much skew it accepts in the timestamp of a signature.
MAX_ACCEPTED_SKEW = timedelta(seconds=5)


def reason_of(error: str) -> str:
    """Return the reason that the text of an error names; "" where it names none."""
    return next((part for part in error.split(": ") if part in REASONS), "")


def with_advice(error: str) -> str:
    """Name the command that tells more, after an error that gives a reason."""
    return f"{error} (manage.py checkkalshi tells more)" if reason_of(error) else error


def failed_connection(fault: BaseException, host: str) -> KalshiError | None:
    """Return what a failure to connect means; None where it is no failure to connect."""
    for cause in causes(fault):
        if isinstance(cause, ssl.SSLError):
            return failed_handshake(cause, host)
        if isinstance(cause, socket.gaierror):
            return unknown_name(cause, host)
        if isinstance(cause, ConnectionRefusedError):
            return NoConnection(f"{REFUSED}: nothing answers at {host}; check KALSHI_API_URL")
        if isinstance(cause, OSError) and cause.errno in NO_WAY:
            return NoConnection(f"{NO_NETWORK}: there is no way from this machine to {host}")
    return None


def causes(fault: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, the last one first."""
    cause: BaseException | None = fault
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def unknown_name(fault: socket.gaierror, host: str) -> NoConnection:
    if fault.errno == socket.EAI_AGAIN:
        return NoConnection(f"{NO_NETWORK}: no name server tells where {host} is")
    return NoConnection(f"{NAME_NOT_FOUND}: {host} is not known; check KALSHI_API_URL")


def no_answer(host: str, *, seconds: float) -> NoConnection:
    return NoConnection(
        f"{NO_ANSWER}: no connection to {host} within {seconds:g} s; something may block it"
    )


def failed_handshake(fault: ssl.SSLError, host: str) -> KalshiError:
    if not isinstance(fault, ssl.SSLCertVerificationError):
        return NoConnection(
            f"{TLS}: {host} does not agree on a secure connection ({fault.strerror})"
        )
    if fault.verify_code in (NOT_YET_VALID, EXPIRED):
        return ConfigurationError(
            f"{CLOCK}: at this machine's time the certificate of {host} is not valid"
            f" ({fault.verify_message}); check the clock"
        )
    return ConfigurationError(
        f"{TLS}: the certificate of {host} is not trusted ({fault.verify_message})"
    )


def denied(details: str, *, key_type: str, skew: timedelta | None) -> ConfigurationError:
    """Return what an answer means that denies access; `details` are the exchange's own words."""
    if key_type and skew is not None and abs(skew) > MAX_ACCEPTED_SKEW:
        return ConfigurationError(
            f"{CLOCK}: {skew_in_words(skew)}, and the exchange denies access ({details})"
        )
    if key_type:
        return ConfigurationError(f"{KEY}: the exchange denies access ({details})")
    return ConfigurationError(f"{KEY}: the exchange denies access without a key ({details})")


def skew_in_words(skew: timedelta) -> str:
    direction = "ahead of" if skew > timedelta(0) else "behind"
    return f"this machine's clock is {abs(skew).total_seconds():.0f} s {direction} the exchange's"
