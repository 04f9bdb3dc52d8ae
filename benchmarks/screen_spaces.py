"""How many candidates a core screens per second, and whether specs and modules agree.

    python benchmarks/screen_spaces.py rates       # small random networks, cells, mobile networks
    python benchmarks/screen_spaces.py cells       # all 15,625 cells as specs, 300 as modules
    python benchmarks/screen_spaces.py million     # a million mobile networks on two cores
    python benchmarks/screen_spaces.py modules     # small random CNNs from PyTorch modules
    python benchmarks/screen_spaces.py cores       # the same work with one process and with two
    python benchmarks/screen_spaces.py faults      # a hundred candidates that do their worst

Seconds are those of processors, so that other programs on the machine matter less.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rfa_toolbox.screening import Candidate, ScreeningRow, pareto, screen
from rfa_toolbox.screening.evaluation import SpecJudge
from tests.screening.spaces import (
    cell_spec,
    mobile_choices,
    mobile_spec,
    random_spec,
    topologies,
)

SPACES = str(Path(__file__).parents[1] / "tests" / "screening" / "spaces.py")
MODULES = str(Path(__file__).parents[1] / "tests" / "screening" / "modules.py")


def rate(count: int, work: Callable[[], object]) -> float:
    """Return how many candidates per second of the processor."""
    start = time.process_time()
    work()
    return count / (time.process_time() - start)


def connected() -> list[tuple[str, ...]]:
    found = []
    for one in topologies():
        try:
            cell_spec(one)
        except ValueError:
            continue
        found.append(tuple(one))
    return found


def rates() -> None:
    judge = SpecJudge(((4096, 4096),))
    for what, widths in (("two widths", ()), ("32 widths", range(8, 257, 8))):
        specs = [random_spec(seed, 6 + seed % 13, widths=widths) for seed in range(2600)]
        layers = sum(sum(1 for _ in spec.layers()) for spec in specs) / len(specs)
        found = rate(len(specs), lambda: [judge.judge(spec) for spec in specs])  # noqa: B023
        print(f"random networks of {layers:.0f} layers, {what}, from specs: {found:,.0f}/s")
    few = specs[:50]
    found = rate(len(few), lambda: list(screen([one.to_graph(4096) for one in few], 4096)))
    print(f"the same, made and judged node by node: {found:,.0f}/s")
    cells = connected()
    found = rate(len(cells), lambda: list(screen(map(cell_spec, cells), 32)))
    print(f"cells, made and screened: {found:,.0f}/s")
    choices = list(mobile_choices(30_000))
    networks = [mobile_spec(one) for one in choices]
    judge = SpecJudge(((224, 224),))
    found = rate(len(networks), lambda: [judge.judge(one) for one in networks])
    print(f"mobile networks, judged: {found:,.0f}/s")
    found = rate(len(choices), lambda: list(screen(map(mobile_spec, choices), 224)))
    print(f"mobile networks, made and screened: {found:,.0f}/s")


def cells() -> None:
    names = ["|".join(one) for one in topologies()]
    ways = ["|".join(one) for one in connected()]
    wanted = set(random.Random(0).sample(ways, 300))  # noqa: S311 - a sample, no secret
    makers = (Candidate(f"{SPACES}:cell_of", {"topology": one}, key=one) for one in names)
    rows = {row.key: row for row in screen(makers, (32, 64), isolate=False)}
    print(f"{len(rows):,} cells, {sum(not row.ok for row in rows.values())} without a way through")
    assert len(rows) == 15_625
    modules: Iterable[Any] = (
        Candidate(f"{SPACES}:cell_module", {"topology": one}, key=one) for one in sorted(wanted)
    )
    start = time.perf_counter()
    agree = 0
    for row in screen(modules, (32, 64), jobs=2):
        assert row == rows[row.key], row
        agree += 1
    print(f"{agree} as modules have equal rows, {agree / (time.perf_counter() - start):.1f}/s")


def million(count: int = 1_000_000) -> None:
    start, used = time.perf_counter(), _processors()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    candidates = (
        Candidate(f"{SPACES}:mobile_spec", {"stages": one}, key=str(number))
        for number, one in enumerate(mobile_choices(count))
    )
    front = pareto(screen(candidates, 224, jobs=2, isolate=False))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = time.perf_counter() - start
    print(
        f"{count:,} mobile networks in {seconds:.0f} s, {_processors() - used:.0f} s of CPUs, "
        f"{len(front)} on the front; memory of this process grown by {grown:.0f} MB, largest of a "
        f"worker {worker:.0f} MB"
    )


def modules(count: int = 200) -> None:
    candidates = [(f"{MODULES}:random_cnn", {"seed": seed}) for seed in range(count)]
    first, *more = candidates
    (row,) = screen([first], 64, isolate=False, progress=False)  # what is loaded on first use
    assert row.ok, row
    found: list[ScreeningRow] = []
    per_second = rate(
        len(more), lambda: found.extend(screen(more, 64, isolate=False, progress=False))
    )
    assert all(row.ok for row in found)
    made = rate(len(more), lambda: [_on_meta(one["seed"]) for _, one in more])
    layers = sum(1 for _, one in more for m in _on_meta(one["seed"]).modules() if not m._modules)
    print(
        f"small random CNNs of {layers / len(more):.0f} layers from PyTorch modules: "
        f"{per_second:,.0f}/s; made alone {made:,.0f}/s"
    )


def _on_meta(seed: int) -> Any:
    import torch

    from tests.screening.modules import random_cnn

    with torch.device("meta"):
        return random_cnn(seed)


def cores(count: int = 60_000) -> None:
    for what, candidates in (
        ("mobile networks", [
            Candidate(f"{SPACES}:mobile_spec", {"stages": one}, key=str(number))
            for number, one in enumerate(mobile_choices(count))
        ]),
        ("small random CNNs as modules", [
            Candidate(f"{MODULES}:random_cnn", {"seed": seed}) for seed in range(count // 100)
        ]),
    ):  # fmt: skip
        seconds = []
        for jobs in (1, 2):
            start = time.perf_counter()
            done = sum(row.ok for row in screen(candidates, 224, jobs=jobs, isolate=False))
            seconds.append(time.perf_counter() - start)
            assert done == len(candidates)
        one, two = (len(candidates) / each for each in seconds)
        print(f"{what}: {one:,.0f}/s with one process, {two:,.0f}/s with two, {two / one:.2f}x")


def faults(each: int = 10) -> None:
    from tests.screening.test_screen import check_hostile

    start = time.perf_counter()
    check_hostile(each)
    print(f"{each} of every hostile kind: a row each in {time.perf_counter() - start:.0f} s")


def _processors() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


if __name__ == "__main__":
    task, *more = sys.argv[1:]
    tasks = {
        "rates": rates, "cells": cells, "million": million, "modules": modules, "cores": cores,
        "faults": faults,
    }  # fmt: skip
    tasks[task](*map(int, more))
