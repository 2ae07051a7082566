"""The simulation bites: faults put into the real code are found (all of them: ``make mutants``)."""

import pytest

from tests.simulation.__main__ import attempt
from tests.simulation.mutants import MUTANTS, Mutant

HUNTED = MUTANTS[::3]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_a_change_of_the_code_as_it_stands(mutant: Mutant) -> None:
    with mutant.alive():
        pass


@pytest.mark.parametrize("mutant", HUNTED, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found(mutant: Mutant) -> None:
    with mutant.alive():
        assert any(attempt(seed) for seed in mutant.kills), "make mutants finds seeds that show it"
    assert not any(attempt(seed) for seed in mutant.kills), "the code as it stands shows nothing wrong"
