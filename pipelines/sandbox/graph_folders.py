"""Folders as JSON."""

from typing import Any

from pipelines.sandbox.graph_mailbox import UNREAD, GraphMailbox
from pipelines.sandbox.graph_request import read_select
from pipelines.sandbox.store import Folder

PROPERTIES = (
    "id", "displayName", "parentFolderId", "childFolderCount", "unreadItemCount", "totalItemCount",
    "sizeInBytes", "isHidden",
)  # fmt: skip
_SEARCH_PROPERTIES = ("isSupported", "includeNestedFolders", "sourceFolderIds", "filterQuery")
_ROOT_NAME = "Top of Information Store"


def folder_json(mailbox: GraphMailbox, folder: Folder, select: tuple[str, ...] | None) -> dict[str, Any]:
    """One folder; ``childFolderCount`` counts the visible ones only."""
    messages = [each.message for each in mailbox.messages(folder)]
    shown: dict[str, Any] = {
        "id": folder.folder_id,
        "displayName": folder.path.rpartition("/")[2] or _ROOT_NAME,
        "parentFolderId": mailbox.parent_id(folder),
        "childFolderCount": len(mailbox.children(folder, hidden=False)),
        "unreadItemCount": sum("seen" not in each.flags for each in messages),
        "totalItemCount": len(messages),
        "sizeInBytes": 0 if folder.search else sum(each.size for each in messages),
        "isHidden": folder.hidden,
    }
    if folder.search:
        sources = [each.folder_id for each in mailbox.folders(hidden=False) if not each.search]
        shown |= dict(zip(_SEARCH_PROPERTIES, (True, True, sources, UNREAD), strict=True))
    kept = shown if select is None else {name: shown[name] for name in ("id", *select) if name in shown}
    return {"@odata.type": "#microsoft.graph.mailSearchFolder", **kept} if folder.search else kept


def folder_select(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """``$select`` for folders. Raises ``GraphError`` for a property that they do not have."""
    return read_select(names, (*PROPERTIES, *_SEARCH_PROPERTIES), "mailFolder")
