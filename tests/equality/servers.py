"""Where the mail lies: the sandbox, Dovecot, and files; and each protocol's way to read it there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.config import Config, MailboxConfig, Storage
from pipelines.ingest.workspace import Workspace
from tests.dovecot_fixture import Dovecot
from tests.dovecot_workspace import DovecotWorkspace
from tests.equality.letters import Letter, received
from tests.equality.reading import Reading, import_files, ingest, write_files
from tests.sandbox_fixture import RunningSandbox

LEGACY = ("imap", "pop3")


@dataclass
class SandboxMail:
    """Letters in the Inbox of one mailbox of a sandbox."""

    sandbox: RunningSandbox
    address: str
    letters: Sequence[Letter]
    uids: list[int] = field(default_factory=list)
    immutable_ids: list[str] = field(default_factory=list)

    def deliver(self) -> None:
        """Every letter, the first one first."""
        for number, letter in enumerate(self.letters):
            told = self.sandbox.control.deliver(
                self.address, "Inbox", letter.mime, received_at=received(number).isoformat()
            )
            self.uids.append(told["uid"])
            self.immutable_ids.append(told["immutable_id"])

    def ids(self, imap: Reading) -> Iterator[tuple[Letter, str, str]]:
        """Each letter with its ids at IMAP, where it has been read, and at Graph."""
        (uidvalidity,) = {native_id.partition(":")[0] for native_id in imap.shown}
        for letter, uid, immutable_id in zip(self.letters, self.uids, self.immutable_ids, strict=True):
            yield letter, f"{uidvalidity}:{uid}", immutable_id

    def alone(self, imap: Reading) -> dict[str, Letter]:
        """Letters by message key, where one content alone has it.

        Of several, a protocol may have met one first and another protocol another.
        """
        found: dict[str, set[Letter]] = {}
        for letter, legacy_id, _ in self.ids(imap):
            found.setdefault(imap.shown[legacy_id].message_key, set()).add(letter)
        return {
            key: next(iter(letters))
            for key, letters in found.items()
            if len({each.mime for each in letters}) == 1
        }

    def read(self, protocol: str, directory: Path) -> Reading:
        """The mailbox through one protocol; ``archive``: the same letters from files."""
        with Workspace(self._config(protocol, directory)) as workspace:
            if protocol == "archive":
                files = write_files(list(self.letters), directory / "files")
                return import_files(workspace, self.address, files)
            return ingest(workspace, self.address)

    def _config(self, protocol: str, directory: Path) -> Config:
        mailbox = MailboxConfig.model_validate(
            {"address": self.address} | ({"legacy": protocol} if protocol in LEGACY else {})
        )
        storage = Storage(lake=str(directory / "lake"), index=f"sqlite:///{directory}/mailover.db")
        return Config(tenant=self.sandbox.config.tenant, storage=storage, mailboxes=(mailbox,))


@dataclass
class DovecotMail:
    """Letters in the Inbox of one mailbox of a Dovecot."""

    server: Dovecot
    address: str
    letters: Sequence[Letter]

    def deliver(self) -> None:
        """Every letter, the first one first."""
        self.server.mailbox(self.address).deliver(*(each.mime for each in self.letters))

    def read(self, protocol: str, directory: Path) -> Reading:
        """The mailbox through one protocol."""
        directory.mkdir(parents=True)
        legacy: Literal["imap", "pop3"] = "pop3" if protocol == "pop3" else "imap"
        with DovecotWorkspace(self.server, directory, self.address, legacy=legacy) as workspace:
            return ingest(workspace, self.address)
