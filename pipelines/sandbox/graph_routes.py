"""What Graph's URLs mean: patterns, the names that faults know them by, and who answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.sandbox.graph_attachments import attachment, attachment_json, attachment_select
from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_delta import message_delta
from pipelines.sandbox.graph_errors import GraphError, bad_request
from pipelines.sandbox.graph_folder_delta import folder_delta
from pipelines.sandbox.graph_lists import (
    count_folders,
    count_messages,
    list_attachments,
    list_folders,
    list_messages,
    one_folder,
    one_message,
)
from pipelines.sandbox.graph_mailbox import Placed
from pipelines.sandbox.graph_mime import regenerate
from pipelines.sandbox.graph_settings import Cloud
from pipelines.sandbox.graph_translate import translate_ids

Handler = Callable[..., dict[str, Any] | bytes | int]
"""Called with the call and the keys of the URL; JSON, MIME or a count."""


@dataclass(frozen=True, slots=True)
class GraphRoute:
    """A URL below the root."""

    command: str
    method: str
    pattern: tuple[str, ...]
    handler: Handler
    absent_in: frozenset[Cloud] = frozenset()


def _value(call: GraphCall, message: str) -> bytes:
    return regenerate(call.view(call.mailbox.message(message)).mime)


def _value_in_folder(*_: object) -> bytes:
    """Documented, and answered with 405 in every report."""
    raise GraphError(405, "ErrorInvalidRequest")


def _no_mailbox_delta(*_: object) -> bytes:
    """Delta is per folder."""
    raise GraphError(400, "ErrorInvalidRequest")


def _message(call: GraphCall, message: str) -> dict[str, Any]:
    return one_message(call, call.mailbox.message(message))


def _in_folder(call: GraphCall, folder: str, message: str) -> dict[str, Any]:
    return one_message(call, _placed(call, folder, message))


def _placed(call: GraphCall, folder: str, message: str) -> Placed:
    found, placed = call.mailbox.folder(folder), call.mailbox.message(message)
    if not found.search and placed.folder is not found:
        raise GraphError(404, "ErrorItemNotFound")
    return placed


def _child(call: GraphCall, folder: str, child: str) -> dict[str, Any]:
    parent = call.mailbox.folder(folder)
    if call.mailbox.folder(child) not in call.mailbox.children(parent, hidden=True):
        raise GraphError(404, "ErrorItemNotFound")
    return one_folder(call, child)


def _attachments(call: GraphCall, message: str) -> dict[str, Any]:
    return list_attachments(call, call.mailbox.message(message))


def _attachment(call: GraphCall, message: str, attachment_id: str) -> dict[str, Any]:
    view = call.view(call.mailbox.message(message))
    select = attachment_select(call.request.names("$select"))
    shown = attachment_json(attachment(view, attachment_id), select)
    return {"@odata.context": call.context("messages/attachments/$entity"), **shown}


def _attachment_value(call: GraphCall, message: str, attachment_id: str) -> bytes:
    found = attachment(call.view(call.mailbox.message(message)), attachment_id)
    return regenerate(found.part.content) if found.is_item else found.part.content


_NO_DELTA, _NO_TRANSLATION = frozenset({Cloud.CHINA}), frozenset({Cloud.US_GOV})
_FOLDERS, _FOLDER = "users/{user}/mailFolders", "users/{user}/mailFolders/{folder}"
_MESSAGES, _MESSAGE = "users/{user}/messages", "users/{user}/messages/{message}"


def _get(command: str, pattern: str, handler: Handler, absent: frozenset[Cloud] = frozenset()) -> GraphRoute:
    return GraphRoute(command, "GET", tuple(pattern.split("/")), handler, absent)


ROUTES = (
    _get("folders.delta", f"{_FOLDERS}/delta", folder_delta, _NO_DELTA),
    _get("$count", f"{_FOLDERS}/$count", count_folders),
    _get("folders", _FOLDERS, list_folders),
    _get("folder", _FOLDER, one_folder),
    _get("$count", f"{_FOLDER}/childFolders/$count", count_folders),
    _get("folders", f"{_FOLDER}/childFolders", list_folders),
    _get("folder", f"{_FOLDER}/childFolders/{{child}}", _child),
    _get("delta", f"{_FOLDER}/messages/delta", message_delta, _NO_DELTA),
    _get("$count", f"{_FOLDER}/messages/$count", count_messages),
    _get("messages", f"{_FOLDER}/messages", list_messages),
    _get("$value", f"{_FOLDER}/messages/{{message}}/$value", _value_in_folder),
    _get("message", f"{_FOLDER}/messages/{{message}}", _in_folder),
    _get("delta", f"{_MESSAGES}/delta", _no_mailbox_delta),
    _get("$count", f"{_MESSAGES}/$count", count_messages),
    _get("messages", _MESSAGES, list_messages),
    _get("$value", f"{_MESSAGE}/$value", _value),
    _get("message", _MESSAGE, _message),
    _get("attachments", f"{_MESSAGE}/attachments", _attachments),
    _get("attachment", f"{_MESSAGE}/attachments/{{attachment_id}}", _attachment),
    _get("attachment", f"{_MESSAGE}/attachments/{{attachment_id}}/$value", _attachment_value),
    GraphRoute(
        "translateExchangeIds",
        "POST",
        ("users", "{user}", "translateExchangeIds"),
        translate_ids,
        _NO_TRANSLATION,
    ),
)
"""Names before keys, where both could match."""


def find_route(method: str, segments: tuple[str, ...], cloud: Cloud) -> tuple[GraphRoute, dict[str, str]]:
    """Who answers, and the keys in the URL. Raises ``GraphError``."""
    if segments[0].lower() == "me":
        raise bad_request("/me request is only valid with delegated authentication flow.")
    for route in ROUTES:
        keys = _match(route.pattern, segments)
        if keys is not None and route.method == method:
            if cloud in route.absent_in:
                break
            return route, keys
    raise bad_request(f"Resource not found for the segment '{segments[-1]}'.")


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    keys = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            keys[expected[1:-1]] = segment
        elif expected.lower() != segment.lower():
            return None
    return keys
