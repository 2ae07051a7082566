"""Where messages come from: one module per protocol, interchangeable behind ``Source``."""

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.config import Config, MailboxConfig
from pipelines.errors import UsageError
from pipelines.sources.base import ProtocolName, Source


def open_source(
    config: Config, mailbox: MailboxConfig, protocol: ProtocolName, tokens: TokenProvider, clock: Clock
) -> Source:
    """Connect to a mailbox. Raises ``AccessError`` where it is not open to the application."""
    raise UsageError(f"{mailbox.address}: this version cannot read by {protocol}")
