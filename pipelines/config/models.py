"""The configuration, section by section."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from pipelines.config.base import Section
from pipelines.config.credentials import Credential
from pipelines.config.cutover import CutoverSettings
from pipelines.config.folders import FolderRules
from pipelines.config.places import CaFile, IndexUrl, Lake
from pipelines.config.values import (
    Address,
    Authority,
    ByteSize,
    ClientId,
    GraphRoot,
    HostPort,
    Site,
    TenantId,
    wrong,
)
from pipelines.errors import UsageError

CloudName = Literal["public", "us-gov-high", "us-gov-dod", "china"]


class Endpoints(Section):
    """Servers to use instead of the cloud's own: a proxy, a sandbox, a test."""

    authority: Authority | None = None
    """Where tokens come from, without the tenant: ``https://host[:port]``."""
    graph: GraphRoot | None = None
    """Graph's root with its version: ``https://host[:port]/v1.0``."""
    imap: HostPort | None = None
    """``host:port``; TLS from the first byte, as for ``pop3``."""
    pop3: HostPort | None = None
    ca_file: CaFile | None = None
    """PEM certificates that are trusted instead of the system's, for all four."""


class Tenant(Section):
    """One Entra tenant and the application registered in it."""

    id: TenantId
    client_id: ClientId
    credential: Credential
    cloud: CloudName = "public"
    requests_per_second: int | None = Field(default=None, ge=1, le=10_000, strict=True)
    """Graph requests of one process over all of its mailboxes; None: each mailbox has its own limits only."""
    endpoints: Endpoints = Endpoints()


class Storage(Section):
    """Where the data goes."""

    lake: Lake
    """A local folder (absolute once loaded) or an object store's URL."""
    index: IndexUrl = Field(repr=False)
    """An SQLAlchemy URL; it may hold a database password, so it is never shown."""


class MailboxConfig(Section):
    """One mailbox to read."""

    address: Address
    """In lower case: mailboxes are told apart without regard to case."""
    legacy: Literal["imap", "pop3"] | None = None
    """The protocol that feeds the lake at first; None starts on Graph."""
    wave: str | None = Field(default=None, min_length=1)
    """The group it is moved to Graph with."""
    folders: FolderRules = FolderRules()


class IngestSettings(Section):
    """How much is done at once."""

    batch_bytes: ByteSize = Field(default=16 * 1024 * 1024, gt=0, strict=True)
    """MIME bytes held in memory before a batch is written."""
    concurrency: int = Field(default=4, ge=1, le=64, strict=True)
    """Mailboxes read at the same time in one run."""
    mailboxes_per_run: int = Field(default=100, ge=1, le=1000, strict=True)
    """Mailboxes that Dagster's schedule hands to one run."""


def _at_least_one(mailboxes: tuple[MailboxConfig, ...]) -> tuple[MailboxConfig, ...]:
    if not mailboxes:
        raise wrong("is empty", "add at least one mailbox: - address: name@domain")
    return mailboxes


class Config(Section):
    """Everything ``mailover.yaml`` says, checked."""

    tenant: Tenant
    storage: Storage
    mailboxes: Annotated[tuple[MailboxConfig, ...], AfterValidator(_at_least_one)]
    ingest: IngestSettings = IngestSettings()
    cutover: CutoverSettings = CutoverSettings()
    _path: Path | None = PrivateAttr(default=None)
    _by_address: dict[str, MailboxConfig] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, Site):
            self._path = context.path
        self._by_address = {mailbox.address: mailbox for mailbox in self.mailboxes}

    @property
    def path(self) -> Path | None:
        """The file it was loaded from; None where it was built in code."""
        return self._path

    def mailbox(self, address: str) -> MailboxConfig:
        """The mailbox at ``address``, in any case. Raises ``UsageError`` for one that is not configured."""
        found = self._by_address.get(address.strip().lower())
        if found:
            return found
        near = difflib.get_close_matches(address.strip().lower(), self._by_address, n=1)
        raise UsageError(
            f"the mailbox {address!r} is not in {self._path or 'the configuration'}",
            remedy=f"did you mean {near[0]}?" if near else "add it under mailboxes, or check its spelling",
        )

    def select(self, addresses: Iterable[str]) -> list[MailboxConfig]:
        """The mailboxes named, each once and in that order; all of them where none is named."""
        chosen = {mailbox.address: mailbox for mailbox in map(self.mailbox, addresses)}
        return list(chosen.values() or self.mailboxes)
