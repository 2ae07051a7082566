"""What a good configuration becomes."""

import pickle
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.config import Config, SecretCredential, load_config, write_starter_config
from pipelines.errors import UsageError
from tests.config.cases import VALID

GUID = "11111111-2222-3333-4444-555555555555"


def _load(folder: Path, text: str = VALID) -> Config:
    path = folder / "mailover.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_file_named_wins_over_the_environment_and_that_over_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("named", "environment", "working"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mailover.yaml").write_text(VALID)
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.delenv("MAILOVER_CONFIG", raising=False)
    assert load_config().storage.lake == str(tmp_path / "working/lake")
    monkeypatch.setenv("MAILOVER_CONFIG", str(tmp_path / "environment/mailover.yaml"))
    assert load_config().storage.lake == str(tmp_path / "environment/lake")
    assert load_config(tmp_path / "named/mailover.yaml").storage.lake == str(tmp_path / "named/lake")


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = _load(tmp_path)
    assert config.storage.lake == str(tmp_path / "lake")
    assert config.storage.index == f"sqlite:///{tmp_path}/mailover.db"
    assert config.path == tmp_path / "mailover.yaml"


def test_absolute_paths_and_object_stores_stay_as_they_are(tmp_path: Path) -> None:
    text = VALID.replace("./lake", "abfss://mail@contoso.dfs.core.windows.net/lake")
    config = _load(tmp_path, text.replace("sqlite:///mailover.db", f"sqlite:////{tmp_path}/a.db?timeout=3"))
    assert config.storage.lake == "abfss://mail@contoso.dfs.core.windows.net/lake"
    assert config.storage.index.endswith(f"{tmp_path}/a.db?timeout=3")


def test_files_named_in_urls_start_at_the_files_own_folder(tmp_path: Path) -> None:
    store = "s3://bucket/lake?endpoint_override=minio.contoso.com:9000&tls_ca_file_path=ca.pem"
    database = "postgresql://db/mail?sslrootcert=ca.pem&application_name=mail"
    config = _load(tmp_path, VALID.replace("./lake", store).replace("sqlite:///mailover.db", database))
    assert config.storage.lake == store.replace("ca.pem", f"{tmp_path}/ca.pem")
    assert sa.make_url(config.storage.index).query == {
        "sslrootcert": f"{tmp_path}/ca.pem",
        "application_name": "mail",
    }


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_through_psycopg_and_its_password_is_never_shown(
    scheme: str, tmp_path: Path
) -> None:
    config = _load(tmp_path, VALID.replace("sqlite:///mailover.db", f"{scheme}://me:hunter2@db:5433/mail"))
    assert config.storage.index == "postgresql+psycopg://me:hunter2@db:5433/mail"
    assert "hunter2" not in repr(config)


def test_defaults_are_those_that_the_documentation_names(tmp_path: Path) -> None:
    config = _load(tmp_path, VALID.replace("    legacy: imap\n", ""))
    mailbox = config.mailboxes[0]
    assert config.tenant.cloud == "public"
    assert config.ingest.batch_bytes == 16777216
    assert config.ingest.concurrency == 4
    assert (mailbox.legacy, mailbox.wave, mailbox.folders.hidden) == (None, None, False)
    assert mailbox.folders.selects("Deleted Items", "trash")


@pytest.mark.parametrize(
    ("written", "size"),
    [("65536", 65536), ("64 KiB", 65536), ("'64kib'", 65536), ("1 MB", 10**6), ("2GiB", 2**31)],
)
def test_a_size_is_bytes_or_has_a_unit(written: str, size: int, tmp_path: Path) -> None:
    config = _load(tmp_path, f"{VALID}ingest: {{batch_bytes: {written}}}\n")
    assert config.ingest.batch_bytes == size


def test_addresses_are_told_apart_without_regard_to_case(tmp_path: Path) -> None:
    config = _load(tmp_path, VALID.replace("kim.akers@contoso.com", "Kim.Akers@Contoso.COM"))
    assert config.mailboxes[0].address == "kim.akers@contoso.com"
    assert config.mailbox("KIM.akers@contoso.com") is config.mailboxes[0]


@pytest.mark.parametrize(
    "address",
    [
        "o'hara+list@sub.contoso.co.uk",
        "müller@contoso.com",
        "kim@bücher.example",
        "a_b-c=d/e@xn--bcher-kva.example",
    ],
)
def test_unusual_addresses_are_accepted(address: str, tmp_path: Path) -> None:
    config = _load(tmp_path, VALID.replace("kim.akers@contoso.com", f'"{address}"'))
    assert config.mailboxes[0].address == address


def test_mailboxes_are_selected_once_and_in_the_order_named(tmp_path: Path) -> None:
    config = _load(tmp_path, f"{VALID}  - address: lee.gu@contoso.com\n  - address: ada@contoso.com\n")
    chosen = config.select(["ada@contoso.com", "KIM.AKERS@contoso.com", "ada@contoso.com"])
    assert [mailbox.address for mailbox in chosen] == ["ada@contoso.com", "kim.akers@contoso.com"]
    assert config.select([]) == list(config.mailboxes)


def test_bad_input_gets_a_clear_error_for_an_unknown_mailbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mailover.yaml").write_text(VALID)
    config = load_config()
    with pytest.raises(UsageError) as caught:
        config.select(["kim.aker@contoso.com"])
    assert str(caught.value) == (
        "the mailbox 'kim.aker@contoso.com' is not in mailover.yaml\n  → did you mean kim.akers@contoso.com?"
    )
    with pytest.raises(UsageError, match="add it under mailboxes, or check its spelling"):
        config.mailbox("zz@fabrikam.example")


def test_a_configuration_crosses_process_borders_and_cannot_be_changed(tmp_path: Path) -> None:
    config = _load(tmp_path)
    copy = pickle.loads(pickle.dumps(config))  # noqa: S301
    assert copy == config
    assert copy.mailbox("kim.akers@contoso.com").legacy == "imap"
    with pytest.raises(ValueError, match="frozen"):
        config.tenant.cloud = "china"


def test_the_starter_file_loads_once_its_two_ids_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mailover.yaml"
    write_starter_config(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert str(caught.value).count("still holds the placeholder") == 2
    path.write_text(path.read_text().replace("00000000-0000-0000-0000-000000000000", GUID))
    config = load_config(path)
    assert isinstance(config.tenant.credential, SecretCredential)
    assert config.mailboxes[0].legacy == "imap"


def test_every_line_that_the_starter_file_offers_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "mailover.yaml"
    write_starter_config(path)
    lines = path.read_text().replace("00000000-0000-0000-0000-000000000000", GUID).splitlines()
    prose = (
        "# Mailover's",
        "# Every key",
        "# From the",
        "# The NAME",
        "# Or a certificate",
        "# certificate:",
    )
    offered = [line for line in lines if not line.strip().startswith(prose)]
    path.write_text("\n".join(line.replace("# ", "", 1) if "# " in line[:6] else line for line in offered))
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    config = load_config(path)
    assert config.tenant.endpoints.imap == "localhost:9993"
    assert config.ingest.concurrency == 4
    assert config.mailboxes[0].wave == "pilot"
    assert config.mailboxes[0].folders.exclude == ("Deleted Items", "junk")


def test_bad_input_gets_a_clear_error_rather_than_an_overwritten_file(tmp_path: Path) -> None:
    path = tmp_path / "mailover.yaml"
    path.write_text("precious")
    with pytest.raises(UsageError, match="is already there"):
        write_starter_config(path)
    assert path.read_text() == "precious"
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        write_starter_config(tmp_path / "nowhere" / "mailover.yaml")
