"""Every small change to a rule of the arithmetic makes an ordinary test fail.

Mutmut and cosmic-ray start a run of the tests for each of the mutants, which takes far longer than
all the tests together; here the same tests are called directly, with the code of a running
function exchanged.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.mutations.battery import Battery, load
from tests.mutations.equivalent import EQUIVALENT
from tests.mutations.mutants import mutants_of

TESTS = Path(__file__).parents[1]
TESTED_BY = {
    "rfa_toolbox.arithmetic": ["graph/test_arithmetic.py"],
    "rfa_toolbox.unit_windows": ["graph/test_unit_windows.py"],
    "rfa_toolbox.operators.windows": ["operators/test_windows.py"],
    "rfa_toolbox.analysis.placement": ["analysis/test_placement.py"],
    "rfa_toolbox.analysis.tiling": ["analysis/test_tiling.py", "analysis/test_placement.py"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTED_BY)
def test_every_mutant_makes_a_test_fail(name: str) -> None:
    module = importlib.import_module(name)
    tests = [load(TESTS / path) for path in TESTED_BY[name]]
    battery = Battery(*tests)
    package = [one for where, one in sys.modules.items() if where.startswith("rfa_toolbox")]
    total, survivors = 0, []
    for mutant in mutants_of(module, [*package, *tests]):
        total += 1
        with mutant.place():
            if not battery.fails():
                survivors.append(mutant.name)
    assert total > 100
    listed = [one for mutants in EQUIVALENT[name].values() for one in mutants]
    # A mutant that is new here needs a test, or a reason for the list; one that is missing has
    # no place in the list any more.
    assert sorted(survivors) == sorted(listed)
