"""A mailbox over Microsoft Graph's mail API v1.0, read only: GET, and $batch of GETs.

What a listing tells comes from delta, one folder at a time; content comes as MIME. Ids are immutable
ones, which follow a message from folder to folder. Facts and their sources are in docs/graph.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.config import MailboxConfig, Tenant
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, ProtocolName, Reset
from pipelines.sources.graph_bodies import Bodies
from pipelines.sources.graph_changes import Changes, listed_properties
from pipelines.sources.graph_folders import read_folders
from pipelines.sources.graph_listing import PROPERTIES, entry
from pipelines.sources.graph_requests import MOST_IDS, MOST_PARTS, Answer
from pipelines.sources.graph_session import GraphSession

_WITHOUT_DELTA = frozenset({"china"})
"""Clouds whose metadata has no delta for messages (August 2026)."""
_LIST_FROM = 100
"""So many messages are identified by listing their folder rather than one by one."""


class GraphSource:
    """See ``pipelines.sources.base.Source``. Nothing is sent before the first question."""

    protocol = ProtocolName.GRAPH
    ids_follow_moves = True

    def __init__(self, tenant: Tenant, mailbox: MailboxConfig, tokens: TokenProvider, clock: Clock) -> None:
        self._hidden = mailbox.folders.hidden
        self._session = GraphSession(tenant, mailbox.address, tokens, clock, PROPERTIES)
        self._changes = Changes(self._session, has_delta=tenant.cloud not in _WITHOUT_DELTA)
        self._bodies = Bodies(self._session)
        self._walked: dict[str, None] = {}
        """Folders that were walked and not counted since, in order."""
        self._counted: dict[str, int] = {}
        """Messages in such folders, for one question each."""

    def folders(self) -> list[Folder]:
        """The whole tree, Inbox first; search folders, logs and (unless asked for) hidden ones skipped."""
        return read_folders(self._session, hidden=self._hidden)

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        """The folder's delta from the cursor on. With nothing new it costs one request."""
        self._walked[folder.native] = None
        self._counted.pop(folder.native, None)
        return self._changes.walk(folder, cursor)

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        """By time of receipt, from a listing: a delta with a filter ends after 5,000 messages."""
        with self._session.inside(folder):
            url = self._session.urls.listing(folder.native, since=since, before=before, newest_first=True)
            for items in self._session.pages(url):
                yield [entry(item) for item in items]

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        """Each entry with what a listing tells; as it came where it has that, or Graph does not find it."""
        wanted = [each.native_id for each in entries if each.identity is None]
        if len(wanted) < _LIST_FROM:
            found = {native_id: entry(item) for native_id, item in listed_properties(self._session, wanted)}
        else:
            found = self._found_in_listing(folder, set(wanted))
        return [found.get(each.native_id, each) for each in entries]

    def fetch(
        self,
        folder: Folder,  # noqa: ARG002 - ids name messages of the whole mailbox
        entries: Sequence[Entry],
    ) -> Iterator[Fetched | FetchFailed]:
        """The messages as MIME, four in flight; see ``pipelines.sources.graph_bodies``."""
        return self._bodies.fetch(entries)

    def native_ids(self, folder: Folder) -> set[str]:
        """Every id in the folder now. Several pages are listed again if the folder changed between them."""
        ids = self._ids(folder)
        if len(ids) >= MOST_IDS and len(ids) != self.count(folder):
            ids = self._ids(folder)
        return ids

    def count(self, folder: Folder) -> int:
        """Messages in the folder; ``totalItemCount`` would count other items too.

        Folders that were walked are counted 20 at a time, in one $batch.
        """
        native = folder.native
        if native in self._walked and native not in self._counted and len(self._walked) > 1:
            self._count_with(native)
        self._walked.pop(native, None)
        counted = self._counted.pop(native, None)
        if counted is not None:
            return counted
        with self._session.inside(folder):
            return self._session.number(self._session.urls.count(native))

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def _count_with(self, native: str) -> None:
        """Count this folder and others. What is refused here is asked for by itself, and fails by itself."""
        others = [each for each in self._walked if each != native and each not in self._counted]
        urls = {self._session.urls.counted(each): each for each in [native, *others[: MOST_PARTS - 1]]}
        for url, outcome in self._session.batch(list(urls)).items():
            told = self._session.read(outcome).get("@odata.count") if isinstance(outcome, Answer) else None
            if isinstance(told, int):
                self._counted[urls[url]] = told

    def _ids(self, folder: Folder) -> set[str]:
        with self._session.inside(folder):
            return {
                item["id"]
                for page in self._session.pages(self._session.urls.ids(folder.native))
                for item in page
            }

    def _found_in_listing(self, folder: Folder, wanted: set[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        with self._session.inside(folder):
            url = self._session.urls.listing(folder.native, since=None, before=None, newest_first=True)
            for items in self._session.pages(url):
                found |= {item["id"]: entry(item) for item in items if item["id"] in wanted}
                if len(found) == len(wanted):
                    break
        return found
