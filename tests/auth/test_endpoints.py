"""Which servers are meant, and what is said to them first."""

import base64
from pathlib import Path

import pytest

from pipelines.auth import Resource, resolve, xoauth2
from pipelines.config import Endpoints, SecretCredential, Tenant
from tests.auth.entra import CLIENT, TENANT


def _tenant(**changes: object) -> Tenant:
    given = {"id": TENANT, "client_id": CLIENT, "credential": SecretCredential(secret_env="SECRET")}
    return Tenant.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("cloud", "authority", "graph", "mail"),
    [
        ("public", "login.microsoftonline.com", "graph.microsoft.com", "outlook.office365.com"),
        ("us-gov-high", "login.microsoftonline.us", "graph.microsoft.us", "outlook.office365.us"),
        ("us-gov-dod", "login.microsoftonline.us", "dod-graph.microsoft.us", "outlook-dod.office365.us"),
        (
            "china",
            "login.partner.microsoftonline.cn",
            "microsoftgraph.chinacloudapi.cn",
            "partner.outlook.cn",
        ),
    ],
)
def test_a_cloud_names_all_its_servers(cloud: str, authority: str, graph: str, mail: str) -> None:
    found = resolve(_tenant(cloud=cloud))
    assert found.authority == f"https://{authority}/{TENANT}"
    assert found.graph == f"https://{graph}/v1.0"
    assert (found.imap, found.pop3) == ((mail, 993), (mail, 995))
    assert found.scopes == {
        Resource.OUTLOOK: f"https://{mail}/.default",
        Resource.GRAPH: f"https://{graph}/.default",
    }


def test_endpoints_replace_the_servers_and_not_the_resources() -> None:
    given = Endpoints(
        authority="https://localhost:8443/",
        graph="https://localhost:8443/v1.0/",
        imap="localhost:9993",
        pop3="[::1]:9995",
        ca_file=Path("ca.pem"),
    )
    found = resolve(_tenant(endpoints=given))
    assert found.authority == f"https://localhost:8443/{TENANT}"
    assert found.graph == "https://localhost:8443/v1.0"
    assert (found.imap, found.pop3) == (("localhost", 9993), ("::1", 9995))
    assert found.ca_file == Path("ca.pem")
    assert found.scopes[Resource.OUTLOOK] == "https://outlook.office365.com/.default"


def test_xoauth2_is_microsofts_own_example() -> None:
    response = xoauth2("test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA")
    assert base64.b64encode(response) == (
        b"dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVy"
        b"IEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
    )
