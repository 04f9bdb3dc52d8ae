"""Draw ResNet18 as it is used on images of 32 pixels, and say which layers cannot help there.

It needs PyTorch and a Graphviz (the ``dot`` program, or the extra ``render``), no weights and no
data. Run it with ``python examples/draw_resnet18.py``; it leaves ``resnet18_32px.svg`` and
``resnet18_32px.pdf`` in the current folder, or in the folder that you name behind it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from models import ResNet18

from rfa_toolbox import analyze, create_graph_from_pytorch_model, visualize_architecture

RESOLUTION = 32


def main(folder: Path) -> None:
    """Draw into a folder."""
    graph = create_graph_from_pytorch_model(ResNet18())
    picture = visualize_architecture(graph, "ResNet18", input_res=RESOLUTION)
    for suffix in ("svg", "pdf"):
        path = folder / f"resnet18_{RESOLUTION}px.{suffix}"
        print("wrote", picture.render(outfile=path, cleanup=True))
    print(analyze(graph, RESOLUTION).summary())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
