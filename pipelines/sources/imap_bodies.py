"""Messages out of an open folder: in batches, and one by one where a batch does not answer for all.

Whole messages only: Exchange makes the MIME anew for each question, so pieces asked for
one after another need not belong together.
"""

from collections.abc import Iterator, Sequence

from pipelines.errors import ConnectionLostError
from pipelines.sources.base import Entry, FetchFailed, Folder
from pipelines.sources.imap_session import Examined, ImapSession, UidValidityChanged
from pipelines.sources.imap_wire import fetch_content, search, uid_set
from pipelines.sources.mail_bodies import Outcome, batches, outcome_of
from pipelines.sources.mail_faults import CommandRefusedError, quote

BATCH_BYTES = 8 * 1024 * 1024
BATCH_MESSAGES = 500
_BATCH_TRIES, _SINGLE_TRIES = 2, 3
_MOST_LOST = 3
"""Messages in a row that end the connection; after them it is the server that is ill."""


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
            for batch in batches(sorted(by_uid.items()), BATCH_MESSAGES, BATCH_BYTES):
                for each in self._batch(opened, batch):
                    del waiting[each.entry.native_id]
                    yield each
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
