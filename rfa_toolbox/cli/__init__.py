"""The command line ``rfa``: a thin shell over what ``import rfa_toolbox`` gives.

It needs the extra ``cli``. This module can be imported without it, to say so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

_NEEDED = ("typer", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: what stands behind ``rfa``; None takes it from the command line.

    Returns:
        0 where all is well; 1 if ``--fail-on`` or ``verify`` found something; 2 for a usage or
        input error; 130 after Ctrl-C.

    >>> main(["range", "vgg16", "--format", "csv"])
    model,min,max
    vgg16,212x212,212x212
    0
    """
    # Where a descriptor is closed, Python has no stream; what is said there is meant for nobody.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    try:
        from rfa_toolbox.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.stderr.write(
            f"rfa: error: the command line needs {error.name}, which is not installed: "
            'pip install "rfa_toolbox[cli]"\n'
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return run(sys.argv[1:] if arguments is None else arguments)
