"""Opening the index: migrations, privacy, and what cannot be opened."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext

from pipelines.errors import ConfigurationError, MailoverError
from pipelines.index import engine as engine_module
from pipelines.index.engine import Index
from pipelines.index.tables import folders, mailboxes, messages, metadata, raws, rounds
from tests.index_fixture import assert_sums_are_kept


def test_the_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    index = Index(f"sqlite:///{tmp_path}/mailover.db")
    with index.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": lambda _object, name, *_: not str(name).startswith("message_text")},
        )
        assert compare_metadata(context, metadata) == []
    index.close()


def test_secrets_stay_secret_the_database_is_its_owners_only(tmp_path: Path) -> None:
    index = Index(f"sqlite:///{tmp_path}/mailover.db")
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    index.close()


def test_opening_again_keeps_the_index_id(tmp_path: Path) -> None:
    first, second = (Index(f"sqlite:///{tmp_path}/mailover.db") for _ in range(2))
    assert first.index_id == second.index_id
    first.close()
    second.close()


def test_folders_that_are_missing_are_made_for_their_owner_only(tmp_path: Path) -> None:
    Index(f"sqlite:///{tmp_path}/mail/state/mailover.db").close()
    assert [(tmp_path / each).stat().st_mode & 0o777 for each in ("mail", "mail/state")] == [0o700, 0o700]


def test_bad_input_gets_a_clear_error_from_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mailover.db").write_text("a shopping list, long enough not to look empty " * 20)
    with pytest.raises(MailoverError, match="cannot be opened: file is not a database"):
        Index(f"sqlite:///{tmp_path}/mailover.db")


MOMENT = datetime(2025, 3, 1, tzinfo=UTC)
FIRST_ROWS: dict[str, dict[str, object]] = {
    "mailboxes": {"address": "kim.akers@contoso.com", "phase": "legacy", "commits": 1, "lease_epoch": 1},
    "folders": {"protocol": "imap", "native": "INBOX", "path": "Inbox", "role": "inbox", "seen_at": MOMENT},
    "data_files": {"dataset": "messages", "path": "a", "rows": 1, "size": 1},
    "messages": {
        **dict.fromkeys(("message_key", "thread_id", "subject", "sender_name", "sender_address"), ""),
        **dict.fromkeys(("size", "attachment_count", "normaliser_version", "file_id"), 1),
        "recipients": "",
        "raw_sha256": "f" * 64,
        "received_at": MOMENT,
        "received_by_server": True,
    },
    "raws": {"raw_sha256": "f" * 64, "row_id": 1, "size": 1, "file_id": 1},
    "occurrences": {
        "folder_id": 1,
        "native_id": "1:1",
        "row_id": 1,
        "evidence": "bytes",
        "flags": "",
        "first_seen_at": MOMENT,
    },
    "rounds": {
        **dict.fromkeys(("listed", "stored", "known", "quarantined", "gone", "bytes"), 0),
        "folder_id": 1,
        "started_at": MOMENT,
    },
}
"""A row in every table of the first schema that later ones added columns to."""


def test_an_index_of_the_first_schema_is_brought_to_the_present_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mailover.db"
    engine = sa.create_engine(url)
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", str(Path(engine_module.__file__).parent / "migrations"))
    with engine.begin() as connection:
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "0001")
        first = sa.MetaData()
        first.reflect(connection)
        for name, values in FIRST_ROWS.items():
            mailbox = {} if name == "mailboxes" else {"mailbox_id": 1}
            connection.execute(first.tables[name].insert().values(id=1, **mailbox, **values))
    engine.dispose()
    index = Index(url)
    with index.read() as connection:
        assert connection.scalars(sa.select(messages.c.fidelity)).all() == ["mime"]
        assert connection.scalars(sa.select(raws.c.weak)).all() == [False]
        assert connection.scalars(sa.select(rounds.c.unmatched)).all() == [0]
        assert connection.scalars(sa.select(mailboxes.c.raw_bytes)).all() == [1]
        assert connection.scalars(sa.select(folders.c.live_occurrences)).all() == [1]
    assert_sums_are_kept(index)
    index.close()


def test_bad_input_gets_a_clear_error_from_a_newer_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mailover.db"
    index = Index(url)
    with index.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    index.close()
    with pytest.raises(ConfigurationError, match="newer version of Mailover"):
        Index(url)


def test_bad_input_gets_a_clear_error_from_a_database_of_another_kind() -> None:
    with pytest.raises(ConfigurationError, match="mysql is not supported"):
        Index("mysql://localhost/mail")
