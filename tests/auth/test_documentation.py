"""docs/sign-in.md says what the code does."""

import re
from pathlib import Path

from pipelines.auth.clouds import CLOUDS
from pipelines.auth.refusals import REFUSALS

_SIGN_IN = (Path(__file__).resolve().parents[2] / "docs" / "sign-in.md").read_text()


def test_every_refusal_is_documented_with_its_meaning_and_remedy() -> None:
    rows = re.findall(r"^\| AADSTS(\d+) \| (.+) \| (.+) \|$", _SIGN_IN, re.MULTILINE)
    assert {int(number): (meaning, remedy) for number, meaning, remedy in rows} == REFUSALS


def test_every_cloud_is_documented_with_its_servers() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| `(\S+)` \| `(\S+)` \| `(\S+)` \|$", _SIGN_IN, re.MULTILINE)
    assert {name: tuple(servers) for name, *servers in rows} == {
        name: (cloud.authority, cloud.graph, cloud.mail_host) for name, cloud in CLOUDS.items()
    }
