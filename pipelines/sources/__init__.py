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

    Raises ``UsageError`` for mail files, which are no server's.
    """
    # Each protocol has libraries of its own, which the others have no use for.
    if protocol is ProtocolName.IMAP:
        from pipelines.sources.imap import ImapSource

        return ImapSource(config.tenant, mailbox.address, tokens, clock)
    if protocol is ProtocolName.POP3:
        from pipelines.sources.pop3 import Pop3Source

        return Pop3Source(config.tenant, mailbox.address, tokens, clock)
    if protocol is ProtocolName.GRAPH:
        from pipelines.sources.graph import GraphSource

        return GraphSource(config.tenant, mailbox, tokens, clock)
    raise UsageError(
        f"{mailbox.address}: an {protocol} is read from files, not from a server",
        remedy=f"run `mailover import {mailbox.address} PATH`",
    )
