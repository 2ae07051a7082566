"""The switch over real servers: every request over TLS, the same mail behind both protocols.

The sandbox shows one mail store through all of its doors. Dovecot and the sandbox's Graph door
are given the same deliveries.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from pipelines.config import Config, CutoverSettings, MailboxConfig, Storage
from pipelines.cutover.parity import Grade, Kind
from pipelines.cutover.passes import read_mailbox
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Result, Switch, switch
from pipelines.index.journal import phase_row
from pipelines.index.parity import Acceptance, Parity, accept, newest_parities
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.workspace import Workspace
from pipelines.mime import normalise
from pipelines.sources import ProtocolName, Source, open_source
from tests.dovecot_fixture import Dovecot, DovecotMailbox
from tests.ingest.conftest import rows
from tests.sandbox_fixture import RunningSandbox, running_sandbox

BODIES = (("imap", "FETCH"), ("pop3", "RETR"), ("graph", "$VALUE"))
"""What each door counts when a message's content is asked for."""
_NUMBERS = count(1)


def letter(body: str = "The figures are attached.") -> bytes:
    """A message of its own."""
    number = next(_NUMBERS)
    return (
        f"Received: from mail.fabrikam.example by contoso.com id {number}; Mon, 1 Sep 2025 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@fabrikam.example>\r\nDate: Mon, 1 Sep 2025 10:00:00 +0000\r\n"
        f"From: Lee Gu <lee.gu@fabrikam.example>\r\nTo: kim.akers@contoso.com\r\n"
        f"Subject: Figures {number}\r\n\r\n{body}\r\n"
    ).encode()


@dataclass
class OnTheWay:
    """A mailbox, its servers, and the workspace that moves it."""

    sandbox: RunningSandbox
    workspace: Workspace
    address: str
    dovecot: DovecotMailbox | None = None
    """Where the legacy protocol reads, if not in the sandbox."""
    delivered: list[bytes] = field(default_factory=list)

    def deliver(self, number: int = 1, folder: str = "Inbox") -> list[int]:
        """New mail; its UIDs in the sandbox."""
        uids = []
        for mime in [letter() for _ in range(number)]:
            at = datetime.now(UTC).replace(microsecond=0)
            told = self.sandbox.control.deliver(self.address, folder, mime, received_at=at.isoformat())
            if self.dovecot:
                # Each file is a second younger than the one before it.
                received = at - timedelta(seconds=len(self.delivered))
                self.dovecot.deliver(mime, folder="" if folder == "Inbox" else folder, received=received)
            self.delivered.append(mime)
            uids.append(told["uid"])
        return uids

    def delete_oldest(self) -> None:
        """The oldest message of the Inbox, for good."""
        self.sandbox.control.do("delete", address=self.address, path="Inbox", uid=self.inbox()[0])
        if self.dovecot:
            self.dovecot.remove(0)

    def inbox(self) -> list[int]:
        """UIDs of the Inbox in the sandbox."""
        return [
            each["uid"]
            for each in self.sandbox.control.messages()
            if (each["mailbox"], each["folder"]) == (self.address, "Inbox")
        ]

    def read(self) -> MailboxReport:
        """A pass as the phase says."""
        report = read_mailbox(self.workspace, self.workspace.config.mailbox(self.address))
        assert (report.error, report.folder_errors, report.compare_errors) == (None, {}, {})
        return report

    def move(self, to: Phase) -> Switch:
        """Ask for a phase."""
        order = Order(to, "a tester", "because it is tested")
        return switch(self.workspace, self.workspace.config.mailbox(self.address), order)

    def go(self, to: Phase) -> None:
        """A change of phase that has to be made."""
        done = self.move(to)
        assert done.result is Result.DONE, done.why

    @property
    def mailbox_id(self) -> int:
        return phase_row(self.workspace.index, self.address).mailbox_id

    @property
    def parity(self) -> Parity:
        return newest_parities(self.workspace.index, self.mailbox_id, 1)[0]

    def bodies(self) -> int:
        """How many the sandbox has sent so far."""
        asked = self.sandbox.control.do("asked")
        return sum(asked[door].get(command, 0) for door, command in BODIES)

    def keys(self) -> list[str]:
        """Of the mailbox's rows in the lake."""
        return [
            str(row["message_key"])
            for row in rows(self.workspace, "messages")
            if row["mailbox"] == self.address
        ]

    def assert_sound(self) -> None:
        """Nothing that was delivered is lost, nothing is there twice, no attempt was made to write."""
        keys = self.keys()
        assert len(keys) == len(set(keys))
        assert {normalise(mime).message_key for mime in self.delivered} == set(keys)
        for check in (nothing_lost, nothing_twice, bytes_are_kept):
            result = check(self.workspace, self.address)
            assert result.passed, (check.__name__, result.summary)
        assert self.sandbox.control.do("attempts") == []


class MixedWorkspace(Workspace):
    """The real workspace; legacy protocols are read from a Dovecot, Graph from the sandbox."""

    def __init__(self, config: Config, dovecot: Dovecot) -> None:
        super().__init__(config)
        self._dovecot = dovecot

    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        if protocol is ProtocolName.GRAPH:
            return super().open_source(mailbox, protocol)
        config, tokens = self._dovecot.config(mailbox.address), self._dovecot.tokens(mailbox.address)
        return open_source(config, mailbox, protocol, tokens, self.clock)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """Mailboxes without mail, one for each test."""
    directory = tmp_path_factory.mktemp("tenant") / "sandbox"
    options = ("--mailboxes", "20", "--messages", "0")
    with running_sandbox(directory, *options) as sandbox, pytest.MonkeyPatch.context() as patched:
        patched.setenv("MAILOVER_CLIENT_SECRET", sandbox.secret)
        yield sandbox


@pytest.fixture(scope="module")
def addresses(tenant: RunningSandbox) -> Iterator[str]:
    """Addresses of the tenant, each once."""
    return (each.address for each in tenant.config.mailboxes)


Opener = Callable[..., OnTheWay]


@pytest.fixture
def open_way(tenant: RunningSandbox, addresses: Iterator[str], tmp_path: Path) -> Iterator[Opener]:
    """A mailbox of its own, empty, read by ``legacy``: from Dovecot if one is given."""
    with ExitStack() as stack:

        def opener(legacy: str, dovecot: Dovecot | None = None, **settings: object) -> OnTheWay:
            address = next(addresses)
            mailbox = MailboxConfig.model_validate({"address": address, "legacy": legacy})
            config = Config(
                tenant=tenant.config.tenant,
                storage=Storage(lake=str(tmp_path / "lake"), index=f"sqlite:///{tmp_path}/mailover.db"),
                mailboxes=(mailbox,),
                cutover=CutoverSettings.model_validate(settings),
            )
            workspace = MixedWorkspace(config, dovecot) if dovecot else Workspace(config)
            stack.enter_context(workspace)
            return OnTheWay(tenant, workspace, address, dovecot.mailbox(address) if dovecot else None)

        yield opener


LEGACY = pytest.mark.parametrize("legacy", ["imap", "pop3"])
THERE_AND_BACK = (Phase.SHADOW, Phase.GRAPH, Phase.LEGACY, Phase.SHADOW, Phase.GRAPH)


def live(way: OnTheWay) -> None:
    """Mail comes and goes, and a pass."""
    way.deliver(2)
    way.delete_oldest()
    way.read()


@LEGACY
def test_nothing_lost_nothing_twice_and_no_known_body_there_and_back_and_there_again(
    open_way: Opener, legacy: str
) -> None:
    way = open_way(legacy)
    before = way.bodies()
    way.deliver(12)
    way.deliver(3, "Projects")
    way.read()
    for to in THERE_AND_BACK:
        way.deliver()
        way.go(to)
        live(way)
        if to is not Phase.LEGACY:
            assert way.parity.grade == Grade.PERFECT
    way.assert_sound()
    assert way.bodies() - before == len(way.delivered)


@LEGACY
def test_nothing_lost_what_is_edited_and_moved_on_the_way_is_stored_once(
    open_way: Opener, legacy: str
) -> None:
    way = open_way(legacy)
    control, place = way.sandbox.control, {"address": way.address, "path": "Inbox"}
    way.deliver(8)
    way.read()
    for to in THERE_AND_BACK:
        edited = letter("We pay 900 euros.")
        uid, moved, *_ = way.inbox()
        control.do("edit", **place, uid=uid, mime=b64encode(edited).decode())
        control.do("move", **place, uid=moved, to_path="Projects")
        way.delivered.append(edited)
        way.go(to)
        way.read()
        if to is not Phase.LEGACY:
            assert way.parity.grade in (Grade.PERFECT, Grade.GOOD), way.parity.differences
    way.assert_sound()


@LEGACY
def test_a_message_hidden_from_graph_refuses_the_switch_until_graph_shows_it(
    open_way: Opener, legacy: str
) -> None:
    way = open_way(legacy)
    *_, uid = way.deliver(5)
    veiled = {"address": way.address, "path": "Inbox", "uid": uid, "door": "graph"}
    way.sandbox.control.do("hide", **veiled)
    way.read()
    way.go(Phase.SHADOW)
    refused = way.move(Phase.GRAPH)
    assert refused.result is Result.REFUSED
    assert way.parity.grade == Grade.POOR
    (difference,) = way.parity.differences
    expected = normalise(way.delivered[-1]).message_id
    assert (difference.kind, difference.message_id) == (Kind.MISSING_IN_GRAPH, expected)
    way.sandbox.control.do("hide", **veiled, hidden=False)
    way.go(Phase.GRAPH)
    assert way.parity.grade == Grade.PERFECT
    way.read()
    way.assert_sound()


def test_a_message_that_graph_cannot_make_mime_of_has_to_be_accepted_by_name(open_way: Opener) -> None:
    way = open_way("imap", compare="full")
    *_, uid = way.deliver(4)
    control = way.sandbox.control
    control.do("add_fault", kind="placeholder", door="graph", command="$value", mailbox=way.address, uid=uid)
    way.read()
    way.go(Phase.SHADOW)
    refused = way.move(Phase.GRAPH)
    assert refused.result is Result.REFUSED
    (difference,) = way.parity.differences
    assert (way.parity.grade, difference.kind) == (Grade.INVESTIGATE, Kind.GRAPH_CANNOT_DELIVER)
    word = Acceptance(difference.item, datetime.now(UTC), "a tester", "IMAP's form is kept")
    accept(way.workspace.index, way.mailbox_id, [word])
    way.go(Phase.GRAPH)
    way.read()
    control.do("clear_faults")
    way.assert_sound()


@LEGACY
def test_dovecot_and_graph_on_the_same_deliveries_there_and_back_and_there_again(
    open_way: Opener, dovecot: Dovecot, legacy: str
) -> None:
    way = open_way(legacy, dovecot)
    before = way.bodies()
    way.deliver(12)
    way.read()
    for to in THERE_AND_BACK:
        way.deliver()
        way.go(to)
        live(way)
        if to is not Phase.LEGACY:
            assert way.parity.grade == Grade.PERFECT, way.parity.differences
    way.assert_sound()
    assert way.bodies() - before == 4, "what came while Graph was feeding, twice two messages"


def test_dovecot_lacks_nothing_that_graph_hides(open_way: Opener, dovecot: Dovecot) -> None:
    way = open_way("imap", dovecot)
    *_, uid = way.deliver(5)
    way.sandbox.control.do("hide", address=way.address, path="Inbox", uid=uid, door="graph")
    way.read()
    way.go(Phase.SHADOW)
    refused = way.move(Phase.GRAPH)
    assert (refused.result, way.parity.grade) == (Result.REFUSED, Grade.POOR)
    way.assert_sound()
