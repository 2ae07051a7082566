"""What is new in a folder: its delta, page by page, or a plain listing where there is no delta.

Source: Microsoft, "Get incremental changes to messages in a folder". An empty page is not the end, only a
deltaLink is; an item may come several times, and what comes last counts.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Any

from pipelines.errors import MailoverError, TransientError
from pipelines.sources.base import Folder, Page, Reset
from pipelines.sources.graph_faults import AnswerRefusedError, Kind
from pipelines.sources.graph_listing import entry, instant, is_whole
from pipelines.sources.graph_requests import MOST_PARTS
from pipelines.sources.graph_session import GraphSession

_OVERLAP = timedelta(days=1)
"""Listed again in a listing by receipt: a message can show later than others that came after it."""
_NO_DELTA = frozenset({Kind.OVER_QUOTA, Kind.WRONG_REQUEST, Kind.NOT_FOUND})
"""Refusals after which a plain listing may still work; if it does not, its own refusal counts."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next round starts."""

    delta: str | None = None
    """The last deltaLink: good for as long as the server remembers it, whatever became of a round since."""
    running: str | None = None
    """The nextLink of a round that has not ended."""
    listed: str | None = None
    """Of a listing without delta: the latest receipt it showed, empty while there is none."""

    @property
    def links(self) -> list[str]:
        """The links in it."""
        return [each for each in (self.delta, self.running) if each]

    def written(self) -> str:
        """As JSON, without what is not set."""
        told = {"delta": self.delta, "next": self.running, "listed": self.listed}
        return json.dumps({name: value for name, value in told.items() if value is not None})

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """None where ``text`` is no cursor of Graph's."""
        try:
            told = json.loads(text)
        except ValueError:
            return None
        values = [told.get(name) for name in ("delta", "next", "listed")] if isinstance(told, dict) else []
        given = [each for each in values if each is not None]
        return cls(*values) if given and all(isinstance(each, str) for each in given) else None


class Changes:
    """Walks the folders of one session's mailbox."""

    def __init__(self, session: GraphSession, *, has_delta: bool) -> None:
        """``has_delta``: whether the cloud offers it."""
        self._session, self._has_delta = session, has_delta
        self._opened: dict[str, str] = {}
        """The deltaLinks of folders whose walk was called for and has not begun, by folder."""
        self._quiet: dict[str, str] = {}
        """Of such links, those that had nothing new, each with the deltaLink that came instead."""
        self._together = True
        """Whether Graph has not refused deltaLinks in a $batch."""

    def walk(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        """Pages from ``cursor`` on; without news that is one request and one empty page.

        Folders that were called for before the first page is taken are looked at 20 at a time, in a $batch;
        those with news are then asked for as if they had not been.

        A link that the server forgot (410) costs one step back: from a running round to the last deltaLink,
        from there to the beginning, which a ``Reset`` tells. Raises ``TransientError`` where that does not
        help, ``FolderGoneError``, and what ``GraphSession.get`` raises.
        """
        start = Cursor.read(cursor) if cursor else Cursor()
        if start and not all(map(self._session.is_own, start.links)):
            start = None
        if self._has_delta and start and start.delta and not start.running:
            self._opened[folder.native] = start.delta
        return self._walk(folder, start)

    def _walk(self, folder: Folder, start: Cursor | None) -> Iterator[Page | Reset]:
        if start is None:
            yield Reset("the cursor is not one of this Graph's")
            start = Cursor()
        with self._session.inside(folder):
            if not self._has_delta:
                yield from self._listing(folder, start)
            elif quiet := self._seen_quiet(folder, start):
                yield Page([], Cursor(quiet).written())
            else:
                yield from self._delta(folder, start)

    def _seen_quiet(self, folder: Folder, start: Cursor) -> str | None:
        """The next deltaLink of a folder that has nothing new, where that was seen together with others.

        No more than that is taken from a $batch. That Graph takes deltaLinks there is not documented, and
        an answer that left the link's token out would list the folder from its beginning.
        """
        if self._opened.pop(folder.native, None) and self._together and self._opened and start.delta:
            others = dict(islice(self._opened.items(), MOST_PARTS - 1))
            self._opened = {native: link for native, link in self._opened.items() if native not in others}
            self._look_at([start.delta, *others.values()])
        return self._quiet.pop(start.delta, None) if start.delta else None

    def _look_at(self, links: list[str]) -> None:
        try:
            pages = self._session.glance(links)
        except AnswerRefusedError:
            pages = {}
        self._together = bool(pages)
        for link, page in pages.items():
            finished = self._session.link(page, "delta", link)
            if finished and page.get("value") == [] and not self._session.link(page, "next", link):
                self._quiet[link] = finished

    def _delta(self, folder: Folder, start: Cursor) -> Iterator[Page | Reset]:
        good, beginning = start.delta, self._session.urls.delta(folder.native)
        steps_back = [each for each in (good, beginning) if each]
        url: str | None = start.running or steps_back[0]
        while url:
            try:
                page = self._session.page(url)
            except AnswerRefusedError as refused:
                if refused.kind is Kind.OVER_QUOTA or (url == beginning and refused.kind in _NO_DELTA):
                    yield from self._listing(folder, replace(start, delta=good))
                    return
                if refused.kind not in (Kind.EXPIRED, Kind.WRONG_REQUEST):
                    raise
                # A dead deltaLink is no step back; the beginning is worth a second try.
                steps_back = [each for each in steps_back if each == beginning or each != url]
                if not steps_back:
                    raise self._forgetful(folder) from None
                url = steps_back.pop(0)
                if url == beginning:
                    good = None
                    yield Reset("the server no longer knows the delta link")
                continue
            following = self._session.link(page, "next", url)
            finished = self._session.link(page, "delta", url)
            if not following and not finished:
                raise self._endless(folder)
            yield self._read(page, Cursor(good, following) if following else Cursor(finished))
            url = following

    def _read(self, page: dict[str, Any], cursor: Cursor) -> Page:
        items: dict[str, dict[str, Any] | None] = {}
        for item in self._session.listed(page):
            before = items.pop(item["id"], None)
            items[item["id"]] = None if "@removed" in item else {**(before or {}), **item}
        shown = {native_id: item for native_id, item in items.items() if item is not None}
        whole = {native_id: item for native_id, item in shown.items() if is_whole(item)}
        # What Graph does not find by its id is in this folder no more.
        whole |= listed_properties(self._session, shown.keys() - whole.keys())
        removed = frozenset(items.keys() - whole.keys())
        return Page([entry(item) for item in whole.values()], cursor.written(), removed)

    def _listing(self, folder: Folder, start: Cursor) -> Iterator[Page]:
        """By time of receipt: what moved or was removed is for the reconciliation's listing of ids."""
        latest = instant(start.listed)
        since = latest - _OVERLAP if latest else None
        url = self._session.urls.listing(folder.native, since=since, before=None, newest_first=False)
        for items in self._session.pages(url):
            entries = [entry(item) for item in items]
            shown = [each.received_at for each in entries if each.received_at]
            latest = max([*shown, latest] if latest else shown, default=None)
            yield Page(entries, Cursor(start.delta, None, latest.isoformat() if latest else "").written())

    def _forgetful(self, folder: Folder) -> TransientError:
        return TransientError(
            f"{self._session.mailbox}: Graph forgot its links for {folder.path} before their end, twice",
            remedy="what was read is kept; the next round goes on from it",
        )

    def _endless(self, folder: Folder) -> TransientError:
        return TransientError(
            f"{self._session.mailbox}: Graph's listing of {folder.path} ends without a link to go on from"
        )


def listed_properties(
    session: GraphSession, native_ids: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a listing tells of these messages, by id; those that Graph does not find are left out."""
    wanted = [(session.urls.listed(each), each) for each in native_ids]
    for native_id, outcome in session.ask_all(wanted, check=session.whole):
        if isinstance(outcome, AnswerRefusedError) and outcome.kind is Kind.NOT_FOUND:
            continue
        if isinstance(outcome, MailoverError):
            raise outcome
        yield native_id, session.read(outcome)
