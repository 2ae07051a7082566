"""A tenant in this process: IMAP, POP3 and Graph over one mail store, without a network.

The sources that read it obey the contract of ``pipelines.sources.base``; what they keep of
Exchange Online's ways stands in ``tests.tenant_sources``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.config import Config, MailboxConfig
from pipelines.ingest.workspace import Workspace
from pipelines.sandbox import store as tenant
from pipelines.sources.base import FetchFailed, ProtocolName, Source
from tests.ingest.model import VirtualClock
from tests.tenant_sources import SOURCES


@dataclass
class TenantModel:
    """The store, what was asked of it, and what it is told to do wrong."""

    store: tenant.Store
    fetched: list[tuple[ProtocolName, str]] = field(default_factory=list)
    """Every body that was downloaded, by protocol and native id."""
    before: Callable[[ProtocolName, str], None] = lambda _protocol, _command: None
    """Called before each command (``folders``, ``page``, ``fetch`` …); raises what a server does."""
    poison: dict[tuple[ProtocolName, str], FetchFailed] = field(default_factory=dict)
    """Failures by protocol and immutable id, for as long as they stand here."""
    forms: dict[tuple[ProtocolName, str], bytes] = field(default_factory=dict)
    """Bytes that a protocol makes of a message where not the usual, by SHA-256 of the store's."""
    hidden: set[tuple[ProtocolName, str]] = field(default_factory=set)
    """Messages that a protocol does not show, by protocol and immutable id."""
    late: dict[ProtocolName, timedelta] = field(default_factory=dict)
    """By how much a protocol's time of receipt differs from the store's."""
    delta_lost_before: int = 0
    """Delta states older than this change are forgotten: they answer with a reset."""
    delta_late: int = 0
    """How many of a folder's newest changes a delta does not tell yet."""
    delta_stutters: bool = False
    """Deltas repeat an old entry after each page, and an empty page after it."""
    running_links_lost: bool = False
    """A delta that was interrupted cannot be gone on with: it starts at its last whole state again."""
    unreported: set[str] = field(default_factory=set)
    """Immutable ids of which Graph's delta does not say that they are gone."""
    moves_hidden: set[str] = field(default_factory=set)
    """Messages by immutable id whose coming no delta tells, until they change; listings have them."""
    server_ahead: timedelta = timedelta()
    """By how much the server's clock is ahead of ours."""
    size_step: int = 1
    """Listed sizes are estimates: rounded up to a multiple of this many bytes."""
    page_size: int = 3

    def received_at(self, protocol: ProtocolName, message: tenant.Message) -> datetime:
        """The time of receipt as the protocol tells it: in whole seconds."""
        return message.received_at.replace(microsecond=0) + self.late.get(protocol, timedelta())

    def modified_at(self, message: tenant.Message) -> datetime:
        """The time of the last change as Graph tells it: in whole seconds of the server's clock."""
        return (message.modified_at + self.server_ahead).replace(microsecond=0)

    def listed_size(self, message: tenant.Message) -> int:
        """RFC822.SIZE and POP3's LIST."""
        return -(-message.size // self.size_step) * self.size_step

    def form(self, protocol: ProtocolName, message: tenant.Message) -> bytes:
        """The message as the protocol delivers it."""
        told = self.forms.get((protocol, message.sha256))
        if told is not None:
            return told
        mime = self.store.read(message)
        if protocol is ProtocolName.GRAPH:
            return b"X-Graph: made anew\r\n" + mime
        # Exchange's MIME for the legacy protocols depends on the message's state.
        return b"X-Message-Flag: Flagged\r\n" + mime if "flagged" in message.flags else mime


class TenantWorkspace(Workspace):
    """The real workspace over the model tenant."""

    def __init__(self, config: Config, model: TenantModel, clock: VirtualClock) -> None:
        super().__init__(config, clock)
        self.model = model
        self.virtual_clock = clock

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        return SOURCES[protocol](self.model, mailbox.address)


def model_tenant(directory: Path, clock: VirtualClock, *addresses: str) -> TenantModel:
    """A tenant whose mailboxes have an Inbox, Drafts, Sent Items and Projects."""
    store = tenant.Store(directory, clock.now)
    for address in addresses:
        store.create_mailbox(address)
        for path, role in {
            "Inbox": "inbox",
            "Drafts": "drafts",
            "Sent Items": "sent",
            "Projects": "other",
        }.items():
            store.create_folder(address, path, role)
    clock.sleep(timedelta(hours=1).total_seconds())
    return TenantModel(store)
