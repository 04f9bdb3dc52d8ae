"""Read many files with something wrong in them: each gives a graph, or one clear line.

``python -m benchmarks.fuzz_files onnx 0 10000`` (or ``keras``) reads the files of these seeds, in a
gigabyte and five seconds each, and prints those that end otherwise.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from tests.keras import mutated_files
from tests.onnx import mutated_files as mutated_onnx

_MEMORY = 1 << 30


def main(kind: str, first: int, last: int) -> int:
    """Read the files of some seeds; return how many of them are not read as they should be."""
    make, read = _KINDS[kind]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    began, wrong = time.monotonic(), 0
    for seed in range(first, last):
        found = mutated_files.complaint(make(seed), read)
        if found:
            wrong += 1
            print(f"seed {seed}: {found}", flush=True)
    print(f"{last - first} files, {wrong} complaints, {time.monotonic() - began:.0f} s")
    return wrong


_KINDS = {
    "keras": (mutated_files.mutated, mutated_files.create_graph_from_keras_json),
    "onnx": (mutated_onnx.mutated, mutated_onnx.read),
}

if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], *map(int, sys.argv[2:4]))))
