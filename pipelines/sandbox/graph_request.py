"""A request to Graph, taken apart: path segments and keys, query options, preferences.

Source: OData 4.01 URL Conventions (keys in parentheses, ``$``-options), RFC 7240 (Prefer).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from pipelines.sandbox.graph_errors import bad_request

VERSION = "/v1.0"
MOST_PER_PAGE = 1000
_OPTIONS = frozenset(
    {"$count", "$deltatoken", "$expand", "$filter", "$format", "$orderby", "$search", "$select", "$skip"}
    | {"$skiptoken", "$top"}
)
_KEYED = re.compile(r"([^(]+)\((.*)\)\Z", re.DOTALL)
_PREFERENCE = re.compile(r'\s*([\w.\-]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?[^,]*(?:,|\Z)')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client prefers, as far as Outlook listens."""

    immutable_ids: bool = False
    page_size: int | None = None
    text_body: bool = False

    @classmethod
    def read(cls, header: str) -> "Preferences":
        """From a Prefer header; several are joined by commas."""
        found = {
            match[1].lower(): (match[2] or "").strip('"')
            for match in _PREFERENCE.finditer(header)
            if match[1]
        }
        size = found.get("odata.maxpagesize") or found.get("maxpagesize", "")
        return cls(
            found.get("idtype", "").lower() == "immutableid",
            min(int(size), MOST_PER_PAGE) if size.isdecimal() and int(size) else None,
            found.get("outlook.body-content-type", "").lower() == "text",
        )

    def applied(self) -> dict[str, str]:
        """The header that says which were listened to."""
        told = ['IdType="ImmutableId"'] if self.immutable_ids else []
        told += ['outlook.body-content-type="text"'] if self.text_body else []
        return {"Preference-Applied": ", ".join(told)} if told else {}


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """One request; those inside a batch look the same."""

    method: str
    root: str
    """Where Graph is, as the client calls it: ``https://localhost:1234/v1.0``."""
    path: str
    """Below the root, as the client wrote it."""
    segments: tuple[str, ...]
    """Decoded; a key in parentheses is a segment of its own."""
    options: Mapping[str, str]
    """Query options by lower-case name, ``$`` included."""
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    preferences: Preferences

    @classmethod
    def read(
        cls, method: str, root: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> "GraphRequest":
        """``url``: the path below the root with its query, percent-encoded."""
        path, _, query = url.partition("?")
        path = f"/{path.strip('/')}"
        options = {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
        preferences = Preferences.read(headers.get("prefer", ""))
        return cls(method, root, path, _segments(path), options, headers, body, preferences)

    def check(self) -> None:
        """Raise ``GraphError`` for an option that OData does not have."""
        for name in self.options:
            if name.startswith("$") and name not in _OPTIONS:
                raise bad_request(f"The query parameter '{name}' is not supported.")

    def flag(self, name: str) -> bool:
        """An option that is true or false."""
        return self.options.get(name, "").lower() == "true"

    def number(self, name: str, low: int, high: int | None = None) -> int | None:
        """A whole number option. Raises ``GraphError`` out of bounds."""
        given = self.options.get(name)
        if given is None:
            return None
        if not given.isdecimal() or int(given) < low:
            raise bad_request(
                f"Invalid value '{given}' for {name} query option found. "
                f"The {name} query option requires a non-negative integer value."
            )
        if high is not None and int(given) > high:
            raise bad_request(
                f"The limit of '{high}' for {name.removeprefix('$').title()} query has been exceeded. "
                f"The value from the incoming request is '{given}'."
            )
        return int(given)

    def names(self, name: str) -> tuple[str, ...] | None:
        """A list option such as ``$select``; None where it is not given."""
        given = self.options.get(name)
        if not given or given == "*":
            return None
        return tuple(each.strip() for each in given.split(",") if each.strip())


def read_select(names: tuple[str, ...] | None, known: Iterable[str], kind: str) -> tuple[str, ...] | None:
    """``$select`` in the properties' own spelling. Raises ``GraphError`` for one that ``kind`` lacks."""
    if names is None:
        return None
    spelled = {each.lower(): each for each in known}
    for name in names:
        if name.lower() not in spelled:
            raise bad_request(f"Could not find a property named '{name}' on type 'microsoft.graph.{kind}'.")
    return tuple(spelled[name.lower()] for name in names)


def _segments(path: str) -> tuple[str, ...]:
    found: list[str] = []
    for raw in path.strip("/").split("/"):
        segment = unquote(raw).removeprefix("microsoft.graph.")
        keyed = _KEYED.match(segment)
        found.append(keyed[1] if keyed else segment)
        if keyed and keyed[2]:
            found.append(keyed[2].removeprefix("'").removesuffix("'").replace("''", "'"))
    return tuple(found)
