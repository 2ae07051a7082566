"""Which database holds the index of a test: a SQLite file in its folder, or a PostgreSQL database of its own.

Modules and tests marked ``both_indexes`` run on each; ``--index postgresql`` runs every
test there whose index would have been SQLite.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from pipelines.index.engine import Index
from tests.postgres_fixture import Postgres

_VARIABLE = "MAILOVER_TEST_INDEX"
"""A PostgreSQL database's URL, for the test and for the processes it starts."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--index", choices=("sqlite", "postgresql"), help="the only database to test on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    only = metafunc.config.getoption("--index")
    if only:
        metafunc.parametrize("index_database", [only], indirect=True)
    elif metafunc.definition.get_closest_marker("both_indexes"):
        metafunc.parametrize("index_database", ["sqlite", "postgresql"], indirect=True)


@contextmanager
def database(request: pytest.FixtureRequest, kind: str) -> Iterator[None]:
    """Have ``index_url`` name a database of this kind, for the length of the block."""
    if kind == "sqlite":
        yield
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database(migrated=True) as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv(_VARIABLE, server.url(name))
        yield


@pytest.fixture(autouse=True)
def index_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """The database that the test is to run on."""
    with database(request, getattr(request, "param", "sqlite")):
        yield


def index_url(folder: Path) -> str:
    """The URL of the test's index, which on SQLite is a file in ``folder``."""
    return os.environ.get(_VARIABLE) or f"sqlite:///{folder / 'mailover.db'}"


def lose_index(folder: Path) -> None:
    """Nothing of the index is left."""
    if url := os.environ.get(_VARIABLE):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    for file in folder.glob("mailover.db*"):
        file.unlink()


def copy_index(folder: Path) -> Callable[[], None]:
    """Copy the index, which nobody uses now; what is returned puts the copy back."""
    if url := os.environ.get(_VARIABLE):
        return _copy_database(url)
    shutil.copy(folder / "mailover.db", folder / "copy")

    def restore() -> None:
        lose_index(folder)
        shutil.copy(folder / "copy", folder / "mailover.db")

    return restore


_KEPT_AND_SUMMED = (
    (
        "SELECT id, live_occurrences FROM folders",
        "SELECT folder_id, count(*) FROM occurrences WHERE removed_at IS NULL GROUP BY folder_id",
    ),
    ("SELECT id, raw_bytes FROM mailboxes", "SELECT mailbox_id, sum(size) FROM raws GROUP BY mailbox_id"),
    (
        "SELECT mailbox_id, rows FROM data_files WHERE dataset = 'messages' AND retired_at IS NULL",
        "SELECT mailbox_id, count(*) FROM messages GROUP BY mailbox_id",
    ),
)


def assert_sums_are_kept(index: Index) -> None:
    """What folders, mailboxes and files keep of the sums of their rows is what their rows sum up to."""
    with index.read() as connection:
        for kept, summed in _KEPT_AND_SUMMED:
            told, found = Counter[int](), Counter[int]()
            for statement, sums in ((kept, told), (summed, found)):
                for owner, value in connection.execute(sa.text(statement)):
                    sums[owner] += value or 0
            assert +told == +found, kept


def _copy_database(url: str) -> Callable[[], None]:
    name = database_name()
    copy = f"{name}_copy"

    def run(*statements: str) -> None:
        with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
            for each in statements:
                connection.execute(each.encode())

    def restore() -> None:
        run(f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {copy} RENAME TO {name}")

    run(f"CREATE DATABASE {copy} TEMPLATE {name}")
    return restore


def database_name() -> str:
    """The name of the test's PostgreSQL database."""
    return str(psycopg.conninfo.conninfo_to_dict(os.environ[_VARIABLE])["dbname"])
