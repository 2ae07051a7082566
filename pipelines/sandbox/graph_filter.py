"""``$filter`` and ``$orderby`` for messages: conditions joined by ``and``, as Exchange can search.

Source: OData 4.01 URL Conventions; Microsoft, "List messages" (using filter and orderby in the
same query) for the rule behind InefficientFilter.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_messages import PROPERTIES, MessageView

_CONDITION = re.compile(r"\s*\(*\s*([\w/]+)\s+(eq|ne|ge|gt|le|lt)\s+('(?:[^']|'')*'|[^\s()']+)\s*\)*\s*")
_AND = re.compile(r"and\b")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "ge", "gt", "le", "lt")
}
_OLDEST = datetime(1601, 1, 1, tzinfo=UTC)


def _whole(moment: datetime | None) -> datetime:
    return (moment or _OLDEST).replace(microsecond=0)


_MOMENTS: dict[str, Callable[[MessageView], datetime]] = {
    "receivedDateTime": lambda view: _whole(view.message.received_at),
    "createdDateTime": lambda view: _whole(view.message.received_at),
    "lastModifiedDateTime": lambda view: _whole(view.message.modified_at),
    "sentDateTime": lambda view: _whole(view.identity.sent_at),
}
_TRUTHS = ("isRead", "isDraft", "hasAttachments")
_WORDS: dict[str, Callable[[MessageView], str]] = {
    "internetMessageId": lambda view: PROPERTIES["internetMessageId"](view) or "",
    "conversationId": PROPERTIES["conversationId"],
    "subject": lambda view: view.identity.subject,
    "from/emailAddress/address": lambda view: view.identity.sender or "",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a property with a value."""

    property: str
    operator: str
    value: datetime | bool | str

    def holds(self, view: MessageView) -> bool:
        """Whether a message fulfils it."""
        if self.property in _MOMENTS:
            found: Any = _MOMENTS[self.property](view)
        elif self.property in _TRUTHS:
            found = PROPERTIES[self.property](view)
        else:
            found = _WORDS[self.property](view)
        return _COMPARE[self.operator](found, self.value)


def fulfils(view: MessageView, conditions: Sequence[Condition]) -> bool:
    """Whether a message fulfils all of them."""
    return all(each.holds(view) for each in conditions)


def read_filter(text: str | None) -> tuple[Condition, ...]:
    """The conditions of a ``$filter``. Raises ``GraphError`` for what Exchange does not search by."""
    if not text:
        return ()
    found, position = [], 0
    while True:
        match = _CONDITION.match(text, position)
        if match is None:
            raise _invalid(text)
        found.append(Condition(match[1], match[2], _value(match[1], match[2], match[3])))
        position = match.end()
        if position == len(text):
            return tuple(found)
        joined = _AND.match(text, position)
        if joined is None:
            raise _invalid(text)
        position = joined.end()


def _value(name: str, compared: str, literal: str) -> datetime | bool | str:
    quoted = literal.startswith("'")
    if name in _MOMENTS and not quoted:
        try:
            moment = datetime.fromisoformat(literal)
        except ValueError:
            raise _invalid(literal) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if name in _TRUTHS and literal in ("true", "false") and compared in ("eq", "ne"):
        return literal == "true"
    if name in _WORDS and quoted and compared in ("eq", "ne"):
        return literal[1:-1].replace("''", "'")
    raise _invalid(f"{name} {compared} {literal}")


def _invalid(text: str) -> GraphError:
    return GraphError(
        400, "ErrorInvalidUrlQueryFilter", f"The query filter contains one or more invalid nodes: {text}"
    )


@dataclass(frozen=True, slots=True)
class Order:
    """One property to sort by."""

    property: str
    descending: bool


def read_order(text: str | None) -> tuple[Order, ...]:
    """The properties of an ``$orderby``. Raises ``GraphError``."""
    found = []
    for each in (text or "").split(","):
        words = each.split()
        if not words:
            continue
        if words[0] not in (*_MOMENTS, *_WORDS) or words[1:] not in ([], ["asc"], ["desc"]):
            raise GraphError(400, "ErrorInvalidProperty", f"Messages cannot be sorted by {each.strip()}.")
        found.append(Order(words[0], words[1:] == ["desc"]))
    return tuple(found)


def check_efficient(conditions: Sequence[Condition], order: Sequence[Order]) -> None:
    """Raise InefficientFilter unless what is sorted by comes first in the filter, in the same order."""
    filtered = list(dict.fromkeys(each.property for each in conditions))
    if filtered and order and filtered[: len(order)] != [each.property for each in order]:
        raise GraphError(400, "InefficientFilter")


def sort(views: list[MessageView], order: Sequence[Order]) -> None:
    """Sort in place; newest first where nothing else is asked for."""
    views.sort(key=lambda view: (view.message.received_at, view.message.uid), reverse=True)
    for each in reversed(order):
        value: Callable[[MessageView], Any] = _MOMENTS.get(each.property) or _WORDS[each.property]
        views.sort(key=value, reverse=each.descending)
