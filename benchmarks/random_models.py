"""Random models of many seeds, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

__all__ = ["compare"]


def compare(contradictions: Callable[[int], Sequence[str]], first: int, last: int) -> int:
    """Print what contradicts the models of some seeds; return how many are contradicted."""
    began, wrong = time.process_time(), 0
    for seed in range(first, last):
        found = contradictions(seed)
        if found:
            wrong += 1
            print(f"seed {seed}:", *found, sep="\n  ", flush=True)
    took = time.process_time() - began
    print(f"seeds {first} to {last - 1}: {wrong} contradicted, {took:.0f} CPU seconds")
    return wrong
