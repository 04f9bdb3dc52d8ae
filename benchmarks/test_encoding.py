"""Encoding of PyTorch models: time and memory, as ratios within one run.

Run with ``pytest benchmarks/test_encoding.py``; ``-s`` prints the ratios, ``-m slow`` encodes all
of torchvision.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

torch = pytest.importorskip("torch")

from rfa_toolbox import create_graph_from_pytorch_model  # noqa: E402

ROOT = Path(__file__).parents[1]
LARGE = ("resnet152", "densenet201", "maxvit_t", "efficientnet_b7")
"""Models of about 500 layers and more."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def size_of(name: str) -> int:
    return 224 if name.startswith(("vit", "maxvit")) else 399


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest cpu time."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return min(found)


def on_meta(torchvision: Any, name: str) -> Any:
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None).eval()


@pytest.mark.parametrize("name", LARGE)
def test_encoding_against_a_bare_forward_pass_on_meta_tensors(
    benchmark: BenchmarkFixture, torchvision: Any, name: str
) -> None:
    """Goal: at most 1.5 times as long."""
    model, size = on_meta(torchvision, name), size_of(name)
    image = torch.empty(1, 3, size, size, device="meta")

    def bare() -> object:
        with torch.no_grad():
            return model(image)

    def encode() -> Any:
        return create_graph_from_pytorch_model(model, input_res=(1, 3, size, size))

    layers = len(encode().all_layers)
    ratio = seconds(encode) / seconds(bare)
    benchmark.extra_info["times_a_bare_forward"] = round(ratio, 2)
    benchmark.pedantic(encode, rounds=3)
    print(f"\n{name}, {layers} layers: {ratio:.2f}x a bare forward pass (goal: at most 1.5x)")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch.jit ends at 3.13")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["resnet18", "resnet152", "densenet201", "maxvit_t"])
def test_encoding_against_torch_jit_trace(
    benchmark: BenchmarkFixture, torchvision: Any, name: str
) -> None:
    """Goal: at least 4 times as fast."""
    model, size = torchvision.models.get_model(name, weights=None).eval(), size_of(name)
    image = torch.rand(1, 3, size, size)

    def encode() -> Any:
        return create_graph_from_pytorch_model(model, input_res=(1, 3, size, size))

    encode()
    ratio = seconds(lambda: torch.jit.trace(model, image, check_trace=False), 1) / seconds(
        encode, 3
    )
    benchmark.extra_info["times_as_fast_as_jit_trace"] = round(ratio, 1)
    benchmark.pedantic(encode, rounds=1)
    print(f"\n{name}: {ratio:.1f}x as fast as torch.jit.trace (goal: at least 4x)")


MEMORY = """
import gc, sys
from pathlib import Path
import torch
from tests.frameworks import import_torchvision
from rfa_toolbox import create_graph_from_pytorch_model
models = import_torchvision().models
torch.set_num_threads(1)
create_graph_from_pytorch_model(models.alexnet())  # what is loaded on first use
model = models.get_model(sys.argv[1], weights=None).eval()
gc.collect()

def kilobytes(name):
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if name in one)
    return int(line.split()[1])

Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
size = int(sys.argv[2])
graph = create_graph_from_pytorch_model(model, input_res=(1, 3, size, size))
print(kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", LARGE)
def test_memory_beyond_the_model(name: str) -> None:
    """Goal: less than 60 MB, as the peak of a process of its own grows."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, name, str(size_of(name))],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
    )
    megabytes = int(done.stdout) * 1024 / 1e6
    print(f"\n{name}: {megabytes:.1f} MB beyond the model (goal: under 60 MB)")
    assert megabytes < 60


@pytest.mark.slow
def test_all_of_torchvision(torchvision: Any) -> None:
    """Goal: 25 cpu-seconds on one thread for all 80; release 1.7.0 takes 555 for 70 of them."""
    names = (ROOT / "tests/pytorch/data/torchvision_models.txt").read_text().split()
    total = 0.0
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            device = "cpu" if name.startswith("regnet") else "meta"  # they read values when made
            with torch.device(device):
                model = torchvision.models.get_model(name, weights=None).eval()
            start = time.process_time()
            create_graph_from_pytorch_model(model)
            total += time.process_time() - start
    print(f"\n{len(names)} models: {total:.1f} cpu-seconds, {25 / total:.1f}x as fast as the goal")
    assert total < 25
