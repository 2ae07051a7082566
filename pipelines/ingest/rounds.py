"""One walk of one folder, with an account of every id that it listed."""

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from pipelines.errors import RoundOpenError
from pipelines.index.candidates import known_forms, place
from pipelines.index.changes import Evidence, RoundAccount, Window
from pipelines.index.lookup import (
    Known,
    known_elsewhere,
    known_occurrences,
    linked_by_listing,
    live_count,
    live_ids,
    message_ids_in_lake,
    message_rows,
    quarantined,
    shown_by_header,
    unmatched_entries,
    unmatched_ids,
)
from pipelines.index.mailboxes import FolderRow
from pipelines.index.quarantine import State, due_for_retry
from pipelines.ingest.ahead import with_records
from pipelines.ingest.batch import Batch
from pipelines.ingest.matching import Links, has_moved, is_edited, recognise
from pipelines.ingest.outcomes import entry_of
from pipelines.ingest.workspace import Workspace
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, Reset, Role, Source

SWEEP_EVERY = timedelta(days=1)
"""How often all ids of a folder are listed where its change feed may have lost some."""
RECOGNISE_FROM = 200
"""So many new ids at once look like a move; fewer are fetched, and their bytes decide."""

Progress = Callable[[RoundAccount], None]


class Round:
    """A folder's round: ``walk``, ``reconcile``, ``settle`` and ``close``.

    Each begins when the one before it is done in all folders, and everything is written.
    With a ``window`` it is ``walk_window`` alone.
    """

    def __init__(
        self,
        workspace: Workspace,
        source: Source,
        folder: Folder,
        row: FolderRow,
        batch: Batch,
        progress: Progress,
        *,
        links: Links | None = None,
        compared: bool = False,
        shown_by_others: bool = False,
        lake_is_new: bool = False,
        retries_due: bool = True,
        window: Window | None = None,
    ) -> None:
        """``links``: what the walk over the whole mailbox recognises, shared by its rounds; a round
        without is not followed by ``settle``.

        ``compared``: the folder is matched with the lake and brings nothing into it.
        ``shown_by_others``: another protocol has read the mailbox, so what is new here may be known.
        ``lake_is_new``: the lake held nothing of the mailbox, so nothing that is listed can be known.
        ``retries_due``: the folder's quarantine may have something that is to be asked for again.
        """
        self.account = RoundAccount(row.folder_id, folder.path, workspace.clock.now(), window=window)
        self._source, self._folder, self._batch = source, folder, batch
        self._index, self._clock, self._mime = workspace.index, workspace.clock, workspace.mime
        self._progress = progress
        self._compared, self._shown_by_others = compared, shown_by_others
        self._lake_is_new, self._retries_due = lake_is_new, retries_due
        self._cursor, self._swept_at = row.cursor, row.swept_at
        self._opened: Iterator[Page | Reset] | None = None
        self._taken: set[str] = set()
        self._settles, self._links = links is not None, links or Links()

    def open(self) -> None:
        """Tell the source where the walk will start: what is opened together it can ask for together."""
        self._opened = self._source.changes(self._folder, self._cursor)

    def walk(self, *, recognise_fresh: bool) -> None:
        """Account for everything the server lists from the cursor on, and for what quarantine has due.

        ``recognise_fresh``: the lake held messages before, so a listing from the
        beginning is matched with them instead of downloaded.
        """
        from_start = self._cursor is None
        if from_start:
            self._batch.sweep(self.account)
            self._swept_at = self._clock.now()
        steps, self._opened = self._opened or self._source.changes(self._folder, self._cursor), None
        for step in steps:
            if isinstance(step, Reset):
                self.account.notes.append(f"listed from the beginning: {step.reason}")
                from_start = True
                continue
            self._account_for(step.entries, recognise_all=from_start and recognise_fresh)
            if any(self._batch.pending(self.account, each) for each in step.removed):
                # It was listed in this batch, which can tell one thing of an id.
                self._batch.flush()
            if step.removed:
                self._batch.end(self.account, set(step.removed))
            self._cursor = step.cursor
            self._batch.move_cursor(self.account, step.cursor)
            self._progress(self.account)
        if self._retries_due:
            self._retry_quarantined()

    def check_bodies(self, share: float, doubted: Collection[str]) -> None:
        """Fetch what was linked by its listing alone, and let the bytes decide.

        ``share``: how much of it, from 0 to 1; ``doubted``: message keys of which all of it.
        """
        if not share and not doubted:
            return
        with self._index.read() as connection:
            linked = linked_by_listing(connection, self.account.folder_id)
        chosen = [each for each in linked if each.message_key in doubted or _drawn(each.native_id, share)]
        entries = [
            Entry(
                each.native_id,
                each.listed_size,
                each.received_at,
                tuple(each.flags.split()),
                content_mark=each.content_mark,
            )
            for each in chosen
        ]
        self._batch.expect(self.account, len(entries))
        self._fetch(entries, edited={each.native_id for each in entries})
        self._batch.flush()

    def walk_window(self, *, recognise_all: bool) -> None:
        """Account for everything received in the window; the cursor stays where it is.

        ``recognise_all``: nobody has read this before, so what is listed is matched with
        the messages of the lake instead of downloaded. Raises ``RoundOpenError`` where an
        id has no outcome.
        """
        window = self.account.window
        assert window
        for entries in self._source.window(self._folder, window.since, window.before):
            self._account_for(entries, recognise_all=recognise_all)
            self._progress(self.account)
        self.close()

    def reconcile(self, lake_count: int) -> None:
        """Compare with the server's own count, and explain any difference.

        ``lake_count``: how many messages the folder is believed to hold, as ``live_count`` has it.
        """
        self.account.server_count = self._source.count(self._folder)
        self.account.lake_count = lake_count
        if self._is_to_be_swept or self.account.server_count != self.account.lake_count:
            self.walk(recognise_fresh=False)
            self._compare_ids()
            self._batch.flush()
            with self._index.read() as connection:
                self.account.lake_count = live_count(connection, self.account.folder_id)
        if self.account.lake_count != self.account.server_count:
            self.account.notes.append(
                f"the server counts {self.account.server_count}, "
                f"its listing accounts for {self.account.lake_count}"
            )

    def settle(self, *, in_part: bool) -> None:
        """Match again what had no message in the lake; where the protocol feeds the lake now, take it in.

        ``in_part``: not every folder could be read, so what is shown once may be there twice.
        """
        if in_part and self._compared:
            return
        with self._index.read() as connection:
            rows = {
                each.native_id: each
                for each in unmatched_entries(connection, self.account.folder_id)
                if not self._batch.pending(self.account, each.native_id)
            }
            if not rows:
                return
            header_keys = [each.header_key for each in rows.values() if each.header_key]
            mailbox_id, protocol = self._batch.lease.mailbox_id, self._source.protocol
            shown = shown_by_header(connection, mailbox_id, protocol, header_keys)
            own_keys = [each.own_key for each in rows.values() if each.own_key]
            came = dict.fromkeys(own_keys & message_rows(connection, mailbox_id, own_keys).keys())
            forms = known_forms(connection, mailbox_id, protocol, own_keys)
            stood = known_occurrences(connection, self.account.folder_id, list(rows)).keys()
        wanted = [
            row
            for row in rows.values()
            # A body that was compared with the same messages would not match now either.
            if not self._compared
            or row.own_key in came
            or row.own_key in forms
            or shown.get(row.header_key, "") != row.compared_with
        ]
        entries = self._as_listed_now([_unmatched_entry(each) for each in wanted])
        self._batch.expect(self.account, len(entries))
        self._links.settled += len(entries)
        left = []
        for entry in entries:
            row, edited = rows[entry.native_id], entry.native_id in stood
            as_it_was = entry.content_mark == row.content_mark
            if as_it_was and row.own_key in came:
                self._batch.link(self.account, entry, row.own_key, evidence=Evidence.KEY, edited=edited)
            elif as_it_was and row.own_key in forms:
                key = forms[row.own_key]
                self._batch.link(self.account, entry, key, evidence=Evidence.WEAK, edited=edited)
            elif not as_it_was or not self._batch.settle(
                self.account, entry.native_id, in_part=in_part, edited=edited
            ):
                left.append(entry)
        self._fetch(left, edited=stood, settling=True, in_part=in_part)

    def close(self) -> None:
        """Close the round. Raises ``RoundOpenError`` where an id has no outcome."""
        if not self.account.adds_up:
            raise RoundOpenError(
                f"{self._folder.path}: {self.account.listed} ids listed, "
                f"{self.account.stored} stored + {self.account.known} known + "
                f"{self.account.quarantined} quarantined + {self.account.gone} gone + "
                f"{self.account.unmatched} unmatched; the round stays open",
                remedy="run it again; if it stays so, report it with this line",
            )
        self.account.closed_at = self._clock.now()
        self._batch.expect(self.account, 0)

    @property
    def _is_to_be_swept(self) -> bool:
        """Whether the ids are to be compared although the counts may agree.

        A change feed loses a message that moves away and back, and one that it does not
        report removed makes up for it in the count.
        """
        if not self._source.ids_follow_moves:
            return False
        return self._swept_at is None or self._clock.now() - self._swept_at >= SWEEP_EVERY

    def _compare_ids(self) -> None:
        self._batch.flush()
        self._batch.sweep(self.account)
        listed = self._source.native_ids(self._folder)
        with self._index.read() as connection:
            live = live_ids(connection, self.account.folder_id)
        vanished, unlisted = live - listed, listed - live
        if vanished:
            self._batch.end(self.account, vanished)
            self.account.notes.append(f"{len(vanished)} no longer listed")
        if unlisted:
            self.account.notes.append(f"{len(unlisted)} found by the id listing")
            entries = self._source.identify(self._folder, [Entry(each) for each in sorted(unlisted)])
            self._account_for(list(entries), recognise_all=False)
        self.account.server_count = len(listed)

    def _retry_quarantined(self) -> None:
        # What this walk has told of them counts: that they are held anew, or listed here no more.
        self._batch.flush()
        with self._index.read() as connection:
            due = due_for_retry(connection, self.account.folder_id, self._clock.now())
            if not due:
                return
            stored = known_occurrences(connection, self.account.folder_id, [each.native_id for each in due])
        self._batch.expect(self.account, len(due))
        accepted = {each.native_id for each in due if each.state is State.ACCEPTED}
        entries = self._as_listed_now([entry_of(each) for each in due])
        self._fetch(entries, edited=stored.keys(), accepted=accepted)

    def _as_listed_now(self, entries: list[Entry]) -> list[Entry]:
        """Entries that were kept, with what an edit may have changed since, where ids outlive edits."""
        if not entries or not self._source.ids_follow_moves:
            return entries
        return list(self._source.identify(self._folder, [Entry(each.native_id) for each in entries]))

    def _is_as_listed(self, entry: Entry) -> bool:
        """Whether the server lists a message still as it did before it was fetched."""
        return [each.content_mark for each in self._as_listed_now([entry])] == [entry.content_mark]

    def _account_for(self, listed: Iterable[Entry], *, recognise_all: bool) -> None:
        """Give each listed id its one outcome."""
        entries = {each.native_id: each for each in listed}
        if not entries:
            return
        ids = list(entries)
        if any(self._batch.outdated(self.account, each) for each in entries.values()):
            self._batch.flush()
        self._batch.expect(self.account, len(ids))
        with self._index.read() as connection:
            stored = known_occurrences(connection, self.account.folder_id, ids)
            held = quarantined(connection, self.account.folder_id, ids)
            unmatched = unmatched_ids(connection, self.account.folder_id, ids)
        pending = {each for each in ids if self._batch.pending(self.account, each)}
        held -= pending
        self.account.quarantined += len(held)
        known = {each: found for each, found in stored.items() if each not in held | pending | unmatched}
        edited = {each for each, found in known.items() if is_edited(entries[each], found)}
        self._know(entries, {each: found for each, found in known.items() if each not in edited}, pending)
        new = [each for each in entries.values() if each.native_id not in known.keys() | pending | held]
        # An id without a match may have stood for a message before.
        stood = stored.keys() & unmatched
        if new and self._source.ids_follow_moves:
            new = self._follow(new, edited=stood)
        if new:
            in_bulk = recognise_all or len(new) >= RECOGNISE_FROM
            if not self._lake_is_new and (in_bulk or self._shown_by_others):
                identified = list(self._source.identify(self._folder, new))
                new = self._recognise(identified, new_here=not in_bulk, edited=stood)
        if new and self._compared:
            new = self._leave_strangers(new, stood)
        self._fetch([*new, *(entries[each] for each in edited)], edited=edited | stood)

    def _leave_strangers(self, entries: Sequence[Entry], stood: Collection[str]) -> list[Entry]:
        """Leave unmatched, without its body, what has a Message-ID that the lake has not; the rest is left.

        Bodies with different Message-IDs never match. ``stood``: ids that stood for a message before.
        """
        with self._index.read() as connection:
            there = message_ids_in_lake(
                connection,
                self._batch.lease.mailbox_id,
                [each.identity.message_id for each in entries if each.identity and each.identity.message_id],
            )
        left = []
        for entry in entries:
            named = entry.identity.message_id if entry.identity else None
            if named is None or named in there or entry.native_id in stood:
                left.append(entry)
            else:
                self._batch.leave_unmatched(self.account, self._source.protocol, entry)
        return left

    def _know(self, entries: dict[str, Entry], stored: dict[str, Known], pending: set[str]) -> None:
        live = {each: known.live for each, known in stored.items()} | dict.fromkeys(pending, True)
        self._batch.know(self.account, live)
        self._batch.mark(
            self.account, (entries[each] for each, known in stored.items() if known.content_mark is None)
        )

    def _follow(self, entries: Sequence[Entry], *, edited: Collection[str]) -> list[Entry]:
        """Link ids that were read in other folders of the mailbox; the rest is still to be fetched."""
        with self._index.read() as connection:
            elsewhere = known_elsewhere(
                connection,
                self._batch.lease.mailbox_id,
                self._source.protocol,
                [each.native_id for each in entries],
            )
        left = []
        for entry in entries:
            seen = elsewhere.get(entry.native_id)
            if seen and has_moved(entry, seen):
                self._batch.follow(self.account, entry, seen, edited=entry.native_id in edited)
            else:
                left.append(entry)
        return left

    def _recognise(self, entries: Sequence[Entry], *, new_here: bool, edited: Collection[str]) -> list[Entry]:
        """Link what the lake already has; the rest is still to be fetched.

        An edit leaves a draft's headers as they are: where the listing does not tell when it
        was changed, a draft is known by its bytes only.
        """
        drafts = self._folder.role is Role.DRAFTS
        told = [each for each in entries if not drafts or each.modified_at]
        with self._index.read() as connection:
            found = recognise(
                connection,
                self._batch.lease.mailbox_id,
                self._source.protocol,
                told,
                place(self._folder.role, self._folder.path),
                self._taken,
                self._links,
                new_here=new_here,
            )
        for entry in entries:
            if entry.native_id in found:
                key = found[entry.native_id]
                self._batch.link(self.account, entry, key, edited=entry.native_id in edited)
        return [entry for entry in entries if entry.native_id not in found]

    def _fetch(
        self,
        entries: Sequence[Entry],
        *,
        edited: Collection[str],
        accepted: Collection[str] = (),
        settling: bool = False,
        in_part: bool = False,
    ) -> None:
        """Bring the messages.

        ``edited``: those of their ids that stood for other content before. ``accepted``: those
        for whose messages accepted forms stand. ``settling``: nothing comes after it in which
        they could be settled; ``in_part`` as for ``settle``.
        """
        waiting = {each.native_id for each in entries}
        if not waiting:
            return
        fetched = self._source.fetch(self._folder, entries)
        with closing(with_records(fetched, _mime_of, len(entries), self._mime)) as outcomes:
            for outcome, made in outcomes:
                native_id = outcome.entry.native_id
                if native_id not in waiting:
                    raise RoundOpenError(
                        f"{self._folder.path}: the source answered for an id that was not asked for, or twice"
                    )
                waiting.discard(native_id)
                was_known, was_accepted = native_id in edited, native_id in accepted
                if isinstance(outcome, Fetched):
                    assert made
                    self._batch.store(
                        self.account,
                        self._source.protocol,
                        outcome,
                        made,
                        edited=was_known,
                        own_content=self._folder.role is Role.DRAFTS,
                        compared=self._compared,
                        accepted=was_accepted,
                        may_wait=self._settles and not settling,
                        in_part=in_part,
                        is_as_listed=self._is_as_listed,
                    )
                else:
                    self._batch.fail(self.account, outcome, edited=was_known, accepted=was_accepted)
                self._progress(self.account)
        if waiting:
            raise RoundOpenError(
                f"{self._folder.path}: {len(waiting)} messages were asked for and not answered; "
                "the cursor stays before them"
            )


def _mime_of(outcome: Fetched | FetchFailed) -> bytes | None:
    return outcome.mime if isinstance(outcome, Fetched) else None


def _drawn(native_id: str, share: float) -> bool:
    """The same ids in every round, so that a larger share only adds to them."""
    return zlib.crc32(native_id.encode()) < share * 2**32


def _unmatched_entry(row: sa.Row[Any]) -> Entry:
    flags = tuple(row.flags.split())
    return Entry(row.native_id, row.listed_size, row.received_at, flags, content_mark=row.content_mark)
