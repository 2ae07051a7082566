"""A real IMAP and POP3 server: Dovecot 2.3 on free ports of 127.0.0.1, with TLS and XOAUTH2.

It checks tokens itself, against a key made here. It runs without root; started by root it
runs as ``nobody``, since Dovecot opens no mail for root.
"""

import base64
import contextlib
import grp
import itertools
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import jwt
import pytest

from pipelines.auth import Resource, TokenProvider
from pipelines.config import Config, Endpoints, MailboxConfig, SecretCredential, Storage, Tenant
from tests.auth.entra import CLIENT, TENANT, make_ca

INSTALL = "apt-get install --yes dovecot-imapd dovecot-pop3d"
_KEY = b"the key that only the server of these tests knows"
PASSWORD = "for-clients-without-tokens"
"""Opens any mailbox by AUTH PLAIN: the benchmarks' peers know no XOAUTH2."""
_STARTED_WITHIN = 20.0

_CONFIGURATION = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <{root}/server.pem
ssl_key = <{root}/server.pem
auth_mechanisms = xoauth2 plain
auth_failure_delay = 0
first_valid_uid = 1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
default_client_limit = 500
default_process_limit = 50
service/anvil/chroot =
service/anvil/unix_listener/anvil-auth-penalty/mode = 0
service/imap-login/chroot =
service/pop3-login/chroot =
service/imap-login/inet_listener/imap/port = 0
service/imap-login/inet_listener/imaps/port = {imap}
service/pop3-login/inet_listener/pop3/port = 0
service/pop3-login/inet_listener/pop3s/port = {pop3}
mail_location = maildir:{root}/mail/%u
mail_max_userip_connections = 50
mail_fsync = never
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {root}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = plain
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={root}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox "Sent Items" {{
    special_use = \\Sent
  }}
}}
"""
_TOKENS = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={root}/keys/
username_attribute = preferred_username
"""


class MintedTokens(TokenProvider):
    """Tokens that this Dovecot accepts for one mailbox."""

    def __init__(self, tenant: Tenant, address: str, lifetime: timedelta = timedelta(hours=1)) -> None:
        super().__init__(tenant)
        self._address, self._lifetime = address, lifetime

    def token(self, resource: Resource, *, refresh: bool = False) -> str:
        assert resource is Resource.OUTLOOK
        now = datetime.now(UTC)
        claims = {
            "aud": "https://outlook.office365.com",
            "iss": "https://login.microsoftonline.com/",
            "tid": TENANT,
            "appid": CLIENT,
            "sub": "application",
            "roles": ["IMAP.AccessAsApp", "POP.AccessAsApp"],
            "preferred_username": self._address,
            "iat": now - timedelta(minutes=5),
            "nbf": now - timedelta(minutes=5),
            "exp": now + self._lifetime,
        }
        return jwt.encode(claims, _KEY, algorithm="HS256")


class DovecotMailbox:
    """One mailbox's mail, delivered as files beside the server."""

    def __init__(self, root: Path, owner: tuple[int, int]) -> None:
        self._root, self._owner = root, owner
        self._names = itertools.count()

    def deliver(
        self, *messages: bytes, folder: str = "", flags: str = "", received: datetime | None = None
    ) -> None:
        """Messages to ``folder`` (its name on the wire; the Inbox if empty), one second apart in age."""
        place = self._folder(folder)
        at = received or datetime(2024, 1, 1, tzinfo=UTC)
        for message in messages:
            number = next(self._names)
            # Dovecot would have to read each file for its size, were it not in the name.
            virtual = len(message) + message.count(b"\n") - message.count(b"\r\n")
            path = place / "cur" / f"{number:09d}.test,S={len(message)},W={virtual}:2,{flags}"
            path.write_bytes(message)
            stamp = at.timestamp() + number
            os.utime(path, (stamp, stamp))
            os.chown(path, *self._owner)

    def remove(self, position: int, folder: str = "") -> None:
        """Take the message at ``position`` (0: the oldest delivery) away, as another client would."""
        sorted((self._folder(folder) / "cur").iterdir())[position].unlink()

    def renumber(self, folder: str = "") -> None:
        """Give the folder another UIDVALIDITY, as a store move would."""
        place = self._folder(folder)
        known = (place / "dovecot-uidlist").read_text()
        for stale in place.glob("dovecot.index*"):
            stale.unlink()
        head, _, rest = known.partition("\n")
        validity = re.search(r"V(\d+)", head)
        assert validity
        changed = head.replace(validity[0], f"V{int(validity[1]) + 1}")
        (place / "dovecot-uidlist").write_text(f"{changed}\n{rest}")

    def files(self, folder: str = "") -> list[str]:
        """The names of its messages' files, flags behind the comma, oldest delivery first."""
        return sorted(each.name for each in (self._folder(folder) / "cur").iterdir())

    def _folder(self, name: str) -> Path:
        place = self._root / f".{name.replace('/', '.')}" if name else self._root
        for each in (self._root, place, place / "cur", place / "new", place / "tmp"):
            if not each.is_dir():
                each.mkdir(mode=0o700)
                os.chown(each, *self._owner)
        if name:
            (place / "maildirfolder").touch()
        return place


class Dovecot:
    """A running server."""

    def __init__(self, root: Path, owner: tuple[int, int], imap: int, pop3: int) -> None:
        self.root, self._owner = root, owner
        self.imap_port, self.pop3_port = imap, pop3
        self.ca_file = root / "ca.pem"

    def mailbox(self, address: str) -> DovecotMailbox:
        """The mail of ``address``; any address has some."""
        return DovecotMailbox(self.root / "mail" / address, self._owner)

    @property
    def tenant(self) -> Tenant:
        """A tenant whose IMAP and POP3 servers are this one; its token service is nowhere."""
        return Tenant(
            id=TENANT,
            client_id=CLIENT,
            credential=SecretCredential(secret_env="NOT_SET"),
            endpoints=Endpoints(
                imap=f"localhost:{self.imap_port}", pop3=f"localhost:{self.pop3_port}", ca_file=self.ca_file
            ),
        )

    def config(self, *addresses: str, legacy: Literal["imap", "pop3"] = "imap") -> Config:
        """A configuration of that tenant, with a lake and an index that are not there yet."""
        return Config(
            tenant=self.tenant,
            storage=Storage(lake=str(self.root / "lake"), index=f"sqlite:///{self.root}/mailover.db"),
            mailboxes=tuple(MailboxConfig(address=each, legacy=legacy) for each in addresses),
        )

    def tokens(self, address: str) -> MintedTokens:
        """Tokens for one mailbox."""
        return MintedTokens(self.tenant, address)


@contextlib.contextmanager
def running_dovecot() -> Iterator[Dovecot]:
    """Start a Dovecot of one's own; stopped and forgotten at the end."""
    if shutil.which("dovecot", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise pytest.fail.Exception(f"Dovecot is not installed: run `{INSTALL}` as root", pytrace=False)
    account = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    owner = account.pw_uid, account.pw_gid
    # Not under pytest's folders: those are closed to other accounts.
    root = Path(tempfile.mkdtemp(prefix="dovecot-"))
    try:
        server = Dovecot(root, owner, *_free_ports())
        _write(server, account.pw_name, owner)
        with _process(server, owner):
            yield server
    finally:
        shutil.rmtree(root)


def _write(server: Dovecot, user: str, owner: tuple[int, int]) -> None:
    root = server.root
    values = {
        "root": root,
        "user": user,
        "group": grp.getgrgid(owner[1]).gr_name,
        "imap": server.imap_port,
        "pop3": server.pop3_port,
        "password": PASSWORD,
    }
    key = root / "keys" / "default" / "HS256" / "default"
    key.parent.mkdir(parents=True)
    key.write_bytes(base64.b64encode(_KEY))
    make_ca(root)
    (root / "dovecot.conf").write_text(_CONFIGURATION.format(**values))
    (root / "oauth2.conf").write_text(_TOKENS.format(**values))
    for name in ("run", "state", "mail"):
        (root / name).mkdir()
    for each in (root, *root.rglob("*")):
        os.chown(each, *owner)


@contextlib.contextmanager
def _process(server: Dovecot, owner: tuple[int, int]) -> Iterator[None]:
    process = subprocess.Popen(
        ["dovecot", "-F", "-c", str(server.root / "dovecot.conf")],
        env={"PATH": f"{os.environ['PATH']}:/usr/sbin"},
        cwd=server.root,
        user=owner[0] if os.getuid() == 0 else None,
        group=owner[1] if os.getuid() == 0 else None,
        extra_groups=[] if os.getuid() == 0 else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _await(process, server)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _await(process: "subprocess.Popen[bytes]", server: Dovecot) -> None:
    until = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.imap_port), 1):
            return
        time.sleep(0.02)
    process.terminate()
    said = process.communicate()[1].decode(errors="replace")
    log = server.root / "log"
    raise RuntimeError(f"Dovecot did not start: {said}{log.read_text() if log.exists() else ''}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """One server for all tests; each takes an address of its own."""
    with running_dovecot() as server:
        yield server


_NUMBERS = itertools.count(1)


@pytest.fixture
def address() -> str:
    """An address that no other test has used."""
    return f"box{next(_NUMBERS)}@contoso.com"
