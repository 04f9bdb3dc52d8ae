"""Drafts of nodes: which steps make one node, before its layer is described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from rfa_toolbox.operators.record import ModuleCall

__all__ = ["Draft", "NodeSubstitutor", "ordered", "readers_of"]


@attrs.frozen(slots=False)
class Draft:
    """A future node.

    Attributes:
        steps: the numbers of its steps, in order of execution.
        sources: the numbers of the steps of others that it reads.
        label: what kind of layer it is.
        name: where to find it.
        module_path: the module that it ran in.
        call: the module call that it stands for, None for a function.
        operator: the operator that describes it.
        kind: that of its step, or "group".
        home: the module call that a function ran in.
        positions: whether its result still has positions of the image.
        output: whether its result leaves the model.
        chained: whether it is a function that reads another function of the same module call.
        aligned: whether everything that it reads stands unit upon unit.
    """

    steps: tuple[int, ...]
    sources: tuple[int, ...]
    label: str
    name: str
    module_path: str
    call: ModuleCall | None
    operator: str
    kind: str
    home: ModuleCall | None
    positions: bool
    chained: bool = False
    aligned: bool = True
    output: bool = False


class NodeSubstitutor(Protocol):
    """Rewrites the drafts of nodes before nodes are made."""

    def can_handle(self, name: str, /) -> bool:
        """Return whether this rewrite may concern nodes of this name."""
        ...

    def __call__(self, drafts: Sequence[Draft], /) -> tuple[list[Draft], bool]:
        """Return the drafts, and whether anything was changed."""
        ...


def readers_of(drafts: Sequence[Draft]) -> dict[int, list[Draft]]:
    """Return per step the drafts that read it."""
    found: dict[int, list[Draft]] = {}
    for draft in drafts:
        for source in draft.sources:
            found.setdefault(source, []).append(draft)
    return found


def ordered(drafts: Sequence[Draft]) -> list[Draft]:
    """Return the drafts in order of execution, every one behind those that it reads."""
    return sorted(drafts, key=lambda draft: draft.steps[-1])
