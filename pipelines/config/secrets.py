"""Secrets that were written into the file."""

from collections.abc import Iterator
from typing import Any

from pipelines.config.document import Fault, Loc

_WORDS = ("secret", "password", "passphrase", "token", "private_key", "api_key")


def is_secret(key: object) -> bool:
    """Whether a value under ``key`` would be a secret, not the name of a variable or a file."""
    named = isinstance(key, str) and key.endswith(("_env", "_file", "_path"))
    return isinstance(key, str) and not named and any(word in key.lower() for word in _WORDS)


def written_secrets(data: Any) -> Iterator[Fault]:
    """A fault for every key that holds a secret, wherever it stands; the value is not repeated."""
    pending: list[tuple[Loc, Any]] = [((), data)]
    seen: set[int] = set()
    while pending:
        loc, value = pending.pop()
        if not isinstance(value, dict | list) or id(value) in seen:
            continue
        seen.add(id(value))
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            if is_secret(key):
                yield Fault(
                    (*loc, key),
                    "a secret must not be written into this file",
                    "renew it, put it into an environment variable, and name that one in tenant.credential: "
                    "secret_env, or passphrase_env of a certificate",
                )
            pending.append(((*loc, key), inner))
