"""The index in a PostgreSQL database, reached through psycopg 3."""

import os
from typing import Any

import sqlalchemy as sa

from pipelines.errors import ConfigurationError

READING: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
WRITING: dict[str, Any] = {"isolation_level": "READ COMMITTED", "postgresql_readonly": False}
"""A writer's first statement locks its mailbox's row; what comes after it must see what came before that."""

_CONNECTING = {
    "application_name": "mailover",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""A server that vanished is noticed within a minute (libpq's own wait has no end)."""
_SESSION = {
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "10min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
"""The same the other way round: a client that vanished holds its mailbox's row no longer than that."""
_VERIFIED, _PLAIN = "verify-full", "disable"
_THIS_COMPUTER = ("localhost", "127.0.0.1", "::1")
_MOST_CONNECTIONS = 32
_PREPARING = 0x6D61696C6F766572
"""Any number that no other program's advisory locks have: "mailover" in ASCII."""


def postgresql_engine(url: sa.URL) -> sa.Engine:
    """An engine on the database of ``url``. Raises ``ConfigurationError`` for one that cannot serve."""
    try:
        from psycopg.types.string import StrDumper
    except ImportError:
        raise ConfigurationError(
            "storage.index: the PostgreSQL driver is not installed", remedy="pip install 'mailover[postgres]'"
        ) from None

    class _Text(StrDumper):
        """PostgreSQL's text cannot hold U+0000; the lake keeps it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={**_CONNECTING, **_tls(url), **url.query},
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=_MOST_CONNECTIONS - 8,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(str, _Text)
        settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items())
        connection.execute(f"SELECT {settings}")
        connection.commit()

    return engine


def prepare(connection: sa.Connection) -> None:
    """Have others wait who would prepare the database at the same time, until this transaction ends.

    Raises ``ConfigurationError`` for a database that cannot hold every letter of mail.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_PREPARING)))
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"storage.index: the database keeps text in {encoding}, which has not every letter of mail",
            remedy="create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )


def _tls(url: sa.URL) -> dict[str, str]:
    """TLS for every server but those of this computer, verified against the trusted authorities.

    libpq's own default, ``prefer``, takes any certificate and no TLS at all. For sockets of
    this computer's own libpq ignores all of it.
    """
    mode = url.query.get("sslmode")
    if mode is not None:
        if mode not in (_VERIFIED, _PLAIN):
            raise ConfigurationError(
                f"storage.index: sslmode={mode} would take a server for the database that is not",
                remedy="leave it out (certificates are verified), give sslrootcert for a private CA, or "
                "write sslmode=disable where the network itself is private",
            )
        return {} if mode == _PLAIN else _authorities()
    host = url.host or url.query.get("host") or os.environ.get("PGHOST", "")
    return {} if host in _THIS_COMPUTER else {"sslmode": _VERIFIED, **_authorities()}


def _authorities() -> dict[str, str]:
    # psycopg's wheels carry an OpenSSL that does not know where this system keeps them.
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return {} if os.environ.get("PGSSLROOTCERT") else {"sslrootcert": DEFAULT_CA_BUNDLE_PATH}
