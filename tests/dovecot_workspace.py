"""A workspace whose mailboxes lie on a Dovecot of the tests."""

from pathlib import Path
from typing import Literal

from pipelines.config import Config, MailboxConfig, Storage
from pipelines.ingest.workspace import Workspace
from pipelines.sources import ProtocolName, Source, open_source
from tests.dovecot_fixture import Dovecot


class DovecotWorkspace(Workspace):
    """The real workspace; only its tokens come from the server's own key instead of a token service."""

    def __init__(
        self, server: Dovecot, directory: Path, *addresses: str, legacy: Literal["imap", "pop3"] = "imap"
    ) -> None:
        storage = Storage(lake=str(directory / "lake"), index=f"sqlite:///{directory}/mailover.db")
        config: Config = server.config(*addresses, legacy=legacy).model_copy(update={"storage": storage})
        super().__init__(config)
        self._server = server

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        tokens = self._server.tokens(mailbox.address)
        return open_source(self.config, mailbox, protocol, tokens, self.clock)
