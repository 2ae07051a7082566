"""A question to Graph and its answer, as far as they are looked at."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PAGE = 500
"""Messages of a page; larger ones save little and are more often too slow for the server."""
MOST_IDS = 1000
"""The most that ``$top`` takes; for pages of ids alone."""
MOST_PARTS = 20
"""The most requests that a $batch takes."""
PREFER = f'IdType="ImmutableId", odata.maxpagesize={PAGE}'
"""On every request, links and those inside a $batch too: the form of the ids in an answer follows it."""
GLANCE = 'IdType="ImmutableId", odata.maxpagesize=1'
"""Where all that matters is whether anything is listed."""
JSON, TEXT, MIME = "application/json", "text/plain;q=0.9", "application/octet-stream, application/json"
"""What msgraph-sdk accepts for pages, counts and messages."""


@dataclass(eq=False, slots=True)
class Request:
    """One question."""

    url: str
    accept: str = JSON
    key: Any = None
    """What stands for it where several are asked."""
    body: bytes | None = None
    """Posted, where there is one: only ever a $batch of GETs."""
    weight: int = 1
    """How many requests it is to the server's limits."""
    token: str = field(default="", repr=False)
    failures: Counter[object] = field(default_factory=Counter)
    """How often it failed, by kind of fault."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


def size_of(came: object) -> int:
    """Bytes held with what came of a request."""
    return len(came.content) if isinstance(came, Answer) else 0
