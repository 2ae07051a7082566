"""Folders, messages and attachments, listed and read one by one.

Source: Microsoft, "List mailFolders", "List childFolders", "List messages", "Get message",
"Get attachment", "Paging Microsoft Graph data".
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from pipelines.sandbox.graph_attachments import attachment_json, attachment_select, attachments
from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import GraphError, bad_request
from pipelines.sandbox.graph_extended import extended_properties
from pipelines.sandbox.graph_filter import check_efficient, fulfils, read_filter, read_order, sort
from pipelines.sandbox.graph_folders import folder_json, folder_select
from pipelines.sandbox.graph_mailbox import Placed
from pipelines.sandbox.graph_messages import MessageView, message_select
from pipelines.sandbox.graph_request import MOST_PER_PAGE
from pipelines.sandbox.store import Folder

_USUAL_PAGE = 10
_NAMED = re.compile(r"\s*displayName\s+eq\s+'((?:[^']|'')*)'\s*")
Item = TypeVar("Item")


def list_folders(call: GraphCall, parent_id: str | None = None) -> dict[str, Any]:
    """The children of a folder, or of the mailbox's root: never the whole tree."""
    mailbox = call.mailbox
    parent = mailbox.root if parent_id is None else mailbox.folder(parent_id)
    _refuse(call, "$search", "$orderby")
    select = folder_select(call.request.names("$select"))
    found = _named(call, mailbox.children(parent, hidden=call.request.flag("includehiddenfolders")))
    where = "mailFolders" if parent_id is None else f"mailFolders('{parent_id}')/childFolders"
    page, rest = _paged(call, found)
    return {
        "@odata.context": call.context(where),
        **rest,
        "value": [folder_json(mailbox, each, select) for each in page],
    }


def _refuse(call: GraphCall, *options: str) -> None:
    """Say that an option is not answered, rather than answer without it."""
    if call.request.options.keys() & set(options):
        raise GraphError(400, "ErrorInvalidRequest")


def _named(call: GraphCall, found: list[Folder]) -> list[Folder]:
    """The folders of the name in ``$filter``, if there is one."""
    given = call.request.options.get("$filter")
    if given is None:
        return found
    name = _NAMED.fullmatch(given)
    if name is None:
        raise GraphError(400, "ErrorInvalidUrlQueryFilter", f"Folders cannot be filtered by {given}.")
    wanted = name[1].replace("''", "'")
    return [each for each in found if each.path.rpartition("/")[2] == wanted]


def count_folders(call: GraphCall, parent_id: str | None = None) -> int:
    """How many there are."""
    parent = call.mailbox.root if parent_id is None else call.mailbox.folder(parent_id)
    return len(call.mailbox.children(parent, hidden=call.request.flag("includehiddenfolders")))


def one_folder(call: GraphCall, folder_id: str) -> dict[str, Any]:
    """A folder by its id or well-known name."""
    folder = call.mailbox.folder(folder_id)
    shown = folder_json(call.mailbox, folder, folder_select(call.request.names("$select")))
    return {"@odata.context": call.context("mailFolders/$entity"), **shown}


def list_messages(call: GraphCall, folder_id: str | None = None) -> dict[str, Any]:
    """A page of a folder's messages, or of the mailbox's; newest first."""
    _refuse(call, "$search")
    select = message_select(call.request.names("$select"), headers=call.has_headers)
    views = _found(call, folder_id)
    page, rest = _paged(call, views)
    where = "messages" if folder_id is None else f"mailFolders('{folder_id}')/messages"
    chosen = f"({','.join(select)})" if select else ""
    return {
        "@odata.context": call.context(where + chosen),
        **rest,
        "value": [_message_json(call, each, select) for each in page],
    }


def count_messages(call: GraphCall, folder_id: str | None = None) -> int:
    """How many messages there are, or how many a filter finds."""
    conditions = read_filter(call.request.options.get("$filter"))
    placed = _placed(call, folder_id)
    return sum(1 for each in placed if not conditions or fulfils(call.view(each), conditions))


def one_message(call: GraphCall, placed: Placed) -> dict[str, Any]:
    """One message."""
    select = message_select(call.request.names("$select"), headers=call.has_headers)
    shown = _message_json(call, call.view(placed), select)
    chosen = f"({','.join(select)})" if select else ""
    return {"@odata.context": call.context(f"messages{chosen}/$entity"), **shown}


def list_attachments(call: GraphCall, placed: Placed) -> dict[str, Any]:
    """A message's attachments, each with its content."""
    view = call.view(placed)
    chosen = attachment_select(call.request.names("$select"))
    page, rest = _paged(call, attachments(view))
    where = f"messages('{quote(view.id, safe='')}')/attachments"
    return {
        "@odata.context": call.context(where),
        **rest,
        "value": [attachment_json(each, chosen) for each in page],
    }


def _found(call: GraphCall, folder_id: str | None) -> list[MessageView]:
    conditions = read_filter(call.request.options.get("$filter"))
    order = read_order(call.request.options.get("$orderby"))
    check_efficient(conditions, order)
    views = [call.view(each) for each in _placed(call, folder_id)]
    if conditions:
        views = [each for each in views if fulfils(each, conditions)]
    sort(views, order)
    return views


def _placed(call: GraphCall, folder_id: str | None) -> Iterable[Placed]:
    mailbox = call.mailbox
    return mailbox.everything() if folder_id is None else mailbox.messages(mailbox.folder(folder_id))


def _message_json(call: GraphCall, view: MessageView, select: Sequence[str] | None) -> dict[str, Any]:
    shown = view.json(select)
    expand = call.request.options.get("$expand", "")
    if expand.lower().startswith("singlevalueextendedproperties"):
        properties = extended_properties(view, expand)
        if properties:
            shown["singleValueExtendedProperties"] = properties
    elif expand.lower() == "attachments":
        shown["attachments"] = [attachment_json(each, None) for each in attachments(view)]
    elif expand:
        raise bad_request(f"Parsing OData Select and Expand failed: {expand}")
    return shown


def _paged(call: GraphCall, found: Sequence[Item]) -> tuple[Sequence[Item], dict[str, Any]]:
    """One page, and the count and the link that go with it."""
    request = call.request
    top = request.number("$top", 1, MOST_PER_PAGE) or request.preferences.page_size or _USUAL_PAGE
    skip = request.number("$skip", 0) or 0
    rest: dict[str, Any] = {"@odata.count": len(found)} if request.flag("$count") else {}
    if skip + top < len(found):
        options = {**request.options, "$top": str(top), "$skip": str(skip + top)}
        query = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in options.items())
        rest["@odata.nextLink"] = f"{request.root}{request.path}?{query}"
    return found[skip : skip + top], rest
