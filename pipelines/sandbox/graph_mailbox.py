"""A mailbox's folders and messages, found and named as Graph does it.

Source: Microsoft, "mailFolder resource type" (well-known names, hidden and search folders) and
"Obtain immutable identifiers for Outlook resources".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.sandbox.faults import Door
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.store import Folder, Mailbox, Message, Store, StoreError

_WELL_KNOWN = {
    "inbox": "inbox", "sentitems": "sent", "drafts": "drafts", "deleteditems": "trash",
    "junkemail": "junk", "archive": "archive",
}  # fmt: skip
"""Names that work as ids, and the roles of the folders they name."""
_ABSENT = frozenset(
    {"clutter", "conflicts", "conversationhistory", "localfailures", "outbox", "recoverableitemsdeletions"}
    | {"scheduled", "searchfolders", "serverfailures", "syncissues"}
)
"""Well-known names of folders that the tenant's mailboxes do not have."""
_ROOT = "msgfolderroot"
UNREAD = "isRead eq false"
"""What every search folder of the tenant looks for."""
_ID_SIZES = (72, 120, 152)


@dataclass(frozen=True, slots=True)
class Placed:
    """A message, and the folder that it really lies in."""

    folder: Folder
    message: Message


class GraphMailbox:
    """One mailbox, read."""

    def __init__(self, store: Store, mailbox: Mailbox) -> None:
        self.store = store
        self.address = mailbox.address
        self._mailbox = mailbox
        self.root = Folder(mailbox.root_id, "", "root")

    def folders(self, *, hidden: bool) -> list[Folder]:
        """Every folder that holds mail or shows it, at any depth, parents first."""
        everything = self.store.snapshot(lambda: list(self._mailbox.folders.values()))
        found = [each for each in everything if each.holds_mail and (hidden or not each.hidden)]
        return sorted(found, key=lambda each: each.path.count("/"))

    def children(self, parent: Folder, *, hidden: bool) -> list[Folder]:
        """The folders directly below one."""
        return [each for each in self.folders(hidden=hidden) if each.path.rpartition("/")[0] == parent.path]

    def folder(self, folder_id: str) -> Folder:
        """A folder by its id or its well-known name. Raises ``GraphError``."""
        name = folder_id.lower()
        if name == _ROOT or folder_id == self.root.folder_id:
            return self.root
        if name in _ABSENT:
            raise GraphError(404, "ErrorFolderNotFound")
        role = _WELL_KNOWN.get(name)
        for each in self.folders(hidden=True):
            if each.folder_id == folder_id or (role and each.role == role):
                return each
        raise _nothing(folder_id)

    def parent_id(self, folder: Folder) -> str:
        """The id of the folder above."""
        above = folder.path.rpartition("/")[0]
        found = self._mailbox.folders.get(above) if above else None
        return found.folder_id if found else self.root.folder_id

    def messages(self, folder: Folder) -> list[Placed]:
        """What a folder shows, in no order: a search folder shows messages of others."""
        if folder.search:
            found = (each for each in self.everything() if "seen" not in each.message.flags)
            return list(found)
        shown = self.store.snapshot(lambda: list(folder.messages.values()))
        return [Placed(folder, each) for each in shown if Door.GRAPH not in each.hidden_from]

    def everything(self) -> Iterable[Placed]:
        """The messages of every visible folder, Deleted Items included."""
        for folder in self.folders(hidden=False):
            if not folder.search:
                yield from self.messages(folder)

    def message(self, message_id: str) -> Placed:
        """A message by either of its ids. Raises ``GraphError``."""
        try:
            folder, message = self.store.find(self.address, message_id)
        except StoreError:
            raise _nothing(message_id) from None
        if not folder.holds_mail or Door.GRAPH in message.hidden_from:
            raise _nothing(message_id)
        return Placed(folder, message)


def _nothing(named: str) -> GraphError:
    if len(named) in _ID_SIZES and named.startswith(("AAMk", "AAkA")):
        return GraphError(404, "ErrorItemNotFound")
    return GraphError(400, "ErrorInvalidIdMalformed")
