"""Every configuration that is turned away, and the sentence it is turned away with."""

from pathlib import Path

import pytest

from pipelines.config import load_config
from pipelines.errors import ConfigurationError
from tests.config.cases import REJECTED, VALID, Case


def _error(text: str | bytes, folder: Path) -> ConfigurationError:
    path = Path("mailover.yaml")
    (folder / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    return caught.value


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", REJECTED.values(), ids=REJECTED)
def test_bad_input_gets_a_clear_error_for(case: Case, here: Path) -> None:
    assert case.old in VALID
    error = _error(VALID.replace(case.old, case.new, 1), here)
    assert str(error) == case.error.replace("{here}", str(here))
    assert error.exit_code == 2


@pytest.mark.parametrize("case", [case for case in REJECTED.values() if "hunter2" in case.new.lower()])
def test_secrets_stay_secret_when_a_file_that_holds_one_is_rejected(case: Case, here: Path) -> None:
    error = _error(VALID.replace(case.old, case.new, 1), here)
    assert "hunter2" not in f"{error} {error!r} {error.__dict__}".lower()


@pytest.mark.parametrize("line", ["key: *hunter2", "key: !hunter2 x", "key: 'hunter2", "key: hunter2: x"])
def test_secrets_stay_secret_when_malformed_yaml_is_quoted(line: str, here: Path) -> None:
    error = _error(f"{VALID}{line}\n", here)
    assert "hunter2" not in str(error)
    assert ": not valid YAML: " in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mailover.yaml:1: is not a YAML mapping of keys to values"),
        ("- one\n", "mailover.yaml:1: is not a YAML mapping of keys to values"),
        (b"tenant: \xff\n", "mailover.yaml: is not UTF-8 (byte 8)"),
        (
            "tenant:\n  id: '\x07'\n",
            "mailover.yaml:2: not valid YAML: holds a character that YAML does not allow",
        ),
        ("[" * 5000, "mailover.yaml:1: not valid YAML: is nested too deeply"),
    ],
)
def test_bad_input_gets_a_clear_error_for_a_file_that_is_no_configuration(
    text: str | bytes, message: str, here: Path
) -> None:
    assert _error(text, here).message == message


def test_bad_input_gets_a_clear_error_for_a_file_that_is_not_there(here: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config()
    assert str(caught.value) == (
        "mailover.yaml: there is no such file\n"
        "  → `mailover init` writes a new one; --config or MAILOVER_CONFIG names another"
    )


def test_bad_input_gets_a_clear_error_for_a_folder_in_place_of_the_file(here: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: Is a directory"):
        load_config(here)


def test_bad_input_gets_a_clear_error_even_for_yaml_that_contains_itself(here: Path) -> None:
    error = _error("tenant: &me\n  again: *me\n", here)
    assert "tenant.again: unknown key" in str(error)
