"""Compare random models of PyTorch with an experiment, unit by unit.

``python -m benchmarks.random_torch_models 0 2000`` takes the models of these seeds, and prints
those of which the analysis says something that the experiment does not.
"""

from __future__ import annotations

import sys

from benchmarks.random_models import compare
from tests.faults.random_models import contradictions

if __name__ == "__main__":
    sys.exit(bool(compare(contradictions, *map(int, sys.argv[1:3]))))
