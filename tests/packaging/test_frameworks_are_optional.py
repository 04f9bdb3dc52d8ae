"""The package works without a framework, and says which one is missing only when it is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FRAMEWORKS = (
    "torch",
    "torchvision",
    "tensorflow",
    "keras",
    "jax",
    "matplotlib",
    "pandas",
    "pygraphviz",
)

BLOCK = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FRAMEWORKS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run(code: str, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
    )


def run_blocked(code: str) -> str:
    done = run(BLOCK + textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_blocker_blocks() -> None:
    done = run(BLOCK + "import torch")
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stderr


def test_every_public_name_is_there_without_a_framework() -> None:
    run_blocked("""
        import rfa_toolbox
        for name in rfa_toolbox.__all__:
            getattr(rfa_toolbox, name)
    """)


def test_a_graph_made_by_hand_is_analysed_and_drawn_without_a_framework() -> None:
    shown = run_blocked("""
        from rfa_toolbox import input_resolution_range, visualize_architecture
        from rfa_toolbox.architectures.vgg import vgg16
        graph = vgg16()
        assert "digraph" in visualize_architecture(graph, "vgg16", input_res=32).source
        print(input_resolution_range(graph))
    """)
    assert shown == "((212, 212), (212, 212))\n"


def test_a_model_stored_as_json_is_read_without_a_framework() -> None:
    shown = run_blocked("""
        import json
        from rfa_toolbox import create_graph_from_keras_json
        text = json.dumps({
            "class_name": "Sequential",
            "config": {"name": "tiny", "layers": [
                {"class_name": "InputLayer",
                 "config": {"batch_shape": [None, 32, 32, 3], "name": "input"}},
                {"class_name": "Conv2D",
                 "config": {"name": "conv", "filters": 8, "kernel_size": [5, 5],
                            "strides": [1, 1], "padding": "same",
                            "dilation_rate": [1, 1], "data_format": "channels_last"}},
            ]},
        })
        print(create_graph_from_keras_json(text).receptive_field_max)
    """)
    assert shown == "(5, 5)\n"


def test_a_missing_pytorch_is_named_with_its_remedy() -> None:
    run_blocked("""
        import rfa_toolbox
        from rfa_toolbox.errors import MissingFrameworkError
        try:
            rfa_toolbox.create_graph_from_pytorch_model(None)
        except MissingFrameworkError as error:
            assert isinstance(error, ImportError)
            assert error.name == "torch"
            assert "install torch: pip install 'rfa_toolbox[torch]'" in str(error), error
        else:
            raise AssertionError("no error")
    """)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("raise ImportError('libcudart.so.12: cannot open shared object file')", "libcudart"),
        ("import a_module_that_pytorch_needs", "a_module_that_pytorch_needs"),
        ("import torch._missing_part", "_missing_part"),
        ("raise RuntimeError('damaged')", "damaged"),
    ],
)
def test_a_broken_pytorch_speaks_for_itself(tmp_path: Path, inside: str, expected: str) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(inside, "utf-8")
    done = run(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import rfa_toolbox
        rfa_toolbox.create_graph_from_pytorch_model(None)
        """
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert "MissingFrameworkError" not in done.stderr


def import_seconds() -> float:
    """Return the time of the processor that the import takes, however busy the machine is."""
    done = run(
        "import time\n"
        "begin = time.process_time()\n"
        "import rfa_toolbox\n"
        "print(time.process_time() - begin)"
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_importing_takes_less_than_a_third_of_a_second() -> None:
    assert min(import_seconds() for _ in range(5)) < 0.3


def test_importing_imports_no_framework_nor_an_encoder() -> None:
    done = run("import sys, rfa_toolbox.screening; print(*sys.modules)")
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "rfa_toolbox.screening" in done.stdout.split()
    assert not loaded & set(FRAMEWORKS)
    assert "rfa_toolbox.encodings." not in done.stdout
