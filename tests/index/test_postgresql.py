"""What is PostgreSQL's own: text it refuses, its languages, TLS, passwords, servers that go away."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from pipelines.errors import ConfigurationError, MailoverError, UnreachableError
from pipelines.index.engine import Index
from pipelines.index.inserting import insert_many
from pipelines.index.lease import hold, renew
from pipelines.index.mailboxes import add_mailboxes, record_folders
from pipelines.index.postgresql import postgresql_engine
from pipelines.index.search import search
from pipelines.index.tables import folders, mailboxes, messages
from pipelines.ingest.passes import ingest_mailbox
from tests.auth.entra import make_ca
from tests.ingest.conftest import rows
from tests.ingest.model import ALEX, KIM, START, ModelMailbox, ModelWorkspace, VirtualClock, configure
from tests.postgres_fixture import PASSWORD, Postgres


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as name:
        yield name


@pytest.fixture
def index(postgres: Postgres, database: str) -> Iterator[Index]:
    opened = Index(postgres.url(database))
    yield opened
    opened.close()


def test_text_has_no_limit_and_compares_by_its_bytes(index: Index) -> None:
    found = sa.text(
        "SELECT table_name, column_name, data_type, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND character_set_name IS NULL AND table_name <> 'alembic_version' "
        "AND data_type IN ('text', 'character varying')"
    )
    with index.read() as connection:
        texts = connection.execute(found).all()
    assert {each.table_name for each in texts} > {"messages", "folders", "occurrences"}
    assert [each for each in texts if (each.data_type, each.collation_name) != ("text", "C")] == []


def test_a_folders_path_may_be_of_any_length(index: Index) -> None:
    add_mailboxes(index, [(KIM, "legacy")])
    path = "/".join(["Überblick"] * 500)
    with hold(index, KIM, VirtualClock()) as lease:
        record_folders(index, lease, "archive", [(path, path, "other", None)], START)
    with index.read() as connection:
        assert connection.scalars(sa.select(folders.c.native)).all() == [path]


def test_many_who_open_a_new_database_at_once_prepare_it_once(postgres: Postgres, database: str) -> None:
    found: list[str] = []

    def open_it() -> None:
        index = Index(postgres.url(database))
        found.append(index.index_id)
        index.close()

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("many", [False, True])
def test_a_character_that_postgresql_refuses_is_replaced(index: Index, many: bool) -> None:
    add_mailboxes(index, [(KIM, "legacy")])
    row = {"protocol": "imap", "native": "a\0b", "path": "a\0b", "role": "other", "seen_at": START}
    with index.write() as connection:
        row["mailbox_id"] = connection.scalar(sa.select(mailboxes.c.id))
        if many:
            insert_many(connection, folders, [row])
        else:
            connection.execute(folders.insert().values(row))
        assert connection.scalar(sa.select(folders.c.path).where(folders.c.native == "a\0b")) == "a\ufffdb"


ODD = (
    b"Message-ID: <\x001@contoso.com>\r\nDate: Mon, 3 Mar 2025 08:00:00 +0000\r\n"
    b"From: Zo\x00e <z@contoso.com>\r\n"
    b"Subject: figures\x00quarterly \xed\xa0\x80\r\nX-Odd: \x00\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nhalf\x00pair \xed\xb3\xbf\r\n"
)
LONG = (
    b"Message-ID: <2@contoso.com>\r\nDate: Tue, 4 Mar 2025 08:00:00 +0000\r\nSubject: every word\r\n\r\n"
    + b"x" * 5000
    + b"\r\n"
    + b"\r\n".join(b"word%d" % number for number in range(300_000))
)


def test_nothing_lost_of_text_that_postgresql_refuses(tmp_path: Path, index: Index) -> None:
    mailbox = ModelMailbox()
    mailbox.inbox.deliver(ODD)
    mailbox.inbox.deliver(LONG)
    config = configure(tmp_path, KIM)
    storage = config.storage.model_copy(update={"index": str(index._engine.url)})
    workspace = ModelWorkspace(config.model_copy(update={"storage": storage}), {KIM: mailbox}, VirtualClock())
    assert ingest_mailbox(workspace, workspace.config.mailbox(KIM)).error is None
    assert {row["mime"] for row in rows(workspace, "raw")} == {ODD, LONG}
    with workspace.index.read() as connection:
        subjects = connection.scalars(sa.select(messages.c.subject).order_by(messages.c.id)).all()
    assert "\0" not in subjects[0]
    for query, found in (("quarterly", 1), ('"half pair"', 1), ("word7", 1), (f"{'x' * 5000}", 1)):
        assert len(search(workspace.index, query, 10)) == found, query[:20]
    workspace.close()


def test_one_writer_of_each_mailbox_none_waits_for_another(index: Index) -> None:
    add_mailboxes(index, [(KIM, "legacy"), (ALEX, "legacy")])
    clock = VirtualClock()
    with (
        hold(index, KIM, clock) as kim,
        hold(index, ALEX, clock) as alex,
        index.write() as one,
        index.write() as other,
    ):
        renew(one, kim, clock.now())
        renew(other, alex, clock.now())


def test_reading_sees_one_moment(index: Index) -> None:
    add_mailboxes(index, [(KIM, "legacy")])
    count = sa.select(sa.func.count()).select_from(mailboxes)
    with index.read() as connection:
        assert connection.scalar(count) == 1
        add_mailboxes(index, [(ALEX, "legacy")])
        assert connection.scalar(count) == 1


def test_a_server_that_was_away_is_found_again(index: Index, postgres: Postgres, database: str) -> None:
    add_mailboxes(index, [(KIM, "legacy")])
    postgres.end_connections(database)
    add_mailboxes(index, [(ALEX, "legacy")])

    def forget_all() -> None:
        with index.write() as connection:
            connection.execute(sa.delete(mailboxes))
            postgres.end_connections(database)
            connection.execute(sa.delete(mailboxes))

    with pytest.raises(UnreachableError, match=f"the index {database} cannot be reached"):
        forget_all()
    with index.read() as connection:
        assert len(connection.scalars(sa.select(mailboxes.c.address)).all()) == 2


def test_secrets_stay_secret_a_refused_password_is_not_shown(postgres: Postgres, database: str) -> None:
    with pytest.raises(UnreachableError) as raised:
        Index(postgres.tcp_url(database, password="not-the-password"))
    assert "password authentication failed" in str(raised.value)
    assert "not-the-password" not in str(raised.value)


def test_secrets_stay_secret_a_certificate_is_verified(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    Index(postgres.tcp_url(database, f"?sslmode=verify-full&sslrootcert={postgres.ca_file}")).close()
    foreign, _ = make_ca(tmp_path)
    for options in ("?sslmode=verify-full", f"?sslmode=verify-full&sslrootcert={foreign}"):
        with pytest.raises(UnreachableError, match="SSL error") as raised:
            Index(postgres.tcp_url(database, options))
        assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca"])
def test_secrets_stay_secret_tls_without_verification_is_refused(mode: str) -> None:
    with pytest.raises(ConfigurationError, match=f"sslmode={mode}"):
        Index(f"postgresql://mailover@db.contoso.com/mail?sslmode={mode}")


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("postgresql://mailover@db.contoso.com/mail", True),
        ("postgresql://mailover@/mail?host=db.contoso.com", True),
        ("postgresql://mailover@db.contoso.com/mail?sslmode=disable", False),
        ("postgresql://mailover@localhost/mail", False),
    ],
)
def test_secrets_stay_secret_another_computer_is_reached_by_tls(url: str, verified: bool) -> None:
    engine = postgresql_engine(sa.make_url(url))
    given: dict[str, object] = {}

    @sa.event.listens_for(engine, "do_connect")
    def _look(_dialect: object, _record: object, _arguments: object, parameters: dict[str, object]) -> None:
        given.update(parameters)
        raise psycopg.OperationalError("looked")

    with pytest.raises(sa.exc.OperationalError, match="looked"):
        engine.connect()
    assert (given.get("sslmode") == "verify-full") is verified
    assert Path(str(given.get("sslrootcert"))).is_file() is verified


def test_bad_input_gets_a_clear_error_from_a_database_of_another_encoding(postgres: Postgres) -> None:
    latin = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER 'libc' TEMPLATE template0"
    with (
        postgres.database(options=latin) as name,
        pytest.raises(ConfigurationError, match="keeps text in LATIN1"),
    ):
        Index(postgres.url(name))


def test_bad_input_gets_a_clear_error_from_a_database_that_is_not_there(postgres: Postgres) -> None:
    with pytest.raises(UnreachableError, match='database "nowhere" does not exist'):
        Index(postgres.url("nowhere"))


def test_bad_input_gets_a_clear_error_from_a_role_that_may_not_write(
    postgres: Postgres, database: str
) -> None:
    postgres.run(database, "CREATE ROLE reader LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        with pytest.raises(MailoverError, match="permission denied for schema public"):
            Index(postgres.url(database).replace("mailover@", "reader@"))
    finally:
        postgres.run(database, "DROP ROLE reader")
