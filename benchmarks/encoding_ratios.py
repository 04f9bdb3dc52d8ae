"""How long torchvision's models take to encode, against a bare forward pass on meta tensors.

    python benchmarks/encoding_ratios.py                # all 80 classification models
    python benchmarks/encoding_ratios.py swin_t vgg11   # some of them
    python benchmarks/encoding_ratios.py --every 5      # a sample

A bare pass has hooks that do nothing on all modules: nobody can follow a model with less. Both are
run in turns, and the shortest cpu time counts. Goal: 1.10 in median, 1.15 in sum, none above 1.5.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules import module as hooks

sys.path.insert(0, str(Path(__file__).parents[1]))

from rfa_toolbox import create_graph_from_pytorch_model
from tests.frameworks import import_torchvision

ROOT = Path(__file__).parents[1]


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def _bare(model: Any, shape: tuple[int, ...]) -> Callable[[], object]:
    """Return a forward pass that is watched and not written down."""
    image = torch.empty(shape, device="meta")

    def run() -> None:
        watching = [
            hooks.register_module_forward_pre_hook(lambda module, given: None),
            hooks.register_module_forward_hook(lambda module, given, made: None, always_call=True),
        ]
        try:
            with torch.no_grad():
                model(image)
        finally:
            for one in watching:
                one.remove()

    return run


def measured(models: Any, name: str, repeats: int = 3) -> tuple[float, float]:
    """Return the seconds of a bare pass and of encoding, of a model whose weights are on meta."""
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # they read values when made
        model = models.get_model(name, weights=None).eval().to("meta")
    size = 224 if name.startswith(("vit", "maxvit")) else 399
    shape = (1, 3, size, size)
    bare = _bare(model, shape)
    turns = [
        (
            _seconds(bare),
            _seconds(lambda: create_graph_from_pytorch_model(model, input_res=shape)),
        )
        for _ in range(repeats)
    ]
    return min(one for one, _ in turns), min(other for _, other in turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all of them if none is named")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth of all")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    models = import_torchvision().models
    known = (ROOT / "tests/pytorch/data/torchvision_models.txt").read_text().split()
    create_graph_from_pytorch_model(models.alexnet())  # what is loaded on first use
    ratios, total_bare, total_encoding = [], 0.0, 0.0
    for name in options.names or known[:: options.every]:
        bare, encoding = measured(models, name, options.repeats)
        ratios.append(encoding / bare)
        total_bare, total_encoding = total_bare + bare, total_encoding + encoding
        print(
            f"{name:20} {encoding / bare:5.2f} = {encoding * 1e3:6.1f} / {bare * 1e3:6.1f} ms",
            flush=True,
        )
    print(
        f"{len(ratios)} models: median {statistics.median(ratios):.2f} (goal 1.10), "
        f"sum {total_encoding / total_bare:.2f} (goal 1.15), "
        f"{sum(one > 1.5 for one in ratios)} above 1.5 (goal 0)"
    )


if __name__ == "__main__":
    main()
