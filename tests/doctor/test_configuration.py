"""What doctor finds without asking anybody: the file, the credential, the index."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.doctor.configuration import check_configuration, check_index
from pipelines.doctor.findings import Finding, State
from pipelines.index.engine import Index
from pipelines.index.mailboxes import add_mailboxes
from tests.doctor.certificates import Authority
from tests.doctor.conftest import KIM, LEE, Configure
from tests.doctor.documented import WaitlessClock

Change = Callable[[Path], None]


def found(config: Config, check: str) -> list[Finding]:
    return [each for each in check_configuration(config, WaitlessClock()) if each.check == check]


@pytest.mark.parametrize(
    ("secret", "state"),
    [
        ("Qv8Q~the.value", State.OK),
        ("'Qv8Q~the.value'", State.WARNING),
        ('"Qv8Q~the.value"', State.WARNING),
        ("3F2A77F0-52f9-4a6e-8f39-1c6e5b1f7d20", State.WARNING),
        (" ", State.FAILURE),
    ],
)
def test_secrets_stay_secret_while_their_form_is_judged(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, secret: str, state: State
) -> None:
    config = configure()
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", secret)
    (told,) = found(config, "credential")
    assert told.state is state
    assert secret.strip("'\" ") not in f"{told}" or not secret.strip()


@pytest.mark.parametrize(
    ("mode", "index", "state"),
    [
        (0o600, "sqlite:///mailover.db", State.OK),
        (0o644, "sqlite:///mailover.db", State.OK),
        (0o644, "postgresql://mailover@db/mailover", State.OK),
        (0o644, "postgresql://mailover:pass@db/mailover", State.WARNING),
        (0o660, "sqlite:///mailover.db", State.WARNING),
        (0o602, "sqlite:///mailover.db", State.WARNING),
    ],
)
def test_the_file_is_judged_by_its_mode(configure: Configure, mode: int, index: str, state: State) -> None:
    config = configure(index=index)
    assert config.path
    config.path.chmod(mode)
    (told,) = found(config, "file")
    assert told.state is state
    assert "pass@" not in f"{told}"


@pytest.mark.parametrize(
    ("begins", "ends", "state", "words"),
    [
        (timedelta(-1), timedelta(90, 60), State.OK, "valid for 90 more days"),
        (timedelta(-1), timedelta(29, 60), State.WARNING, "valid for 29 more days"),
        (timedelta(-9), timedelta(-2, -60), State.FAILURE, "expired 2 days ago"),
        (timedelta(2), timedelta(9), State.FAILURE, "not yet"),
    ],
)
def test_a_certificate_is_judged_by_its_dates(
    configure: Configure, tmp_path: Path, begins: timedelta, ends: timedelta, state: State, words: str
) -> None:
    Authority().write_pair(tmp_path / "app.pem", begins=begins, ends=ends)
    (told,) = found(configure({"credential": {"certificate": {"path": "app.pem"}}}), "credential")
    assert (told.subject, told.state) == ("app.pem", state)
    assert words in told.what


def test_a_private_key_that_others_can_reach_is_a_warning(configure: Configure, tmp_path: Path) -> None:
    Authority().write_pair(tmp_path / "app.pem").chmod(0o640)
    config = configure({"credential": {"certificate": {"path": "app.pem"}}})
    assert [each.state for each in found(config, "credential")] == [State.WARNING, State.OK]


def test_a_certificate_that_cannot_be_read_is_a_failure(configure: Configure, tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"
    (tmp_path / "app.pem").write_text(broken + "-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "ca.pem").write_text(broken)
    config = configure(
        {"credential": {"certificate": {"path": "app.pem"}}, "endpoints": {"ca_file": "ca.pem"}}
    )
    for check in ("credential", "ca-file"):
        (told,) = found(config, check)
        assert (told.state, told.exit_code) == (State.FAILURE, 2)


def test_the_index_tells_which_mailboxes_graph_feeds(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    told, moved = check_index(config)
    assert (told.state, moved) == (State.OK, frozenset())
    assert not (tmp_path / "mailover.db").exists()
    index = Index(config.storage.index)
    add_mailboxes(index, [(KIM, "graph"), (LEE, "shadow")])
    index.close()
    told, moved = check_index(config)
    assert told.what == "it can be opened; mailboxes fed by Graph: 1"
    assert moved == {KIM}


def test_an_index_that_cannot_be_opened_is_a_failure(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    (tmp_path / "mailover.db").write_text("this is no database, whatever its name says")
    told, moved = check_index(config)
    assert (told.state, moved) == (State.FAILURE, frozenset())
    assert told.remedy
