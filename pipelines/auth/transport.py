"""What all connections share: whom they trust, and what made them fail."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import ConfigurationError


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts ``ca_file`` alone, or the system's certificates. Raises ``ConfigurationError``."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:
        raise ConfigurationError(
            f"tenant.endpoints.ca_file: {ca_file} holds no certificates that can be read",
            remedy="give a file of CA certificates in PEM form",
        ) from None


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and all that it was made from, as urllib3, httpx and anyio nest them."""
    pending, seen = [error], set[int]()
    while pending:
        cause = pending.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        nested = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        if isinstance(cause, BaseExceptionGroup):
            nested += cause.exceptions
        pending += [inner for inner in nested if isinstance(inner, BaseException)]
