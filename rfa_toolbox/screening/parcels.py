"""Jobs on their way to another process: specs as plain numbers, each part of them once.

A spec is judged about as fast as it is pickled object by object.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Sequence
from typing import Any, TypeAlias

from rfa_toolbox.screening.candidates import Job
from rfa_toolbox.screening.specs import PARTS_KEPT, GraphSpec, LayerSpec, Section, section

__all__ = ["Parcel"]

PlainPart: TypeAlias = "bytes | list[Any]"
"""A layer as bytes, which are made and read once in a process. A section by turns as the number of
a part, and as those of the maps that it reads, where one map stands for itself."""

PlainJob: TypeAlias = "Job | tuple[str, int, int]"
"""A job; where it is a spec its key, the number of its body, and its channels."""


class Parcel(list[Job]):
    """Jobs that are small where they are pickled; there they become a list.

    >>> import pickle
    >>> from rfa_toolbox.screening import GraphSpec, chain, conv
    >>> jobs = [Job("net", "spec", GraphSpec(chain(conv(64, 3), conv(64, 3))))]
    >>> pickle.loads(pickle.dumps(Parcel(jobs))) == jobs
    True
    """

    def __reduce__(self) -> tuple[Any, ...]:
        parts = _Parts()
        jobs: list[PlainJob] = [
            (job.key, parts.number_of(job.payload.body), job.payload.channels)
            if job.kind == "spec"
            else job
            for job in self
        ]
        return _jobs_of, (jobs, parts.plain)


class _Parts:
    """Gives every part a number; those of a section come before it."""

    def __init__(self) -> None:
        self.plain: list[PlainPart] = []
        self._numbers: dict[int, int] = {}

    def number_of(self, part: LayerSpec | Section) -> int:
        known = self._numbers.get(id(part))  # parts live as long as the parcel
        if known is not None:
            return known
        if isinstance(part, LayerSpec):
            plain: PlainPart = _plain_layer(part)
        else:
            plain = []
            for one, reads in part.steps:
                plain.append(self.number_of(one))
                plain.append(reads[0] if len(reads) == 1 else reads)
        self.plain.append(plain)
        self._numbers[id(part)] = number = len(self.plain) - 1
        return number


def _jobs_of(jobs: Sequence[PlainJob], plain: Sequence[PlainPart]) -> list[Job]:
    parts: list[Any] = []
    for one in plain:
        if isinstance(one, bytes):
            parts.append(_layer_of(one))
            continue
        steps = [
            (parts[part], reads if isinstance(reads, tuple) else (reads,))
            for part, reads in zip(one[::2], one[1::2], strict=True)
        ]
        parts.append(section(steps))
    return [
        job if isinstance(job, Job) else Job(job[0], "spec", GraphSpec(parts[job[1]], job[2]))
        for job in jobs
    ]


@functools.lru_cache(PARTS_KEPT)
def _plain_layer(layer: LayerSpec) -> bytes:
    return pickle.dumps(layer)


@functools.lru_cache(PARTS_KEPT)
def _layer_of(plain: bytes) -> Any:
    return pickle.loads(plain)  # noqa: S301 - what _plain_layer made
