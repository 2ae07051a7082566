"""The three protocols of the model tenant, as sources: no network, the store's own answers.

What is known of Exchange Online and makes the protocols differ is kept: UIDs and UIDLs that
an edit renews, sizes that are estimates, a POP3 session that shows the Inbox as it was at
sign-in, immutable ids that follow a move, times in whole seconds, and a delta that may come
late, repeat itself, lose its place, and hide moves.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.errors import FolderGoneError, UsageError
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

if TYPE_CHECKING:
    from tests.tenant_model import TenantModel

_PREVIEW = 255


class ModelSource:
    """What the three sources share."""

    protocol: ProtocolName
    ids_follow_moves = False

    def __init__(self, model: "TenantModel", address: str) -> None:
        self._model, self._address = model, address

    def _live(self, folder: Folder) -> tenant.Folder:
        raise NotImplementedError

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        raise NotImplementedError

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        raise NotImplementedError

    def _ask(self, command: str) -> None:
        self._model.before(self.protocol, command)

    def _folders(self) -> Iterable[tenant.Folder]:
        return self._model.store.mailbox(self._address).folders.values()

    def _visible(self, live: tenant.Folder) -> list[tenant.Message]:
        hidden = self._model.hidden
        return [each for each in live.messages.values() if (self.protocol, each.immutable_id) not in hidden]

    def _by_id(self, folder: Folder) -> dict[str, tenant.Message]:
        """What ids that are asked for by name stand for now."""
        live = self._live(folder)
        return {self._native_id(live, each): each for each in self._visible(live)}

    def _pages(self, messages: Sequence[tenant.Message]) -> Iterator[Sequence[tenant.Message]]:
        for at in range(0, len(messages), self._model.page_size):
            yield messages[at : at + self._model.page_size]

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        self._ask("window")
        live = self._live(folder)
        found = [each for each in self._visible(live) if since <= each.received_at < before]
        found.sort(key=lambda each: each.received_at, reverse=True)
        for page in self._pages(found):
            yield [self._entry(live, each) for each in page]

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        self._ask("identify")
        messages = self._by_id(folder)
        for entry in entries:
            message = messages.get(entry.native_id)
            yield self._identified(entry, message) if message else entry

    def _identified(self, entry: Entry, message: tenant.Message) -> Entry:
        block = self._model.form(self.protocol, message).partition(b"\r\n\r\n")[0] + b"\r\n"
        return replace(entry, identity=identity_from_headers(block))

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        for entry in entries:
            self._ask("fetch")
            message = self._by_id(folder).get(entry.native_id)
            if message is None:
                yield FetchFailed(entry, "gone", "no longer listed", gone=True)
            elif failed := self._model.poison.get((self.protocol, message.immutable_id)):
                yield replace(failed, entry=entry)
            else:
                self._model.fetched.append((self.protocol, entry.native_id))
                yield Fetched(entry, self._model.form(self.protocol, message))

    def native_ids(self, folder: Folder) -> set[str]:
        self._ask("native_ids")
        live = self._live(folder)
        return {self._native_id(live, each) for each in self._visible(live)}

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
            for each in self._folders()
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
            self._model.listed_size(message),
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
        uidvalidity = live.uidvalidity
        listed = sorted((each for each in self._visible(live) if each.uid > after), key=lambda m: m.uid)
        # What was listed may have moved on since: the entries are what the listing said.
        entries = [self._entry(live, each) for each in listed]
        size = self._model.page_size
        for start in range(0, len(entries), size) or ([0] if cursor is None else []):
            self._ask("page")
            some = entries[start : start + size]
            after = int(some[-1].native_id.partition(":")[2]) if some else after
            yield Page(some, json.dumps({"uidvalidity": uidvalidity, "uid": after}))


class Pop3ModelSource(ModelSource):
    """The Inbox by UIDL as it was at sign-in; no dates."""

    protocol = ProtocolName.POP3

    def __init__(self, model: "TenantModel", address: str) -> None:
        super().__init__(model, address)
        self._session: list[str] | None = None

    def folders(self) -> list[Folder]:
        self._ask("folders")
        return [Folder("Inbox", Role.INBOX, "INBOX")]

    def _live(self, folder: Folder) -> tenant.Folder:
        return self._model.store.folder(self._address, "Inbox")

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        return message.uidl

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        return Entry(message.uidl, self._model.listed_size(message))

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        raise UsageError("POP3 knows no dates")

    def _listed(self, folder: Folder) -> list[str]:
        if self._session is None:
            self._session = [each.uidl for each in self._visible(self._live(folder))]
        return self._session

    def native_ids(self, folder: Folder) -> set[str]:
        self._ask("native_ids")
        return set(self._listed(folder))

    def count(self, folder: Folder) -> int:
        self._ask("count")
        return len(self._listed(folder))

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        self._ask("changes")
        self._session = None
        entries = [self._entry(self._live(folder), each) for each in self._visible(self._live(folder))]
        ids = self._listed(folder)
        known = json.loads(cursor) if cursor else None
        covered = known is not None and known["digest"] == _digest(ids[: known["count"]])
        start = known["count"] if known and covered else 0
        if known and start == known["count"] == len(ids):
            return
        size = self._model.page_size
        for begin in range(start, max(len(ids), start + 1), size):
            self._ask("page")
            end = min(begin + size, len(ids))
            yield Page(entries[begin:end], json.dumps({"count": end, "digest": _digest(ids[:end])}))


class GraphModelSource(ModelSource):
    """By folder id and immutable id; a delta made of the folder's change log."""

    protocol = ProtocolName.GRAPH
    ids_follow_moves = True

    def folders(self) -> list[Folder]:
        self._ask("folders")
        return [
            Folder(each.path, Role(each.role), each.folder_id, "search folder" if each.search else None)
            for each in self._folders()
            if not each.hidden and each.holds_mail
        ]

    def _live(self, folder: Folder) -> tenant.Folder:
        for each in self._folders():
            if each.folder_id == folder.native:
                return each
        raise FolderGoneError(f"{folder.path} is gone")

    def _native_id(self, folder: tenant.Folder, message: tenant.Message) -> str:
        return message.immutable_id

    def _by_id(self, folder: Folder) -> dict[str, tenant.Message]:
        """An immutable id is answered for wherever in the mailbox its message lies."""
        return {each.immutable_id: each for live in self._folders() for each in self._visible(live)}

    def _entry(self, folder: tenant.Folder, message: tenant.Message) -> Entry:
        mime = self._model.form(self.protocol, message)
        _head, _, body = mime.partition(b"\r\n\r\n")
        entry = Entry(
            message.immutable_id,
            None,
            self._model.received_at(self.protocol, message),
            tuple(sorted(message.flags)),
            modified_at=self._model.modified_at(message),
        )
        entry = self._identified(entry, message)
        shown = repr(entry.identity).encode() + body[:_PREVIEW]
        if "draft" in message.flags:
            shown += str(message.modified_at).encode()
        return replace(entry, content_mark=hashlib.sha256(shown).hexdigest())

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        self._ask("identify")
        messages, live = self._by_id(folder), self._live(folder)
        for entry in entries:
            message = messages.get(entry.native_id)
            yield self._entry(live, message) if message and entry.identity is None else entry

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        self._ask("changes")
        live, model = self._live(folder), self._model
        state = json.loads(cursor) if cursor else {"since": 0}
        if cursor and state["since"] < model.delta_lost_before:
            yield Reset("the sync state is gone")
            state = {"since": 0}
        if model.running_links_lost:
            state = {"since": state["since"]}
        since = state["since"]
        until = state.get("until", self._told_until(live, since))
        told = list(dict.fromkeys(each.immutable_id for each in live.changes if since < each.number <= until))
        for at in range(state.get("done", 0), len(told), model.page_size):
            self._ask("page")
            running = json.dumps({"since": since, "until": until, "done": at + model.page_size})
            yield Page(self._shown(live, told[at : at + model.page_size], since, until), running)
            if model.delta_stutters:
                yield Page([self._entry(live, each) for each in self._visible(live)[:1]], running)
                yield Page((), running)
        self._ask("page")
        removed = frozenset(each for each in told if self._shown_removed(live, each, since))
        yield Page((), json.dumps({"since": until}), removed - model.unreported)

    def _told_until(self, live: tenant.Folder, since: int) -> int:
        """The newest change that the delta tells; later ones show in a later round."""
        log = live.changes[: len(live.changes) - self._model.delta_late]
        return max((each.number for each in log), default=since)

    def _shown(self, live: tenant.Folder, changed: Sequence[str], since: int, until: int) -> list[Entry]:
        here = {each.immutable_id: each for each in self._visible(live)}
        only_came = {each.immutable_id for each in live.changes if since < each.number <= until} - {
            each.immutable_id
            for each in live.changes
            if since < each.number <= until and each.kind is not tenant.ChangeKind.CREATED
        }
        hidden = self._model.moves_hidden & only_came
        return [
            self._entry(live, here[each])
            for each in changed
            if each in here and each not in hidden and not self._shown_removed(live, each, since)
        ]

    @staticmethod
    def _shown_removed(live: tenant.Folder, immutable_id: str, since: int) -> bool:
        """Gone; or gone and back between two rounds, which a delta with immutable ids does not tell."""
        log = [each for each in live.changes if each.immutable_id == immutable_id]
        was_here = any(each.number <= since for each in log)
        left = any(each.kind is tenant.ChangeKind.REMOVED and each.number > since for each in log)
        return (was_here and left) or all(
            each.immutable_id != immutable_id for each in live.messages.values()
        )


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()


SOURCES: dict[ProtocolName, Callable[["TenantModel", str], Source]] = {
    ProtocolName.IMAP: ImapModelSource,
    ProtocolName.POP3: Pop3ModelSource,
    ProtocolName.GRAPH: GraphModelSource,
}
