"""Everything a pass works with, opened from one configuration."""

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pipelines.auth import TokenProvider
from pipelines.clock import Clock, SystemClock
from pipelines.config import Config, MailboxConfig, load_config
from pipelines.index.engine import Index
from pipelines.index.mailboxes import add_mailboxes
from pipelines.mime.process import MimeProcesses
from pipelines.sources import open_source
from pipelines.sources.base import ProtocolName, Source

if TYPE_CHECKING:
    from pipelines.lake.storage import Lake
    from pipelines.sources.graph_loop import SharedLoop


class Workspace:
    """A configuration with its lake, its index and its sign-in; safe to share between threads."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        """Open the index; nothing is asked of a mail server before a mailbox is read."""
        self.config = config
        self.clock = clock or SystemClock()
        self.index = Index(config.storage.index)
        self.mime = MimeProcesses()
        self.writers: Executor = ThreadPoolExecutor(thread_name_prefix="lake")
        """Threads that write files of the lake: compressing them takes a core, and no Python."""
        self._tokens = TokenProvider(config.tenant, self.clock)
        self._graph: SharedLoop | None = None
        self._lock = threading.Lock()
        add_mailboxes(
            self.index, [(each.address, "legacy" if each.legacy else "graph") for each in config.mailboxes]
        )

    @cached_property
    def lake(self) -> "Lake":
        """The lake, opened when it is first asked for. Raises ``UnreachableError`` where it is not there."""
        # Whoever asks the index alone, such as `mailover status`, needs no pyarrow.
        from pipelines.lake.storage import Lake

        return Lake(self.config.storage.lake)

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        """Connect to one mailbox. Raises ``AccessError`` where it is not open to the application."""
        if protocol is ProtocolName.GRAPH:
            self._keep_graph_open()
        return open_source(self.config, mailbox, protocol, self._tokens, self.clock)

    def close(self) -> None:
        """Give back every connection and end every process."""
        self.writers.shutdown()
        if self._graph:
            from pipelines.sources.graph_loop import leave

            leave(self._graph)
            self._graph = None
        self.mime.close()
        self._tokens.close()
        self.index.close()

    def _keep_graph_open(self) -> None:
        """Keep Graph's connections, which are the application's, from one mailbox to the next."""
        from pipelines.sources.graph_loop import enter

        with self._lock:
            self._graph = self._graph or enter()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_workspace(path: Path | None = None) -> Workspace:
    """The workspace of a configuration file. Raises ``ConfigurationError`` where it is wrong."""
    return Workspace(load_config(path))
