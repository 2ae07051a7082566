"""The blocks of docs/doctor.md: a tenant with one thing wrong, and what ``mailover doctor`` says.

``python -m tests.doctor.documented`` writes them anew into the page; the test beside it compares.
"""

import contextlib
import io
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from pipelines.cli import main
from pipelines.sandbox.entra import OUTLOOK
from pipelines.sandbox.identity import CLIENT_ID, TENANT_ID
from tests.doctor.certificates import Authority
from tests.sandbox_fixture import ROOT, RunningSandbox, running_sandbox

PAGE = ROOT / "docs" / "doctor.md"
KIM, ADELE, REFUSED = "kim.akers@contoso.com", "adele.vance@contoso.com", "isaiah.langer@contoso.com"
BLOCK = re.compile(r"(<!-- shown: ([\w-]+) -->\n```text\n)(.*?)(```)", re.DOTALL)
_SECRET = "MAILOVER_CLIENT_SECRET"


class WaitlessClock:
    """The time, or another one; waits pass at once."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self._ahead, self._waited = ahead, 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def monotonic(self) -> float:
        return self._waited

    def sleep(self, seconds: float) -> None:
        self._waited += seconds


@dataclass
class World:
    """A sandbox tenant, this computer, and what a case does to either."""

    sandbox: RunningSandbox
    clock: WaitlessClock
    arguments: tuple[str, ...] = ("doctor", KIM)
    whole: bool = False
    """Show all of the output, not only what is wrong."""

    def configure(self, old: str, new: str) -> None:
        """Write another configuration."""
        text = self.sandbox.config_path.read_text()
        assert old in text
        self.sandbox.config_path.write_text(text.replace(old, new))

    def misbehave(self, kind: str, door: str, command: str, **more: object) -> None:
        """Let the tenant answer ``command`` in that way, as often as it comes."""
        self.sandbox.control.do("add_fault", kind=kind, door=door, command=command, **more)

    def write(self, name: str) -> Path:
        """Where a file of that name belongs."""
        return self.sandbox.directory / name


Case = Callable[[World], None]


def healthy(world: World) -> None:
    world.whole = True


def secret_not_set(_world: World) -> None:
    os.environ.pop(_SECRET)


def secret_wrong(_world: World) -> None:
    os.environ[_SECRET] = "Kd98Q~the-value-of-some-other-secret"


def secret_id(_world: World) -> None:
    os.environ[_SECRET] = "3f2a77f0-52f9-4a6e-8f39-1c6e5b1f7d20"


def secret_expired(world: World) -> None:
    world.misbehave("refuse", "entra", "token")


def application_unknown(world: World) -> None:
    world.configure(CLIENT_ID, "c0ffee00-0000-4000-8000-00000000dead")


def tenant_unknown(world: World) -> None:
    world.configure(TENANT_ID, "c0ffee00-0000-4000-8000-00000000dead")


def role_missing(world: World) -> None:
    world.sandbox.control.do("tokens", roles={OUTLOOK: ["POP.AccessAsApp"]})


def mailbox_not_granted(world: World) -> None:
    world.sandbox.control.do("grant", address=KIM, granted=False)


def sign_in_refused(world: World) -> None:
    world.misbehave("refuse", "imap", "LOGIN")


def protocol_off(world: World) -> None:
    world.misbehave("refuse", "imap", "LOGIN", mailbox=KIM)
    world.arguments = ("doctor",)


def pop3_refused(world: World) -> None:
    world.sandbox.control.do("grant", address=ADELE, granted=False)
    world.arguments = ("doctor", ADELE)


def throttled(world: World) -> None:
    world.misbehave("throttle", "imap", "LIST", seconds=280)


def certificate_untrusted(world: World) -> None:
    Authority().write_ca(world.write("other.pem"))
    world.configure("ca_file: ca.pem", "ca_file: other.pem")


def port_closed(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    world.configure(_endpoint(world, "imap"), f"imap: localhost:{port}")


def port_of_another_protocol(world: World) -> None:
    pop3 = _endpoint(world, "pop3")
    world.configure(_endpoint(world, "imap"), pop3.replace("pop3", "imap"))


def clock_wrong(world: World) -> None:
    world.clock = WaitlessClock(timedelta(minutes=-12))


def app_certificate_expired(world: World) -> None:
    pair = Authority().write_pair(world.write("old.pem"), ends=timedelta(days=-3, hours=-1))
    world.configure(f"secret_env: {_SECRET}", f"certificate: {{path: {pair.name}}}")


def certificate_file_missing(world: World) -> None:
    world.configure(f"secret_env: {_SECRET}", "certificate: {path: app-2026.pem}")


def others_can_write(world: World) -> None:
    world.sandbox.config_path.chmod(0o664)


def folder_rule_misspelled(world: World) -> None:
    kim = f"  - address: {KIM}\n    legacy: imap\n"
    world.configure(kim, f'{kim}    folders: {{exclude: ["Deletd Items"]}}\n')


def open_though_denied(world: World) -> None:
    world.sandbox.control.do("grant", address=REFUSED, granted=True)
    world.arguments = ("doctor", KIM, "--must-deny", REFUSED)


CASES: dict[str, Case] = {
    case.__name__.replace("_", "-"): case
    for case in (
        healthy, secret_not_set, secret_wrong, secret_id, secret_expired, certificate_file_missing,
        app_certificate_expired, others_can_write, application_unknown, tenant_unknown, clock_wrong,
        certificate_untrusted, port_closed, port_of_another_protocol, role_missing, mailbox_not_granted,
        sign_in_refused, protocol_off, pop3_refused, throttled, folder_rule_misspelled, open_though_denied,
    )
}  # fmt: skip


def _endpoint(world: World, name: str) -> str:
    found = re.search(rf"{name}: localhost:\d+", world.sandbox.config_path.read_text())
    assert found
    return found[0]


@contextlib.contextmanager
def tenant() -> Iterator[RunningSandbox]:
    """The tenant of all the cases."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_sandbox(Path(folder), "--mailboxes", "4", "--messages", "12") as sandbox,
    ):
        yield sandbox


@contextlib.contextmanager
def borrowed(sandbox: RunningSandbox) -> Iterator[None]:
    """Work in the tenant's folder and environment; whatever is done to it is undone at the end."""
    written = sandbox.config_path.read_text()
    environment = {_SECRET: sandbox.secret, "MAILOVER_CONFIG": sandbox.config_path.name}
    try:
        with contextlib.chdir(sandbox.directory), mock.patch.dict(os.environ, environment):
            yield
    finally:
        sandbox.config_path.write_text(written)
        sandbox.config_path.chmod(0o600)
        sandbox.control.do("clear_faults")
        sandbox.control.do("tokens", roles={OUTLOOK: ["IMAP.AccessAsApp", "POP.AccessAsApp"]})
        sandbox.control.do("grant", address=REFUSED, granted=False)
        for mailbox in sandbox.config.mailboxes:
            sandbox.control.do("grant", address=mailbox.address, granted=True)


def shown(sandbox: RunningSandbox, case: Case) -> str:
    """What the command prints of what is wrong, and its exit code."""
    world = World(sandbox, WaitlessClock())
    with borrowed(sandbox):
        case(world)
        code, printed = _run(world)
    text = printed if world.whole else _wrong(printed)
    text = re.sub(r"(localhost:|port )\d{5}", r"\1PORT", text)
    text = text.replace(str(sandbox.directory), "/srv/mailover")
    return f"$ mailover {' '.join(world.arguments)}\n{text}\nexit code {code}\n"


def _run(world: World) -> tuple[int, str]:
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["mailover", *world.arguments]),
        mock.patch("pipelines.cli.doctor.SystemClock", return_value=world.clock),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), printed.getvalue().rstrip("\n")
    raise AssertionError("a command ends with its exit code")


def _wrong(printed: str) -> str:
    """The lines of warnings and failures, each under the title of its area."""
    kept: list[str] = []
    title, keeping = "", True
    for line in printed.splitlines():
        if re.match(r"[A-Z][\w-]+$", line):
            title, keeping = line, False
        elif re.match(r"  [✓!✗–] ", line):
            keeping = line[2] in "!✗"
            if keeping and title:
                kept.append(title)
                title = ""
        elif not line or re.match(r"\d[\d,]* \w", line):
            keeping = False
        if keeping:
            kept.append(line)
    return "\n".join(kept)


def written(page: str, blocks: dict[str, str]) -> str:
    """The page with these blocks in their places."""
    return BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}{found[4]}", page)


if __name__ == "__main__":
    with tenant() as started:
        blocks = {name: shown(started, case) for name, case in CASES.items()}
    PAGE.write_text(written(PAGE.read_text(), blocks))
