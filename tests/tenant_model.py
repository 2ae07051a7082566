"""A tenant in this process: IMAP, POP3 and Graph over one mail store, without a network.

Obeys the contract of ``pipelines.sources.base`` and keeps what makes the protocols differ:
UIDs that an edit renews, UIDLs, immutable ids that follow a move, a delta that loses A→B→A,
bytes that each protocol makes for itself.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.config import Config, MailboxConfig
from pipelines.errors import FolderGoneError, UsageError
from pipelines.ingest.workspace import Workspace
from pipelines.mime import identity_from_headers
from pipelines.sandbox import store as tenant
from pipelines.sources.base import (
    Entry,
    Fetched,
    FetchFailed,
    Folder,
    Page,
    ProtocolName,
    Reset,
    Role,
    Source,
)
from tests.ingest.model import VirtualClock

_PREVIEW = 255


@dataclass
class TenantModel:
    """The store, what was asked of it, and what it is told to do wrong."""

    store: tenant.Store
    fetched: list[tuple[ProtocolName, str]] = field(default_factory=list)
    """Every body that was downloaded, by protocol and native id."""
    before: Callable[[ProtocolName, str], None] = lambda _protocol, _command: None
    """Called before each command (``folders``, ``page``, ``fetch`` …); raises what a server does."""
    poison: dict[tuple[ProtocolName, str], FetchFailed] = field(default_factory=dict)
    """Failures by protocol and immutable id, for as long as they stand here."""
    forms: dict[tuple[ProtocolName, str], bytes] = field(default_factory=dict)
    """Bytes that a protocol makes of a message where not the usual, by SHA-256 of the store's."""
    hidden: set[tuple[ProtocolName, str]] = field(default_factory=set)
    """Messages that a protocol does not show, by protocol and immutable id."""
    unreported: set[str] = field(default_factory=set)
    """Immutable ids of which Graph's delta does not say that they are gone."""
    late: dict[ProtocolName, timedelta] = field(default_factory=dict)
    """By how much a protocol's time of receipt differs from the store's."""
    delta_lost_before: int = 0
    """Delta states older than this change are forgotten: they answer with a reset."""
    page_size: int = 3

    def received_at(self, protocol: ProtocolName, message: tenant.Message) -> datetime:
        """The time of receipt as the protocol tells it: in whole seconds."""
        return message.received_at.replace(microsecond=0) + self.late.get(protocol, timedelta())

    def form(self, protocol: ProtocolName, message: tenant.Message) -> bytes:
        """The message as the protocol delivers it."""
        told = self.forms.get((protocol, message.sha256))
        if told is not None:
            return told
        mime = self.store.read(message)
        return b"X-Graph: made anew\r\n" + mime if protocol is ProtocolName.GRAPH else mime


class ModelSource:
    """What the three sources share."""

    protocol: ProtocolName
    ids_follow_moves = False

    def __init__(self, model: TenantModel, address: str) -> None:
        self._model, self._address = model, address

    def _live(self, folder: Folder) -> tenant.Folder:
        raise NotImplementedError

    def _ask(self, command: str) -> None:
        self._model.before(self.protocol, command)

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        raise NotImplementedError

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        raise NotImplementedError

    def _visible(self, live: tenant.Folder) -> list[tenant.Message]:
        hidden = self._model.hidden
        return [each for each in live.messages.values() if (self.protocol, each.immutable_id) not in hidden]

    def _messages(self, folder: Folder) -> dict[str, tenant.Message]:
        live = self._live(folder)
        return {self._native_id(live, each): each for each in self._visible(live)}

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        self._ask("window")
        live = self._live(folder)
        found = [each for each in self._visible(live) if since <= each.received_at < before]
        found.sort(key=lambda each: each.received_at, reverse=True)
        for start in range(0, len(found), self._model.page_size):
            yield [self._entry(live, each) for each in found[start : start + self._model.page_size]]

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        self._ask("identify")
        messages = self._messages(folder)
        for entry in entries:
            message = messages.get(entry.native_id)
            yield self._identified(entry, message) if message else entry

    def _identified(self, entry: Entry, message: tenant.Message) -> Entry:
        block = self._model.form(self.protocol, message).partition(b"\r\n\r\n")[0] + b"\r\n"
        return replace(entry, identity=identity_from_headers(block))

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        for entry in entries:
            self._ask("fetch")
            message = self._messages(folder).get(entry.native_id)
            if message is None:
                yield FetchFailed(entry, "gone", "no longer listed", gone=True)
            elif failed := self._model.poison.get((self.protocol, message.immutable_id)):
                yield replace(failed, entry=entry)
            else:
                self._model.fetched.append((self.protocol, entry.native_id))
                yield Fetched(entry, self._model.form(self.protocol, message))

    def native_ids(self, folder: Folder) -> set[str]:
        self._ask("native_ids")
        return set(self._messages(folder))

    def count(self, folder: Folder) -> int:
        self._ask("count")
        return len(self._visible(self._live(folder)))

    def close(self) -> None:
        pass


class ImapModelSource(ModelSource):
    """By path, UIDVALIDITY and UID; every folder, those without mail too."""

    protocol = ProtocolName.IMAP

    def folders(self) -> list[Folder]:
        self._ask("folders")
        return [
            Folder(each.path, Role(each.role), each.path, None if each.holds_mail else "non-mail")
            for each in self._model.store.mailbox(self._address).folders.values()
            if not each.hidden and not each.search
        ]

    def _live(self, folder: Folder) -> tenant.Folder:
        try:
            return self._model.store.folder(self._address, folder.native)
        except tenant.StoreError:
            raise FolderGoneError(f"{folder.path} is gone") from None

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        return f"{folder.uidvalidity}:{message.uid}"

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        return Entry(
            self._native_id(folder, message),
            message.size,
            self._model.received_at(self.protocol, message),
            tuple(sorted(message.flags)),
        )

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        self._ask("changes")
        live = self._live(folder)
        after = 0
        if cursor is not None:
            at = json.loads(cursor)
            if at["uidvalidity"] == live.uidvalidity:
                after = at["uid"]
            else:
                yield Reset("UIDVALIDITY changed")
        listed = sorted((each for each in self._visible(live) if each.uid > after), key=lambda m: m.uid)
        pages = [
            listed[at : at + self._model.page_size] for at in range(0, len(listed), self._model.page_size)
        ]
        for page in pages or ([[]] if cursor is None else []):
            self._ask("page")
            after = page[-1].uid if page else after
            # What was listed may have moved on since: the entries are what the listing said.
            yield Page(
                [self._entry(live, each) for each in page],
                json.dumps({"uidvalidity": live.uidvalidity, "uid": after}),
            )


class Pop3ModelSource(ModelSource):
    """The Inbox by UIDL; no dates."""

    protocol = ProtocolName.POP3

    def folders(self) -> list[Folder]:
        self._ask("folders")
        return [Folder("Inbox", Role.INBOX, "INBOX")]

    def _live(self, folder: Folder) -> tenant.Folder:
        return self._model.store.folder(self._address, "Inbox")

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        return message.uidl

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        return Entry(message.uidl, message.size)

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        raise UsageError("POP3 knows no dates")

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        self._ask("changes")
        live = self._live(folder)
        listed = self._visible(live)
        digest = hashlib.sha256(" ".join(each.uidl for each in listed).encode()).hexdigest()
        if digest == cursor:
            return
        pages = [
            listed[at : at + self._model.page_size] for at in range(0, len(listed), self._model.page_size)
        ]
        for number, page in enumerate(pages or [[]], 1):
            self._ask("page")
            whole = number >= len(pages)
            yield Page([self._entry(live, each) for each in page], digest if whole else cursor or "none yet")


class GraphModelSource(ModelSource):
    """By folder id and immutable id; a delta made of the folder's change log."""

    protocol = ProtocolName.GRAPH
    ids_follow_moves = True

    def folders(self) -> list[Folder]:
        self._ask("folders")
        return [
            Folder(each.path, Role(each.role), each.folder_id, "search folder" if each.search else None)
            for each in self._model.store.mailbox(self._address).folders.values()
            if not each.hidden and each.holds_mail
        ]

    def _live(self, folder: Folder) -> tenant.Folder:
        for each in self._model.store.mailbox(self._address).folders.values():
            if each.folder_id == folder.native:
                return each
        raise FolderGoneError(f"{folder.path} is gone")

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        return message.immutable_id

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        mime = self._model.form(self.protocol, message)
        _head, _, body = mime.partition(b"\r\n\r\n")
        entry = Entry(
            message.immutable_id,
            None,
            self._model.received_at(self.protocol, message),
            tuple(sorted(message.flags)),
            modified_at=message.modified_at,
        )
        entry = self._identified(entry, message)
        shown = repr(entry.identity).encode() + body[:_PREVIEW]
        if "draft" in message.flags:
            shown += str(message.change_key).encode()
        return replace(entry, content_mark=hashlib.sha256(shown).hexdigest())

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        messages = self._messages(folder)
        live = self._live(folder)
        for entry in entries:
            message = messages.get(entry.native_id)
            yield self._entry(live, message) if message and entry.identity is None else entry

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        self._ask("changes")
        live = self._live(folder)
        state = json.loads(cursor) if cursor else {"since": 0}
        if cursor and state["since"] < self._model.delta_lost_before:
            yield Reset("the sync state is gone")
            state = {"since": 0}
        since, until = state["since"], max((each.number for each in live.changes), default=0)
        changed = list(dict.fromkeys(each.immutable_id for each in live.changes if each.number > since))
        removed = {each for each in changed if self._shown_removed(live, each, since)}
        removed -= self._model.unreported
        by_id = {each.immutable_id: each for each in self._visible(live)}
        entries = [by_id[each] for each in changed if each in by_id and each not in removed]
        size = self._model.page_size
        for at in range(0, len(entries), size):
            self._ask("page")
            # The running round's own links are of no use to another round: it starts at ``since`` again.
            yield Page([self._entry(live, each) for each in entries[at : at + size]], json.dumps(state))
        yield Page((), json.dumps({"since": until}), frozenset(removed))

    @staticmethod
    def _shown_removed(live: tenant.Folder, immutable_id: str, since: int) -> bool:
        """Gone; or gone and back between two rounds, which a delta with immutable ids does not tell."""
        log = [each for each in live.changes if each.immutable_id == immutable_id]
        was_here = any(each.number <= since for each in log)
        left = any(each.kind is tenant.ChangeKind.REMOVED and each.number > since for each in log)
        here = any(each.immutable_id == immutable_id for each in live.messages.values())
        return (was_here and left) or (not here and since > 0)


SOURCES: dict[ProtocolName, Callable[[TenantModel, str], Source]] = {
    ProtocolName.IMAP: ImapModelSource,
    ProtocolName.POP3: Pop3ModelSource,
    ProtocolName.GRAPH: GraphModelSource,
}


class TenantWorkspace(Workspace):
    """The real workspace over the model tenant."""

    def __init__(self, config: Config, model: TenantModel, clock: VirtualClock) -> None:
        super().__init__(config, clock)
        self.model = model
        self.virtual_clock = clock

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        return SOURCES[protocol](self.model, mailbox.address)


def model_tenant(directory: Path, clock: VirtualClock, *addresses: str) -> TenantModel:
    """A tenant whose mailboxes have an Inbox, Drafts, Sent Items and Projects."""
    store = tenant.Store(directory, clock.now)
    for address in addresses:
        store.create_mailbox(address)
        for path, role in {
            "Inbox": "inbox",
            "Drafts": "drafts",
            "Sent Items": "sent",
            "Projects": "other",
        }.items():
            store.create_folder(address, path, role)
    clock.sleep(timedelta(hours=1).total_seconds())
    return TenantModel(store)
