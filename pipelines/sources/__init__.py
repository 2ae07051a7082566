"""Sources of messages, one protocol each; ``open_source`` makes the one that is asked for."""

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.config import Config, MailboxConfig
from pipelines.errors import UsageError
from pipelines.sources.base import (
    Entry,
    Fetched,
    FetchFailed,
    Folder,
    Identity,
    Page,
    ProtocolName,
    Reset,
    Role,
    Source,
)
from pipelines.sources.graph import GraphSource
from pipelines.sources.imap import ImapSource

__all__ = [
    "Entry",
    "FetchFailed",
    "Fetched",
    "Folder",
    "Identity",
    "Page",
    "ProtocolName",
    "Reset",
    "Role",
    "Source",
    "open_source",
]


def open_source(
    config: Config, mailbox: MailboxConfig, protocol: ProtocolName, tokens: TokenProvider, clock: Clock
) -> Source:
    """The source that reads ``mailbox`` over ``protocol``; nothing is sent before it is asked something.

    Raises ``UsageError`` for a protocol this version cannot read.
    """
    if protocol is ProtocolName.IMAP:
        return ImapSource(config.tenant, mailbox.address, tokens, clock)
    if protocol is ProtocolName.GRAPH:
        return GraphSource(config.tenant, mailbox, tokens, clock)
    raise UsageError(
        f"{mailbox.address}: this version cannot read mailboxes over {protocol} yet",
        remedy="set legacy: imap for the mailbox in mailover.yaml",
    )
