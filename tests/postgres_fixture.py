"""A real PostgreSQL on a socket and a free port of 127.0.0.1, with a database for each test.

It speaks a language of its own (ICU's ``en-US``), so that nothing rests on text being
sorted by its bytes. It refuses to run as root; started by root it runs as ``nobody``.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from pipelines.index.engine import Index
from tests.auth.entra import make_ca

INSTALL = "apt-get install --yes postgresql"
PASSWORD = "hunter2-of-the-tests"
"""For connections by TCP; those through the socket need none."""
_STARTED_WITHIN = 30.0
_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{root}'
unix_socket_permissions = 0777
max_connections = 60
fsync = off
full_page_writes = off
log_min_messages = fatal
ssl = on
ssl_cert_file = '{root}/server.pem'
ssl_key_file = '{root}/server.pem'
"""


class Postgres:
    """A running server."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.ca_file = root / "ca.pem"
        self._numbers = itertools.count(1)
        self._template: str | None = None

    @contextlib.contextmanager
    def database(self, *, migrated: bool = False, options: str = "") -> Iterator[str]:
        """The name of a database, gone at the end; ``migrated``: it is an index without a mailbox."""
        if migrated and self._template is None:
            self._template = "template_of_indexes"
            self.run("postgres", f"CREATE DATABASE {self._template}")
            Index(self.url(self._template)).close()
        name = f"mailover{next(self._numbers)}"
        self.run(
            "postgres", f"CREATE DATABASE {name} {f'TEMPLATE {self._template}' if migrated else options}"
        )
        try:
            yield name
        finally:
            self.run("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """A database's URL, through the socket."""
        return f"postgresql://mailover@/{database}?host={self.root}&port={self.port}"

    def tcp_url(self, database: str, options: str = "", password: str = PASSWORD) -> str:
        """A database's URL, by TCP and with a password."""
        return f"postgresql://mailover:{password}@localhost:{self.port}/{database}{options}"

    def run(self, database: str, *statements: str) -> None:
        """Do something behind Mailover's back."""
        with psycopg.connect(
            dbname=database, user="mailover", host=str(self.root), port=self.port, autocommit=True
        ) as connection:
            for each in statements:
                connection.execute(each.encode())

    def count(self, database: str, table: str) -> int:
        """How many rows a table has."""
        with psycopg.connect(self.url(database)) as connection:
            found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
            return int((found.fetchone() or (0,))[0])

    def end_connections(self, database: str) -> None:
        """Cut off everybody who uses a database."""
        for_each = f"FROM pg_stat_activity WHERE datname = '{database}'"
        self.run("postgres", f"SELECT pg_terminate_backend(pid) {for_each}")


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL of one's own; stopped and forgotten at the end."""
    programs = _programs()
    account = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    # Not under pytest's folders: those are closed to other accounts, and a socket's path has to be short.
    root = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = Postgres(root, free.getsockname()[1])
        _write(server, programs, account)
        with _process(server, programs, account):
            yield server
    finally:
        shutil.rmtree(root)


def _programs() -> Path:
    """Where Debian keeps ``initdb`` and ``postgres``: not on the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        raise pytest.fail.Exception(f"PostgreSQL is not installed: run `{INSTALL}` as root", pytrace=False)
    return places[-1]


def _as(account: pwd.struct_passwd) -> dict[str, object]:
    if os.getuid() != 0:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _write(server: Postgres, programs: Path, account: pwd.struct_passwd) -> None:
    root = server.root
    make_ca(root)
    (root / "password").write_text(PASSWORD)
    for each in (root, *root.iterdir()):
        os.chown(each, account.pw_uid, account.pw_gid)
        each.chmod(0o711 if each.is_dir() else 0o600)
    (root / "ca.pem").chmod(0o644)
    subprocess.run(
        [
            programs / "initdb",
            f"--pgdata={root / 'data'}",
            "--username=mailover",
            f"--pwfile={root / 'password'}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--locale-provider=icu",
            "--icu-locale=en-US",
            "--no-sync",
        ],
        cwd=root,
        check=True,
        capture_output=True,
        **_as(account),  # type: ignore[call-overload]
    )
    with (root / "data" / "postgresql.conf").open("a") as file:
        file.write(_SETTINGS.format(root=root, port=server.port))


@contextlib.contextmanager
def _process(server: Postgres, programs: Path, account: pwd.struct_passwd) -> Iterator[None]:
    # A file: every connection that is cut off is told there, and a full pipe would stop the server.
    with (server.root / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", server.root / "data"],
            cwd=server.root,
            stdout=subprocess.DEVNULL,
            stderr=log,
            **_as(account),  # type: ignore[call-overload]
        )
    try:
        _await(process, server)
        yield
    finally:
        # SIGINT: it ends its connections and shuts down, where SIGTERM would wait for them.
        process.send_signal(2)
        process.wait(timeout=30)


def _await(process: "subprocess.Popen[bytes]", server: Postgres) -> None:
    until = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            return server.run("postgres")
        time.sleep(0.02)
    process.terminate()
    process.wait(timeout=30)
    raise RuntimeError(f"PostgreSQL did not start: {(server.root / 'log').read_text(errors='replace')}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests; each makes a database of its own."""
    with running_postgres() as server:
        yield server
