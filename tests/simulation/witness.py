"""What the servers showed and delivered, noted at their side: what lake and index are held against."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pipelines.sandbox import store as tenant
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, ProtocolName, Reset
from tests.ingest.model import KIM
from tests.simulation.machine import Moment, Tick
from tests.tenant_model import TenantModel
from tests.tenant_sources import SOURCES, ModelSource

Step = TypeVar("Step")
Place = tuple[str, str]
"""A folder as a protocol calls it, and a native id."""


@dataclass
class Witness:
    """Over a whole history: bytes by what they are a form of, and what must be in the lake."""

    delivered: dict[str, tuple[ProtocolName, str]] = field(default_factory=dict)
    """Protocol and content by the SHA-256 of bytes that were delivered; contents are the store's SHA-256."""
    fed: set[str] = field(default_factory=set)
    """Contents that were delivered by a protocol that fed the lake."""
    owed: dict[str, str] = field(default_factory=dict)
    """Contents that a feeding protocol showed in a round that was closed; where and when it did."""
    excused: set[str] = field(default_factory=set)
    """Contents that no listing told from another."""
    covered: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """Ids that were listed up to a cursor and not told removed since, by protocol, folder and cursor."""
    bodies: int = 0


class WitnessedSource:
    """A source of the model tenant, watched: each command is a moment at which things can happen."""

    def __init__(
        self, model: TenantModel, protocol: ProtocolName, tick: Tick, witness: Witness, *, feeds: bool
    ) -> None:
        source = SOURCES[protocol](model, KIM)
        assert isinstance(source, ModelSource)
        self.protocol, self.ids_follow_moves = source.protocol, source.ids_follow_moves
        self._source, self._model, self._tick, self._witness = source, model, tick, witness
        self._feeds = feeds
        self._shown: dict[Place, str] = {}
        """The content that stood behind an id when it was shown last."""
        tick(Moment.COMMAND)

    def contents(self, folder: Folder) -> dict[str, str]:
        """What lies in the folder now as the protocol shows it: contents by native id."""
        live = self._source._live(folder)
        return {self._source._native_id(live, each): each.sha256 for each in self._source._visible(live)}

    def still_there(self, folder: Folder) -> dict[str, str]:
        """Contents that were shown in this folder, lie there still as they were, and can be had; by id."""
        live = self._source._live(folder)
        return {
            self._source._native_id(live, each): each.sha256
            for each in self._source._visible(live)
            if self._shown.get((folder.native, self._source._native_id(live, each))) == each.sha256
            and (self.protocol, each.immutable_id) not in self._model.poison
        }

    def _show(self, folder: Folder, native_ids: Iterable[str]) -> None:
        contents = self.contents(folder)
        for native_id in native_ids:
            if native_id in contents:
                self._shown[folder.native, native_id] = contents[native_id]

    def folders(self) -> list[Folder]:
        self._tick(Moment.COMMAND)
        return self._source.folders()

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        listed: set[str] = set()
        for step in self._ticking(self._source.changes(folder, cursor)):
            if isinstance(step, Page):
                native_ids = [each.native_id for each in step.entries]
                self._show(folder, native_ids)
                listed.update(native_ids)
                # Told removed, it needs no outcome: if it is there all the same, the count has to find it.
                listed -= step.removed
                self._witness.covered[self.protocol, folder.native, step.cursor] = set(listed)
            yield step

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        yield from self._ticking(self._source.window(folder, since, before))

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        self._tick(Moment.COMMAND)
        return list(self._source.identify(folder, entries))

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        for outcome in self._ticking(self._source.fetch(folder, entries)):
            if isinstance(outcome, Fetched):
                self._witness.bodies += 1
                message = self._source._by_id(folder)[outcome.entry.native_id]
                digest = tenant._sha256(outcome.mime)
                self._witness.delivered[digest] = self.protocol, message.sha256
                if self._feeds:
                    self._witness.fed.add(message.sha256)
            yield outcome

    def native_ids(self, folder: Folder) -> set[str]:
        self._tick(Moment.COMMAND)
        listed = self._source.native_ids(folder)
        self._show(folder, listed)
        return listed

    def count(self, folder: Folder) -> int:
        self._tick(Moment.COMMAND)
        return self._source.count(folder)

    def close(self) -> None:
        self._source.close()

    def _ticking(self, steps: Iterator[Step]) -> Iterator[Step]:
        while True:
            self._tick(Moment.COMMAND)
            try:
                step = next(steps)
            except StopIteration:
                return
            yield step


def listing(model: TenantModel, protocol: ProtocolName) -> dict[Place, tenant.Message]:
    """What a protocol shows now, in folders that hold mail."""
    source = SOURCES[protocol](model, KIM)
    assert isinstance(source, ModelSource)
    found: dict[Place, tenant.Message] = {}
    for folder in source.folders():
        if not folder.skipped:
            live = source._live(folder)
            found |= {(folder.native, source._native_id(live, each)): each for each in source._visible(live)}
    return found
