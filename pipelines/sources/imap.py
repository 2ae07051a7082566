"""A mailbox over IMAP4rev1 (RFC 3501), read only: EXAMINE, UID SEARCH, UID FETCH of BODY.PEEK."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.mime import identity_from_headers
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, ProtocolName, Reset
from pipelines.sources.imap_bodies import Bodies
from pipelines.sources.imap_folders import read_folders
from pipelines.sources.imap_session import Examined, ImapSession, UidValidityChanged
from pipelines.sources.imap_wire import (
    Listed,
    fetch_content,
    fetch_listed,
    list_lines,
    search_days,
    search_window,
    windows,
)
from pipelines.sources.mail_faults import CommandRefusedError

PAGE = 10_000
"""Entries of a page: two batches of small mail, so that one is read while another is written."""
_ASKED_AT_ONCE = 500
"""UIDs of a FETCH, whose command stays below 8 KB however scattered they are."""
_HEADERS = "HEADER.FIELDS (MESSAGE-ID DATE FROM SENDER SUBJECT)"


class ImapSource:
    """See ``pipelines.sources.base.Source``. The connection is made with the first question."""

    protocol = ProtocolName.IMAP
    ids_follow_moves = False

    def __init__(self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock) -> None:
        self._session = ImapSession(tenant, mailbox, tokens, clock)
        self._bodies = Bodies(self._session)
        self._counted: dict[str, int] = {}
        """Messages of folders in which the last walk found nothing new, for one question after it."""

    def folders(self) -> list[Folder]:
        """Every folder LIST shows, Inbox first."""
        return read_folders(self._session.run(list_lines))

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        """New UIDs above the cursor, ascending. With nothing new it costs one EXAMINE."""
        self._counted.pop(folder.native, None)
        opened = self._session.examine(folder.native)
        position = _Cursor.read(cursor) if cursor else None
        if cursor and position is None:
            yield Reset("the cursor is not one of IMAP's")
        elif position and position.uidvalidity != opened.uid_validity:
            yield Reset(f"UIDVALIDITY changed from {position.uidvalidity} to {opened.uid_validity}")
            position = None
        while True:
            try:
                yield from self._walk(opened, position)
            except UidValidityChanged as changed:
                yield Reset(f"UIDVALIDITY changed from {opened.uid_validity} to {changed.now.uid_validity}")
                opened, position = changed.now, None
            else:
                return

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        """Highest UIDs first, which is nearly the order of receipt; by time within a page.

        An entry whose INTERNALDATE the server does not tell is in every window whose SEARCH finds it.
        """
        opened = self._session.examine(folder.native)
        while True:
            try:
                yield from self._window(opened, since, before)
            except UidValidityChanged as changed:
                opened = changed.now
            else:
                return

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        """Each entry with what its headers tell; as it came where the server does not answer for it."""
        for start in range(0, len(entries), _ASKED_AT_ONCE):
            block = {each.native_id: each for each in entries[start : start + _ASKED_AT_ONCE]}
            headers = self._headers(folder, block)
            for native_id, entry in block.items():
                known = headers.get(native_id)
                yield replace(entry, identity=identity_from_headers(known)) if known else entry

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        """The messages in bounded batches; see ``pipelines.sources.imap_bodies``."""
        return self._bodies.fetch(folder, entries)

    def native_ids(self, folder: Folder) -> set[str]:
        """Every UID the folder has now."""
        opened = self._session.examine(folder.native)
        while True:
            try:
                return {opened.native_id(uid) for block in self._listing(opened, 0) for uid in block}
            except UidValidityChanged as changed:
                opened = changed.now

    def count(self, folder: Folder) -> int:
        """EXISTS of the EXAMINE by which ``changes`` has just found nothing new, else of a new one.

        STATUS must not be asked of the folder that is open (RFC 3501, 6.3.10).
        """
        counted = self._counted.pop(folder.native, None)
        return self._session.examine(folder.native).exists if counted is None else counted

    def close(self) -> None:
        """Sign out; never raises."""
        self._session.close()

    def _walk(self, opened: Examined, position: "_Cursor | None") -> Iterator[Page]:
        after = position.uid if position else 0
        moved = False
        if opened.exists and opened.uid_next != after + 1:
            for uids in self._listing(opened, after):
                for start in range(0, len(uids), PAGE):
                    block = uids[start : start + PAGE]
                    yield Page(
                        self._entries(opened, block), _Cursor(opened.uid_validity, block[-1]).written()
                    )
                    moved = True
        if position is None and not moved:
            yield Page((), _Cursor(opened.uid_validity, 0).written())
        if not moved:
            self._counted[opened.native] = opened.exists

    def _window(self, opened: Examined, since: datetime, before: datetime) -> Iterator[list[Entry]]:
        if not opened.exists:
            return
        uids = self._session.run_in(opened, lambda client: search_days(client, since, before))
        for end in range(len(uids), 0, -PAGE):
            entries = self._entries(opened, uids[max(end - PAGE, 0) : end])
            inside = [
                each for each in entries if each.received_at is None or since <= each.received_at < before
            ]
            if inside:
                yield sorted(inside, key=lambda each: each.received_at or before, reverse=True)

    def _listing(self, opened: Examined, after: int) -> Iterator[list[int]]:
        if not opened.exists:
            return
        for low, high in windows(after, opened.uid_next, opened.exists):
            yield self._session.run_in(opened, partial(search_window, low=low, high=high))

    def _entries(self, opened: Examined, uids: Sequence[int]) -> list[Entry]:
        """Entries for all ``uids``; those for which the server gives no details stand with their id alone."""
        listed: dict[int, Listed] = {}
        for start in range(0, len(uids), _ASKED_AT_ONCE):
            some = uids[start : start + _ASKED_AT_ONCE]
            with suppress(CommandRefusedError):
                listed |= self._session.run_in(opened, partial(fetch_listed, uids=some))
        entries = []
        for uid in uids:
            told = listed.get(uid)
            entries.append(
                Entry(opened.native_id(uid), told.size, told.received_at, told.flags)
                if told
                else Entry(opened.native_id(uid))
            )
        return entries

    def _headers(self, folder: Folder, entries: Iterable[str]) -> dict[str, bytes]:
        opened = self._session.opened(folder.native)
        uids = sorted(uid for uid in map(opened.uid_of, entries) if uid)
        if not uids:
            return {}
        try:
            contents = self._session.run_in(opened, lambda client: fetch_content(client, uids, _HEADERS))
        except (UidValidityChanged, CommandRefusedError):
            return {}
        return {opened.native_id(uid): content for uid, content in contents.items()}


@dataclass(frozen=True, slots=True)
class _Cursor:
    uidvalidity: int
    uid: int

    def written(self) -> str:
        return json.dumps({"uidvalidity": self.uidvalidity, "uid": self.uid})

    @classmethod
    def read(cls, text: str) -> "_Cursor | None":
        try:
            told = json.loads(text)
            return cls(int(told["uidvalidity"]), int(told["uid"]))
        except (ValueError, TypeError, KeyError):
            return None
