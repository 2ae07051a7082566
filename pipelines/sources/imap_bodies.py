"""Messages out of an open folder: in batches, and one by one where a batch does not answer for all.

Whole messages only: Exchange makes the MIME anew for each question, so pieces asked for
one after another need not belong together.
"""

from collections.abc import Iterator, Sequence

from pipelines.errors import ConnectionLostError
from pipelines.mime import is_placeholder, normalise
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder
from pipelines.sources.imap_faults import quote
from pipelines.sources.imap_session import Examined, ImapSession, UidValidityChanged
from pipelines.sources.imap_wire import CommandRefusedError, fetch_content, search, uid_set

BATCH_BYTES = 8 * 1024 * 1024
BATCH_MESSAGES = 500
_UNLISTED_SIZE = 256 * 1024
"""Counted for a message whose size the listing did not tell."""
_BATCH_TRIES, _SINGLE_TRIES = 2, 3
_MOST_LOST = 3
"""Messages in a row that end the connection; after them it is the server that is ill."""
_LONGEST_PLACEHOLDER = 64 * 1024
_PLACEHOLDER_MARKS = (b"Retrieval", b"Microsoft Exchange Server")

Outcome = Fetched | FetchFailed


class Bodies:
    """Fetches messages of one session's mailbox."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._lost_in_a_row = 0

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Outcome]:
        """One outcome per entry. Holds no more than a batch (8 MiB as listed) or one larger message."""
        opened = self._session.opened(folder.native)
        waiting = {each.native_id: each for each in entries}
        by_uid = {uid: each for each in waiting.values() if (uid := opened.uid_of(each.native_id))}
        try:
            for batch in _batches(by_uid):
                for outcome in self._batch(opened, batch):
                    del waiting[outcome.entry.native_id]
                    yield outcome
        except UidValidityChanged:
            pass
        for entry in waiting.values():
            yield FetchFailed(
                entry,
                "renumbered",
                "the folder's UIDs were given anew; the message has another id now",
                gone=True,
            )

    def _batch(self, opened: Examined, batch: dict[int, Entry]) -> Iterator[Outcome]:
        try:
            contents = self._contents(opened, list(batch), _BATCH_TRIES)
        except (CommandRefusedError, ConnectionLostError):
            contents = {}
        left = []
        for uid, entry in batch.items():
            if uid in contents:
                yield outcome_of(entry, contents.pop(uid))
            else:
                left.append(uid)
        yield from self._left_over(opened, {uid: batch[uid] for uid in left})

    def _left_over(self, opened: Examined, entries: dict[int, Entry]) -> Iterator[Outcome]:
        if not entries:
            return
        try:
            wanted = f"UID {uid_set(list(entries))}"
            still = set(self._session.run_in(opened, lambda client: search(client, wanted)))
        except CommandRefusedError:
            still = set(entries)
        for uid, entry in entries.items():
            if uid in still:
                yield self._single(opened, uid, entry)
            else:
                yield FetchFailed(entry, "gone", "the server no longer lists the message", gone=True)

    def _single(self, opened: Examined, uid: int, entry: Entry) -> Outcome:
        try:
            contents = self._contents(opened, [uid], _SINGLE_TRIES)
        except CommandRefusedError as refused:
            return FetchFailed(entry, "refused", f"the server refuses to send it: {quote(refused.text)}")
        except ConnectionLostError:
            self._lost_in_a_row += 1
            # Raises where the server is away altogether: then nothing is the message's fault.
            self._session.examine(opened.native)
            if self._lost_in_a_row >= _MOST_LOST:
                raise
            return FetchFailed(
                entry,
                "connection-lost",
                f"the server ended the connection {_SINGLE_TRIES} times when asked for it",
            )
        if uid not in contents:
            return FetchFailed(
                entry, "empty-answer", "the server lists the message and answers nothing for it"
            )
        return outcome_of(entry, contents[uid])

    def _contents(self, opened: Examined, uids: Sequence[int], tries: int) -> dict[int, bytes]:
        contents = self._session.run_in(opened, lambda client: fetch_content(client, uids, ""), tries=tries)
        if contents:
            self._lost_in_a_row = 0
        return contents


def _batches(entries: dict[int, Entry]) -> Iterator[dict[int, Entry]]:
    """Ascending UIDs, bounded in messages and in bytes as the listing has them."""
    batch: dict[int, Entry] = {}
    weight = 0
    for uid in sorted(entries):
        size = entries[uid].size
        size = _UNLISTED_SIZE if size is None else size
        if batch and (len(batch) == BATCH_MESSAGES or weight + size > BATCH_BYTES):
            yield batch
            batch, weight = {}, 0
        batch[uid] = entries[uid]
        weight += size
    if batch:
        yield batch


def outcome_of(entry: Entry, mime: bytes) -> Outcome:
    if not mime and entry.size != 0:
        return FetchFailed(entry, "empty-answer", "the server lists the message and sends no content")
    if _may_be_placeholder(mime) and is_placeholder(normalise(mime)):
        told = "Exchange could not convert the message and sent a notice in its place"
        return FetchFailed(entry, "placeholder", told, fallback=mime)
    return Fetched(entry, mime)


def _may_be_placeholder(mime: bytes) -> bool:
    """Cheap: only what may be a placeholder is parsed."""
    return len(mime) <= _LONGEST_PLACEHOLDER and any(
        mime.find(mark, 0, 4096) >= 0 for mark in _PLACEHOLDER_MARKS
    )
