"""A mailbox's Inbox over POP3 (RFC 1939), read only: UIDL, LIST, STAT, TOP and RETR."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.errors import UsageError
from pipelines.mime import identity_from_headers
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, ProtocolName, Reset, Role
from pipelines.sources.pop3_bodies import BATCH_MESSAGES, Bodies
from pipelines.sources.pop3_session import Pop3Session
from pipelines.sources.pop3_wire import Pop3Connection

PAGE = 5_000
"""Entries of a page."""
INBOX = Folder("Inbox", Role.INBOX, "INBOX")


class Pop3Source:
    """See ``pipelines.sources.base.Source``. The connection is made with the first question.

    What it tells is the Inbox as it was at the session's sign-in; ``changes`` starts a new session.
    """

    protocol = ProtocolName.POP3
    ids_follow_moves = False

    def __init__(self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock) -> None:
        self._session = Pop3Session(tenant, mailbox, tokens, clock)
        self._bodies = Bodies(self._session)

    def folders(self) -> list[Folder]:
        """The Inbox: POP3 shows nothing else of a mailbox."""
        return [INBOX]

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        """What the listing has behind the part that the cursor covers; all of it where that part changed.

        With nothing new it costs a sign-in and one UIDL. Ids that are known come again
        whenever one before them has gone: UIDL tells no order.
        """
        self._check(folder)
        self._session.close()
        ids = self._session.run_listed(lambda _client, numbers: list(numbers))
        position = _Cursor.read(cursor) if cursor else None
        if cursor and position is None:
            yield Reset("the cursor is not one of POP3's")
        start = position.count if position and position.covers(ids) else 0
        if position and position.count == start == len(ids):
            return
        sizes = self._session.run_listed(lambda client, numbers: _sizes(client, numbers, ids[start:]))
        digest = _digest(ids[:start])
        for begin in range(start, max(len(ids), start + 1), PAGE):
            some = ids[begin : begin + PAGE]
            digest.update(_written(some))
            listed = zip(some, sizes[begin - start : begin - start + PAGE], strict=True)
            entries = [Entry(each, size) for each, size in listed]
            yield Page(entries, _Cursor(begin + len(some), digest.hexdigest()).written())

    def window(
        self,
        folder: Folder,  # noqa: ARG002
        since: datetime,  # noqa: ARG002
        before: datetime,  # noqa: ARG002
    ) -> Iterator[Sequence[Entry]]:
        """Raises ``UsageError``: POP3 knows no dates."""
        raise UsageError(
            f"{self._session.mailbox}: POP3 can list no window of dates: it tells no receipt times and "
            "cannot search",
            remedy="`mailover ingest` reads the whole Inbox, however old; for a window, read the mailbox "
            "by IMAP (legacy: imap) or Graph",
        )

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        """Each entry with what its headers (TOP) tell; as it came where the server does not answer for it."""
        self._check(folder)
        for start in range(0, len(entries), BATCH_MESSAGES):
            block = entries[start : start + BATCH_MESSAGES]
            headers = self._bodies.headers([each.native_id for each in block])
            for entry in block:
                known = headers.get(entry.native_id)
                yield replace(entry, identity=identity_from_headers(known)) if known else entry

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        """The messages in bounded batches; see ``pipelines.sources.pop3_bodies``."""
        self._check(folder)
        return self._bodies.fetch(entries)

    def native_ids(self, folder: Folder) -> set[str]:
        """Every unique-id of this session's listing."""
        self._check(folder)
        return self._session.run_listed(lambda _client, numbers: set(numbers))

    def count(self, folder: Folder) -> int:
        """STAT of this session: what it counts beside what it lists, without a second sign-in.

        Mail that comes in after the sign-in is in neither, and in the next session's.
        """
        self._check(folder)
        return self._session.run(Pop3Connection.count)

    def close(self) -> None:
        """Sign out; never raises."""
        self._session.close()

    def _check(self, folder: Folder) -> None:
        if folder.role is not Role.INBOX:
            raise UsageError(
                f"{self._session.mailbox}: POP3 shows the Inbox only, not {folder.path!r}",
                remedy="read the mailbox by IMAP (legacy: imap) or Graph",
            )


def _sizes(client: Pop3Connection, numbers: Mapping[str, int], ids: Sequence[str]) -> Sequence[int | None]:
    """Of each id, where the server tells it; nothing is asked where there are none."""
    told = client.sizes() if ids else {}
    return [told.get(numbers.get(each, 0)) for each in ids]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The first ``count`` ids of a listing are accounted for: those with this digest."""

    count: int
    digest: str

    def covers(self, ids: Sequence[str]) -> bool:
        return self.count <= len(ids) and _digest(ids[: self.count]).hexdigest() == self.digest

    def written(self) -> str:
        return json.dumps({"count": self.count, "digest": self.digest})

    @classmethod
    def read(cls, text: str) -> "_Cursor | None":
        try:
            told = json.loads(text)
            return cls(int(told["count"]), str(told["digest"]))
        except (ValueError, TypeError, KeyError):
            return None


def _digest(ids: Iterable[str]) -> "hashlib._Hash":
    return hashlib.sha256(_written(ids))


def _written(ids: Iterable[str]) -> bytes:
    return "".join(f"{each}\n" for each in ids).encode()
