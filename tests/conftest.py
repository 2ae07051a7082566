"""What every room's tests share."""

import logging
import os
import tarfile
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.browser_fixture",
    "tests.cli_fixture",
    "tests.dovecot_fixture",
    "tests.object_store_fixture",
    "tests.postgres_fixture",
    "tests.index_fixture",
    "tests.sandbox_fixture",
]

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = ROOT.parent / "shared" / "corpus" / "corpus-dev.tar.xz"


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real mail with its MANIFEST.tsv: MAILOVER_CORPUS, else the archive beside the project."""
    named = os.environ.get("MAILOVER_CORPUS")
    if named:
        return Path(named)
    if not ARCHIVE.exists():
        pytest.skip("the corpus of real mail is not here: set MAILOVER_CORPUS to its unpacked folder")
    unpacked = tmp_path_factory.mktemp("corpus")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(unpacked, filter="data")
    return next(unpacked.rglob("MANIFEST.tsv")).parent


@pytest.fixture
def all_logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What every library logs, at whatever level it or an earlier test has set its loggers.

    SQLAlchemy tells its statements; one level deeper it would print every row of the index.
    """
    for name in logging.root.manager.loggerDict:
        caplog.set_level(logging.INFO if name.startswith("sqlalchemy") else logging.DEBUG, logger=name)
    # Last, since each of these is the handler's level as well.
    caplog.set_level(logging.DEBUG)
    return caplog
