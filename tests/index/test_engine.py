"""Opening the index: migrations, privacy, and what cannot be opened."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pipelines.errors import ConfigurationError, MailoverError
from pipelines.index.engine import Index
from pipelines.index.tables import metadata


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


def test_bad_input_gets_a_clear_error_from_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mailover.db").write_text("a shopping list, long enough not to look empty " * 20)
    with pytest.raises(MailoverError, match="cannot be opened: file is not a database"):
        Index(f"sqlite:///{tmp_path}/mailover.db")


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
