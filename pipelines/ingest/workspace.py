"""Everything a pass works with, opened from one configuration."""

from pathlib import Path
from types import TracebackType

from pipelines.auth import TokenProvider
from pipelines.clock import Clock, SystemClock
from pipelines.config import Config, MailboxConfig, load_config
from pipelines.index.engine import Index
from pipelines.index.mailboxes import add_mailboxes
from pipelines.lake import Lake
from pipelines.sources import open_source
from pipelines.sources.base import ProtocolName, Source


class Workspace:
    """A configuration with its lake, its index and its sign-in; safe to share between threads."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        """Open lake and index; nothing is asked of a server before a mailbox is read."""
        self.config = config
        self.clock = clock or SystemClock()
        self.lake = Lake(config.storage.lake)
        self.index = Index(config.storage.index)
        self._tokens = TokenProvider(config.tenant, self.clock)
        add_mailboxes(
            self.index, [(each.address, "legacy" if each.legacy else "graph") for each in config.mailboxes]
        )

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        """Connect to one mailbox. Raises ``AccessError`` where it is not open to the application."""
        return open_source(self.config, mailbox, protocol, self._tokens, self.clock)

    def close(self) -> None:
        """Give back every connection."""
        self._tokens.close()
        self.index.close()

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
