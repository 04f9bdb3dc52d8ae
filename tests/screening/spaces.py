"""Search spaces for tests and benchmarks: random networks, cells, and mobile networks.

Each is written twice, as specs and as PyTorch modules, so that the two can be compared.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from rfa_toolbox.screening import (
    GraphSpec,
    LayerSpec,
    Section,
    activation,
    add,
    branches,
    chain,
    concatenate,
    conv,
    dense,
    dropout,
    global_pool,
    norm,
    pool,
    section,
    squeeze_excite,
    upsample,
)

# --- random networks -------------------------------------------------------------------------


def random_spec(
    seed: int, blocks: int = 12, square: bool = True, widths: Sequence[int] = ()
) -> GraphSpec:
    """Return a random network of convolutions, residual branches, gates and concatenations.

    Args:
        seed: the same one gives the same network.
        blocks: number of parts, of one to five layers each.
        square: whether all windows are.
        widths: channels that layers may have; 8 and 16 if there are none.
    """
    rng = random.Random(seed)
    parts: list[LayerSpec | Section] = []
    if rng.random() < 0.2:
        parts.append(branches(None, conv(None, 3)))  # the image itself is merged
    parts += [_random_part(rng, square, widths) for _ in range(blocks)]
    if rng.random() < 0.7:
        parts += [global_pool(), dropout(), dense(10)]
    return GraphSpec(chain(*parts))


def _random_part(
    rng: random.Random, square: bool, widths: Sequence[int] = ()
) -> LayerSpec | Section:
    def width(usual: int) -> int:
        return rng.choice(widths) if widths else usual

    kernel: Any = rng.choice([1, 3, 3, 5, 7] if widths else [1, 3, 3, 5])
    if not square and rng.random() < 0.3:
        kernel = (kernel, 1)
    kind = rng.random()
    if kind < 0.4:
        stride = rng.choice([1, 1, 1, 2])
        dilation = rng.choice([1, 1, 2])
        channels = rng.choice(widths or (8, 16))
        return chain(conv(channels, kernel, stride, dilation=dilation), norm(), activation())
    if kind < 0.5:
        return pool(*rng.choice([(2, 2, 0), (3, 2, 1), (3, 1, 1), (1, 2, 0)]))
    if kind < 0.7:
        inner = chain(conv(None, kernel, groups=None), norm(), activation(), conv(None, 1))
        return branches(None, inner)
    if kind < 0.8:
        return branches(
            chain(conv(width(8), 1), norm()),
            chain(conv(width(8), kernel), norm()),
            merge=concatenate(),
        )
    if kind < 0.9:
        return chain(squeeze_excite(4), conv(width(16), kernel))
    if kind < 0.95:
        same = width(16)
        return section(
            [(conv(same, 3), [0]), (conv(same, 1), [0]), (conv(same, 3), [2]), (add(), [1, 2, 3])]
        )
    return upsample(2)


# --- cells -----------------------------------------------------------------------------------

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "pool3x3")
"""Source: X. Dong, Y. Yang, "NAS-Bench-201", ICLR 2020: four nodes, six edges, five operations."""

Topology = Sequence[str]
WIDTH = 16


def topologies() -> Iterator[Topology]:
    """Yield all ways to choose an operation for each edge of a cell: 15,625."""
    return itertools.product(OPERATIONS, repeat=len(EDGES))


def _relu_conv(channels: int | None, kernel: int, stride: int = 1) -> Section:
    return chain(activation(), conv(channels, kernel, stride), norm())


@functools.cache
def _operation(name: str) -> LayerSpec | Section | None:
    """Return an operation of a cell; None passes the map on."""
    known: dict[str, LayerSpec | Section | None] = {
        "skip": None,
        "conv1x1": _relu_conv(None, 1),
        "conv3x3": _relu_conv(None, 3),
        "pool3x3": pool(3, 1, 1),
    }
    return known[name]


def inputs_of(topology: Topology) -> list[list[tuple[int, str]]]:
    """Return for the nodes 1 to 3 what they sum up: (node, operation), without what is zero.

    Raises:
        ValueError: if nothing of the image reaches the end of the cell.
    """
    alive = {0}
    found = []
    for node in (1, 2, 3):
        reads = [
            (begin, name)
            for (begin, end), name in zip(EDGES, topology, strict=True)
            if end == node and name != "none" and begin in alive
        ]
        if reads:
            alive.add(node)
        found.append(reads)
    if 3 not in alive:
        raise ValueError(f"The cell {'|'.join(topology)} has no way from its input to its output.")
    useful = _useful(found)
    return [reads if node in useful else [] for node, reads in enumerate(found, start=1)]


def _useful(found: list[list[tuple[int, str]]]) -> set[int]:
    """Return the nodes from which something reaches the end of the cell."""
    useful = {3}
    for node in (3, 2, 1):
        if node in useful:
            useful.update(begin for begin, _ in found[node - 1])
    return useful


@functools.lru_cache(1)
def _cell(topology: Topology) -> Section | None:
    """Return a cell; None if it passes its map on as it is."""
    steps: list[tuple[LayerSpec | Section, list[int]]] = []
    place = {0: 0}
    for node, reads in enumerate(inputs_of(topology), start=1):
        ends = []
        for begin, name in reads:
            part = _operation(name)
            if part is None:
                ends.append(place[begin])
            else:
                steps.append((part, [place[begin]]))
                ends.append(len(steps))
        while len(ends) > 1:  # one after the other, as the module adds them up
            steps.append((add(), ends[:2]))
            ends = [len(steps), *ends[2:]]
        if ends:
            place[node] = ends[0]
    if place[3] != len(steps):
        steps = steps[: place[3]]
    return section(steps) if steps else None


def cell_spec(topology: Topology, cells: int = 1) -> GraphSpec:
    """Return the network of a cell for images of 32 pixels, three stages with residual blocks."""
    cell = _cell(tuple(topology))
    stages: list[LayerSpec | Section] = [conv(WIDTH, 3), norm()]
    for stage in range(3):
        width = WIDTH * 2**stage
        if stage:
            stages.append(_reduction(width))
        stages += [cell] * cells if cell is not None else []
    return GraphSpec(chain(*stages, norm(), activation(), global_pool(), dense(10)))


@functools.cache
def _reduction(width: int) -> Section:
    return branches(
        chain(_relu_conv(width, 3, 2), _relu_conv(width, 3)), chain(pool(2), conv(width, 1))
    )


def cell_of(topology: str, cells: int = 1) -> GraphSpec:
    """Return the network of a cell whose operations are written with | in between."""
    return cell_spec(topology.split("|"), cells)


def cell_module(topology: str, cells: int = 1) -> Any:
    """Return the same network as a PyTorch module; the topology is written with | in between."""
    from tests.screening.modules import CellNetwork

    return CellNetwork(inputs_of(topology.split("|")), WIDTH, cells)


# --- mobile networks -------------------------------------------------------------------------

KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
WIDTHS, STRIDES = (24, 40, 80, 112, 160), (2, 2, 2, 1, 2)
GATED = (False, True, False, True, True)
"""Source: H. Cai et al., "Once-for-All", ICLR 2020: five stages of two to four blocks."""


@functools.cache
def _mobile_block(
    entering: int, width: int, kernel: int, expansion: int, stride: int, gated: bool
) -> Section:
    hidden = entering * expansion
    inner = chain(
        conv(hidden, 1),
        norm(),
        activation(),
        conv(None, kernel, stride, groups=None),
        norm(),
        activation(),
        *([squeeze_excite(hidden // 4)] if gated else []),
        conv(width, 1),
        norm(),
    )
    return branches(None, inner) if stride == 1 and entering == width else inner


@functools.lru_cache(100_000)
def _mobile_stage(stage: int, blocks: tuple[tuple[int, int], ...]) -> Section:
    entering = WIDTHS[stage - 1] if stage else 16
    parts = []
    for place, (kernel, expansion) in enumerate(blocks):
        parts.append(
            _mobile_block(
                WIDTHS[stage] if place else entering,
                WIDTHS[stage],
                kernel,
                expansion,
                1 if place else STRIDES[stage],
                GATED[stage],
            )
        )
    return chain(*parts)


_STEM = chain(conv(16, 3, 2), norm(), activation())
_HEAD = chain(conv(960, 1), norm(), activation(), global_pool(), dense(1280), dense(1000))


def mobile_spec(stages: Sequence[Sequence[Sequence[int]]]) -> GraphSpec:
    """Return a mobile network: per stage its blocks, each (kernel, expansion)."""
    body = [
        _mobile_stage(stage, tuple(map(tuple, blocks)))  # type: ignore[arg-type]
        for stage, blocks in enumerate(stages)
    ]
    return GraphSpec(chain(_STEM, *body, _HEAD))


def mobile_choices(count: int, seed: int = 0) -> Iterator[list[list[tuple[int, int]]]]:
    """Yield random choices of the mobile space, of which there are about 10^19."""
    rng = random.Random(seed)
    pairs = list(itertools.product(KERNELS, EXPANSIONS))
    for _ in range(count):
        yield [rng.choices(pairs, k=rng.choice(DEPTHS)) for _ in WIDTHS]
