"""docs/doctor.md shows what doctor says of a tenant with one thing wrong, to the letter."""

from collections.abc import Iterator

import pytest

from tests.doctor.documented import BLOCK, CASES, PAGE, shown, tenant
from tests.sandbox_fixture import RunningSandbox

BLOCKS = {name: block for _before, name, block, _after in BLOCK.findall(PAGE.read_text())}


@pytest.fixture(scope="module")
def world() -> Iterator[RunningSandbox]:
    with tenant() as sandbox:
        yield sandbox


def test_every_case_has_its_block_in_the_page() -> None:
    assert sorted(name for _before, name, _block, _after in BLOCK.findall(PAGE.read_text())) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_what_doctor_says(name: str, world: RunningSandbox) -> None:
    said = shown(world, CASES[name])
    assert said == BLOCKS[name], "python -m tests.doctor.documented writes the page anew"
