"""Random graphs in which copies meet, and the plainest possible model of what their units see."""

from __future__ import annotations

from hypothesis import strategies as st

from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition


def node(layer: LayerDefinition, *before: EnrichedNetworkNode, **values) -> EnrichedNetworkNode:
    return EnrichedNetworkNode(layer.name, layer, before, **values)


def image() -> EnrichedNetworkNode:
    return node(LayerDefinition("Input", (1,), 1))


def conv(before: EnrichedNetworkNode, kernel=3, stride=1, **values) -> EnrichedNetworkNode:
    values.setdefault("padding", kernel // 2)
    return node(LayerDefinition("Conv", kernel, stride, **values), before)


def moved(before: EnrichedNetworkNode, *places: int) -> EnrichedNetworkNode:
    return node(LayerDefinition("Add", 1, 1), before, offsets=[[(place,) for place in places]])


def copies(before: EnrichedNetworkNode, count: int) -> EnrichedNetworkNode:
    """Return every ``count``-th unit, from each of the first ones on, side by side."""
    slices = [
        node(LayerDefinition("Slice", 1, count, padding=[(-first, 0)]), before)
        for first in range(count)
    ]
    return node(LayerDefinition("Concat", 1, 1), *slices)


# --- the plainest possible model: the pixels of every unit, by name ---------------------------

layers = st.builds(
    lambda kernel, stride, dilation, upsampling, begin: LayerDefinition(
        "Layer", kernel, stride, dilation=dilation, upsampling=upsampling, padding=[(begin, 0)]
    ),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from([1, 1, 1, 2]),
    st.integers(-2, 4),
)


@st.composite
def graphs(draw) -> EnrichedNetworkNode:
    """Return a graph in which maps of one jump meet, as often as not moved against each other."""
    nodes = [image()]
    for _ in range(draw(st.integers(1, 7))):
        before = draw(st.sampled_from(nodes[-3:]))
        mates = [one for one in nodes if one.window and one.window.jump == before.window.jump]
        kind = draw(st.sampled_from(["layer", "moved", "join", "copies"]))
        if kind == "layer":
            new = node(draw(layers), before)
        elif kind == "moved":
            new = moved(before, *draw(st.lists(st.integers(-4, 4), min_size=1, max_size=3)))
        elif kind == "join":
            new = node(LayerDefinition("Add", 1, 1), before, draw(st.sampled_from(mates)))
        else:
            new = copies(before, draw(st.integers(2, 3)))
        nodes.append(new)
    return nodes[-1]


def pixels_of(
    start: EnrichedNetworkNode, unit: int, image: EnrichedNetworkNode | None = None
) -> set[int]:
    """Return the pixels that a unit sees, or the units of another map, followed tap by tap."""
    memory: dict[tuple[EnrichedNetworkNode, int], set[int]] = {}

    def seen(of: EnrichedNetworkNode, unit: int) -> set[int]:
        if of is image or not of.predecessors:
            return {unit} if image in {None, of} else set()
        if (of, unit) not in memory:
            layer = of.layer_info
            begin = layer.padding[0][0] if isinstance(layer.padding, tuple) else layer.padding or 0
            places = [
                layer.stride_size * unit - begin + tap * layer.dilation
                for tap in range(layer.kernel_size)
            ]
            coarse = [
                place // layer.upsampling for place in places if place % layer.upsampling == 0
            ]
            reads = of.offsets or [[(0,)]] * len(of.predecessors)
            found: set[int] = set()
            for before, offsets in zip(of.predecessors, reads, strict=True):
                for (offset,) in offsets:
                    found.update(*(seen(before, place + offset) for place in coarse))
            memory[of, unit] = found
        return memory[of, unit]

    return seen(start, unit)
