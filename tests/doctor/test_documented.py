"""docs/doctor.md shows what doctor says of a tenant with one thing wrong, to the letter."""

import pytest

from tests.doctor.documented import BLOCK, CASES, PAGE, shown
from tests.sandbox_fixture import RunningSandbox

BLOCKS = {name: block for _before, name, block, _after in BLOCK.findall(PAGE.read_text())}


def test_every_case_has_its_block_in_the_page() -> None:
    assert sorted(name for _before, name, _block, _after in BLOCK.findall(PAGE.read_text())) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_what_doctor_says(name: str, shared_sandbox: RunningSandbox) -> None:
    said = shown(shared_sandbox, CASES[name])
    assert said == BLOCKS[name], "python -m tests.doctor.documented writes the page anew"
