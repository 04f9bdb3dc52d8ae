"""Draw all pictures of the README into the folder ``images``.

Run it with ``python examples/draw_readme_pictures.py``, with the ``dot`` program installed. The
networks are put together by hand, so that no framework is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from growth_pictures import KERNEL_PICTURE, STRIDE_PICTURE

from rfa_toolbox import visualize_architecture
from rfa_toolbox.architectures import resnet, vgg
from rfa_toolbox.domain import Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.rendering import Picture

IMAGES = Path(__file__).parent.parent / "images"


def chain(*layers: tuple[str, LayerDefinition]) -> EnrichedNetworkNode:
    """Return the last of a number of layers, each on top of the one before it."""
    nodes: list[EnrichedNetworkNode] = []
    for name, layer in layers:
        nodes.append(EnrichedNetworkNode(name, layer, nodes[-1:]))
    return nodes[-1]


def alexnet() -> EnrichedNetworkNode:
    """Return AlexNet as torchvision has it, with torchvision's names."""

    def conv(size: int, filters: int, stride: int = 1) -> LayerDefinition:
        return LayerDefinition("Conv2d", (size, size), (stride, stride), filters=filters)

    relu, dropout = LayerDefinition("ReLU", (1, 1)), LayerDefinition("Dropout", (1, 1))
    pool = LayerDefinition("MaxPool2d", (3, 3), (2, 2))
    features = [
        *(conv(11, 64, stride=4), relu, pool, conv(5, 192), relu, pool),
        *(conv(3, 384), relu, conv(3, 256), relu, conv(3, 256), relu, pool),
    ]
    classifier = [
        *(dropout, LayerDefinition("Linear", units=4096), relu),
        *(dropout, LayerDefinition("Linear", units=4096), relu),
        LayerDefinition("Linear", units=1000),
    ]
    return chain(
        *((f"features.{at}", layer) for at, layer in enumerate(features)),
        ("avgpool", LayerDefinition("AdaptiveAvgPool2d", resolution_dependent=True)),
        ("flatten", LayerDefinition("flatten")),
        *((f"classifier.{at}", layer) for at, layer in enumerate(classifier)),
    )


def custom_graph() -> EnrichedNetworkNode:
    """Return the graph that the README puts together by hand."""

    def conv(name: str, filters: int, *before: EnrichedNetworkNode) -> EnrichedNetworkNode:
        layer = LayerDefinition("Conv3x3", kernel_size=3, stride_size=1, filters=filters)
        return EnrichedNetworkNode(name, layer, before)

    first = conv("Conv1", 64)
    last = conv("Conv4", 256, conv("Conv2", 128, first), conv("Conv3", 256, first))
    dense = LayerDefinition("Fully Connected", units=1000)
    return EnrichedNetworkNode("Softmax", dense, [last])


def gentle_stem() -> EnrichedNetworkNode:
    """Return ResNet's stem with a 3x3 kernel in place of the 7x7 one."""
    image = EnrichedNetworkNode("Input", LayerDefinition("Input", 1, 1, filters=3), [])
    node = resnet.convolution("Stem-Conv", image, filters=64, kernel_size=3, stride=2)
    pool = LayerDefinition("MaxPool3x3", kernel_size=3, stride_size=2, filters=64)
    return EnrichedNetworkNode("Stem-Pool", pool, [node])


def resnet18_cut() -> EnrichedNetworkNode:
    """Return what is left of ResNet18 without the layers that cannot help at 16 pixels."""
    return resnet.resnet((2, 1), resnet.residual_block, stem_factory=gentle_stem)


def resnet18_refined() -> EnrichedNetworkNode:
    """Return ResNet18's eight blocks in three stages, with less down-sampling."""
    return resnet.resnet((3, 3, 2), resnet.residual_block, stem_factory=resnet.small_stem)


def draw(
    graph: EnrichedNetworkNode, name: str, input_res: Resolution, columns: Sequence[str] = ()
) -> Picture:
    """Return the picture of a graph, with a new column from each of the named nodes on."""
    return visualize_architecture(graph, name, input_res=input_res, columns=list(columns))


def pictures() -> dict[str, Picture | str]:
    """Return what to draw, by the name of the file: a picture, or SVG text."""
    first, second, third = (f"Stage{stage}-Block0-Addition" for stage in (1, 2, 3))
    return {
        "receptive_field_kernel": KERNEL_PICTURE,
        "receptive_field_stride": STRIDE_PICTURE,
        "custom_graph": draw(custom_graph(), "example_model", 32),
        "vgg_32px": draw(vgg.vgg16(), "VGG16", 32, ["Stage2-Conv0", "Stage3-Pool"]),
        "alexnet_32px": draw(alexnet(), "AlexNet", (32, 32), ["features.7", "classifier.0"]),
        "resnet18_16px": draw(resnet.resnet18(), "ResNet18", 16, [first, third]),
        "resnet18_16px_cut": draw(resnet18_cut(), "ResNet18, cut", 16),
        "resnet18_16px_refined": draw(resnet18_refined(), "ResNet18, refined", 16, [first, second]),
    }


def main(folder: Path) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        path = folder / f"{name}.svg"
        if isinstance(picture, Picture):
            picture.render(outfile=path, cleanup=True)
        else:
            path.write_text(picture, encoding="utf-8", newline="\n")
        print("wrote", path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
