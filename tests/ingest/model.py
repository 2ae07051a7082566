"""A mailbox in memory and the source that reads it: the contract of ``pipelines.sources.base``, obeyed."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.config import Config, IngestSettings, MailboxConfig, SecretCredential, Storage, Tenant
from pipelines.errors import FolderGoneError
from pipelines.ingest.workspace import Workspace
from pipelines.mime import identity_from_headers
from pipelines.sources.base import (
    Entry,
    Fetched,
    FetchFailed,
    Folder,
    Page,
    ProtocolName,
    Reset,
    Role,
    Source,
)
from tests.index_fixture import index_url
from tests.lake_fixture import lake_url

KIM, ALEX = "kim.akers@contoso.com", "alex.wilber@contoso.com"
START = datetime(2025, 3, 1, 9, tzinfo=UTC)
ROLES = {"Inbox": Role.INBOX, "Drafts": Role.DRAFTS, "Sent Items": Role.SENT}


def mail(number: int, body: str = "The figures are attached.") -> bytes:
    """A small message of its own."""
    moment = START + timedelta(hours=number)
    return (
        f"Message-ID: <{number}@contoso.com>\r\n"
        f"Date: {moment:%a, %d %b %Y %H:%M:%S} +0000\r\n"
        f"From: Megan Bowen <megan.bowen@contoso.com>\r\nTo: {KIM}\r\n"
        f"Subject: Report {number}\r\n\r\n{body}\r\n"
    ).encode()


@dataclass
class Message:
    mime: bytes
    received_at: datetime
    flags: tuple[str, ...] = ()


@dataclass
class ModelFolder:
    uidvalidity: int = 1
    next_uid: int = 1
    messages: dict[int, Message] = field(default_factory=dict)

    def deliver(self, mime: bytes, received_at: datetime | None = None) -> int:
        uid = self.next_uid
        self.messages[uid] = Message(mime, received_at or START + timedelta(minutes=uid))
        self.next_uid += 1
        return uid

    def renumber(self) -> None:
        """A new UIDVALIDITY, as after a restore: every message gets another number."""
        kept = list(self.messages.values())
        self.uidvalidity, self.next_uid, self.messages = self.uidvalidity + 1, 1, {}
        for message in kept:
            self.deliver(message.mime, message.received_at)


@dataclass
class ModelMailbox:
    folders: dict[str, ModelFolder] = field(default_factory=lambda: {"Inbox": ModelFolder()})
    poison: dict[str, FetchFailed] = field(default_factory=dict)
    """Failures by native id, for as long as they stand here."""
    before_fetch: Callable[[str, str], None] = lambda _path, _native_id: None
    """Called with folder and native id; raises what the server does."""
    fetched: list[tuple[str, str]] = field(default_factory=list)
    """Every body that was downloaded."""
    windows: list[tuple[str, datetime]] = field(default_factory=list)
    """Every window that was listed: its folder and where it begins."""
    page_size: int = 3

    @property
    def inbox(self) -> ModelFolder:
        return self.folders["Inbox"]

    def all_mime(self) -> set[bytes]:
        return {each.mime for folder in self.folders.values() for each in folder.messages.values()}


class ModelSource:
    """Reads a ``ModelMailbox`` as the IMAP source reads a server."""

    protocol = ProtocolName.IMAP
    ids_follow_moves = False

    def __init__(self, mailbox: ModelMailbox) -> None:
        self._mailbox = mailbox

    def folders(self) -> list[Folder]:
        return [Folder(path, ROLES.get(path, Role.OTHER), path) for path in self._mailbox.folders]

    def _folder(self, folder: Folder) -> ModelFolder:
        try:
            return self._mailbox.folders[folder.native]
        except KeyError:
            raise FolderGoneError(f"{folder.path} is gone") from None

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        model = self._folder(folder)
        after = 0
        if cursor is not None:
            at = json.loads(cursor)
            if at["uidvalidity"] == model.uidvalidity:
                after = at["uid"]
            else:
                yield Reset("UIDVALIDITY changed")
        uids = sorted(uid for uid in model.messages if uid > after)
        for start in range(0, len(uids), self._mailbox.page_size):
            some = uids[start : start + self._mailbox.page_size]
            yield Page(
                [self._entry(model, uid) for uid in some],
                json.dumps({"uidvalidity": model.uidvalidity, "uid": some[-1]}),
            )

    def window(self, folder: Folder, since: datetime, before: datetime) -> Iterator[Sequence[Entry]]:
        model = self._folder(folder)
        self._mailbox.windows.append((folder.path, since))
        entries = [self._entry(model, uid) for uid in model.messages]
        inside = [each for each in entries if each.received_at and since <= each.received_at < before]
        inside.sort(key=lambda each: each.received_at or before, reverse=True)
        for start in range(0, len(inside), self._mailbox.page_size):
            yield inside[start : start + self._mailbox.page_size]

    @staticmethod
    def _entry(model: ModelFolder, uid: int) -> Entry:
        message = model.messages[uid]
        return Entry(f"{model.uidvalidity}:{uid}", len(message.mime), message.received_at, message.flags)

    def _message(self, folder: Folder, entry: Entry) -> Message | None:
        model = self._folder(folder)
        uidvalidity, uid = (int(part) for part in entry.native_id.split(":"))
        return model.messages.get(uid) if uidvalidity == model.uidvalidity else None

    def identify(self, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        for entry in entries:
            message = self._message(folder, entry)
            block = message.mime.partition(b"\r\n\r\n")[0] + b"\r\n" if message else b""
            yield replace(entry, identity=identity_from_headers(block)) if message else entry

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        for entry in entries:
            self._mailbox.before_fetch(folder.path, entry.native_id)
            message = self._message(folder, entry)
            if message is None:
                yield FetchFailed(entry, "gone", "no longer listed", gone=True)
            elif entry.native_id in self._mailbox.poison:
                yield replace(self._mailbox.poison[entry.native_id], entry=entry)
            else:
                self._mailbox.fetched.append((folder.path, entry.native_id))
                yield Fetched(entry, message.mime)

    def native_ids(self, folder: Folder) -> set[str]:
        model = self._folder(folder)
        return {f"{model.uidvalidity}:{uid}" for uid in model.messages}

    def count(self, folder: Folder) -> int:
        return len(self._folder(folder).messages)

    def close(self) -> None:
        pass


class VirtualClock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(days=400, seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


class ModelWorkspace(Workspace):
    """The real workspace over model mailboxes."""

    def __init__(self, config: Config, servers: dict[str, ModelMailbox], clock: VirtualClock) -> None:
        super().__init__(config, clock)
        self.servers = servers
        self.virtual_clock = clock

    def commit_every(self, batch_bytes: int) -> "ModelWorkspace":
        """Write whenever so many bytes have come."""
        settings = IngestSettings(batch_bytes=batch_bytes)
        self.config = self.config.model_copy(update={"ingest": settings})
        return self

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        assert protocol is ProtocolName.IMAP
        return ModelSource(self.servers[mailbox.address])


def configure(folder: Path, *addresses: str) -> Config:
    """A configuration of IMAP mailboxes with lake and index in ``folder``."""
    return Config(
        tenant=Tenant(
            id="11111111-2222-3333-4444-555555555555",
            client_id="66666666-7777-8888-9999-000000000000",
            credential=SecretCredential(secret_env="MAILOVER_CLIENT_SECRET"),
        ),
        storage=Storage(lake=lake_url(folder), index=index_url(folder)),
        mailboxes=tuple(MailboxConfig(address=address, legacy="imap") for address in addresses),
    )
