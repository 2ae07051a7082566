"""The control API over HTTPS: what a test or a demo tells the tenant to do."""

import hashlib
from pathlib import Path

import pytest
import requests

from pipelines.sandbox.control import SandboxControl
from pipelines.sandbox.server import Sandbox
from pipelines.sandbox.store import StoreError
from pipelines.sandbox.tenant import REFUSED

KIM = "kim.akers@contoso.com"
MAIL = b"Subject: Caf\xe9\r\n\r\n\x00 bytes \xff\r\n"


def found(control: SandboxControl, folder: str) -> list[int]:
    return [each["uid"] for each in control.messages() if each["folder"] == folder]


def test_a_message_goes_through_its_life(control: SandboxControl) -> None:
    control.do("create_folder", address=KIM, path="Life")
    control.do("create_folder", address=KIM, path="After")
    there = {"address": KIM, "path": "Life"}
    first = control.deliver(**there, mime=MAIL, received_at="2024-05-06T07:08:09+00:00", flags=["seen"])
    assert first["sha256"] == hashlib.sha256(MAIL).hexdigest()
    assert first["received_at"] == "2024-05-06T07:08:09+00:00"
    assert control.read(**there, uid=1) == MAIL
    control.do("set_flags", **there, uid=1, flags=["flagged", "seen"])
    copied = control.do("copy", **there, uid=1, to_path="After")
    assert copied["immutable_id"] != first["immutable_id"]
    moved = control.do("move", **there, uid=1, to_path="After")
    assert moved["immutable_id"] == first["immutable_id"]
    assert moved["flags"] == ["flagged", "seen"]
    assert found(control, "Life") == []
    control.do("rename_folder", address=KIM, path="After", new_path="Later")
    control.do("delete", address=KIM, path="Later", uid=1)
    control.do("reset_uidvalidity", address=KIM, path="Later")
    assert found(control, "Later") == [1]
    control.do("delete_folder", address=KIM, path="Later")
    assert found(control, "Later") == []


def test_the_tenant_tells_its_mailboxes_and_folders(control: SandboxControl) -> None:
    shown = {each["address"]: each for each in control.do("mailboxes")}
    assert shown[KIM]["granted"]
    assert not shown[REFUSED]["granted"]
    folders = {each["path"]: each for each in shown[KIM]["folders"]}
    assert folders["Inbox"]["role"] == "inbox"
    assert folders["Calendar"]["item_class"] == "IPF.Appointment"
    assert "Projects/Köln" in folders


def test_a_mailbox_can_be_closed_to_the_application_and_opened_again(control: SandboxControl) -> None:
    for granted in (False, True):
        control.do("grant", address=KIM, granted=granted)
        shown = {each["address"]: each["granted"] for each in control.do("mailboxes")}
        assert shown[KIM] is granted


def test_a_message_can_be_hidden_from_one_door(control: SandboxControl) -> None:
    control.do("create_folder", address=KIM, path="Veiled")
    there = {"address": KIM, "path": "Veiled"}
    control.deliver(**there, mime=MAIL)
    assert control.do("hide", **there, uid=1, door="graph")["hidden_from"] == ["graph"]
    (listed,) = [each for each in control.messages() if each["folder"] == "Veiled"]
    assert listed["hidden_from"] == ["graph"]
    assert control.do("hide", **there, uid=1, door="graph", hidden=False)["hidden_from"] == []


def test_what_the_doors_were_asked_is_counted(control: SandboxControl) -> None:
    assert set(control.do("asked")) == {"entra", "imap", "pop3", "graph"}


@pytest.mark.parametrize(
    ("operation", "arguments", "said"),
    [
        ("deliver", {"address": "nobody@contoso.com", "path": "Inbox", "mime": ""}, "no mailbox nobody"),
        ("deliver", {"address": KIM, "path": "Nowhere", "mime": ""}, "no folder Nowhere"),
        ("deliver", {"address": KIM, "path": "Inbox", "mime": "%"}, "base64"),
        (
            "deliver",
            {"address": KIM, "path": "Inbox", "mime": "", "received_at": "2024-01-01"},
            "needs a time zone",
        ),
        ("read", {"address": KIM, "path": "Inbox", "uid": 99}, "no message 99"),
        ("delete", {"address": KIM}, "missing"),
        ("rename_folder", {"address": KIM, "path": "Archive", "new_path": "Inbox"}, "cannot become"),
        ("rename_folder", {"address": KIM, "path": "Archive", "new_path": "Archive/Old"}, "cannot become"),
        ("add_fault", {"kind": "explode", "door": "imap"}, "explode"),
        ("add_fault", {"kind": "throttle", "door": "graph", "retry_after": "later"}, "later"),
        ("graph", {"speed": 1}, "speed is no setting"),
        ("hide", {"address": KIM, "path": "Inbox", "uid": 1, "door": "window"}, "window"),
        ("hide", {"address": KIM, "path": "Inbox", "uid": 99, "door": "graph"}, "no message 99"),
        ("explode", {}, "operations are"),
    ],
)
def test_bad_input_gets_a_clear_error_from_the_control_api(
    control: SandboxControl, operation: str, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        control.do(operation, **arguments)


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer é", ""])
def test_secrets_stay_secret_control_needs_the_token(
    tenant: Sandbox, directory: Path, header: str | None
) -> None:
    with requests.Session() as session:
        session.trust_env = False
        headers = {} if header is None else {"Authorization": header.encode()}
        answer = session.post(
            f"{tenant.url}/control/messages",
            json={},
            headers=headers,
            verify=str(directory / "ca.pem"),
            timeout=30,
        )
    assert answer.status_code == 401
