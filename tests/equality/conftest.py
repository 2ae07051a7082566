"""The same mail in a sandbox, in Dovecot and in files, each read once per protocol for all tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.dovecot_fixture import Dovecot
from tests.equality.letters import Letter, corpus, generated, sample
from tests.equality.reading import Reading
from tests.equality.servers import DovecotMail, SandboxMail
from tests.sandbox_fixture import RunningSandbox, running_sandbox

KIM, ALEX = "kim.akers@contoso.com", "alex.wilber@contoso.com"
_GENERATED = 150


@dataclass
class Delivered:
    """Letters that lie in both servers, and what each protocol brought of them."""

    sandbox: SandboxMail
    dovecot: DovecotMail
    directory: Path
    readings: dict[str, Reading] = field(default_factory=dict)

    def read(self, where: str) -> Reading:
        """``where``: ``imap``, ``pop3``, ``graph`` or ``archive``; ``dovecot-imap`` or ``dovecot-pop3``."""
        if where not in self.readings:
            server, _, protocol = where.rpartition("-")
            mail = self.dovecot if server else self.sandbox
            self.readings[where] = mail.read(protocol, self.directory / where)
        return self.readings[where]


Deliver = Callable[[str, list[Letter]], Delivered]


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    directory = tmp_path_factory.mktemp("tenant") / "sandbox"
    options = ("--mailboxes", "2", "--messages", "0")
    with running_sandbox(directory, *options) as sandbox, pytest.MonkeyPatch.context() as patched:
        patched.setenv("MAILOVER_CLIENT_SECRET", sandbox.secret)
        yield sandbox


@pytest.fixture(scope="module")
def deliver(tenant: RunningSandbox, dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Deliver:
    """Deliver letters to an address on both servers."""

    def deliverer(address: str, letters: list[Letter]) -> Delivered:
        in_sandbox, in_dovecot = (
            SandboxMail(tenant, address, letters),
            DovecotMail(dovecot, f"equality.{address}", letters),
        )
        in_sandbox.deliver()
        in_dovecot.deliver()
        return Delivered(in_sandbox, in_dovecot, tmp_path_factory.mktemp("read"))

    return deliverer


@pytest.fixture(scope="module")
def business(deliver: Deliver) -> Delivered:
    """Generated mail."""
    return deliver(KIM, generated(_GENERATED))


@pytest.fixture(scope="module")
def real(deliver: Deliver, corpus_dir: Path) -> Delivered:
    """A few messages of each set of the corpus."""
    return deliver(ALEX, sample(corpus(corpus_dir)))
