"""Compare random models of PyTorch with an experiment, unit by unit.

``python -m benchmarks.random_torch_models 0 2000`` takes the models of these seeds, and prints
those of which the analysis says something that the experiment does not.
"""

from __future__ import annotations

import sys
import time

from tests.faults.random_models import contradictions


def main(first: int, last: int) -> int:
    """Compare the models of some seeds; return how many are contradicted."""
    began, wrong = time.process_time(), 0
    for seed in range(first, last):
        found = contradictions(seed)
        if found:
            wrong += 1
            print(f"seed {seed}:", *found, sep="\n  ", flush=True)
    took = time.process_time() - began
    print(f"seeds {first} to {last - 1}: {wrong} contradicted, {took:.0f} CPU seconds")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:3]))))
