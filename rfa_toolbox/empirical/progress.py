"""A progress bar where there is somebody to look at it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(
    title: str, total: int | None, wanted: bool | None = None
) -> Iterator[Callable[[int], object]]:
    """Show a bar while something runs, if rich or tqdm is installed.

    Args:
        title: what is running.
        total: number of steps; None if nobody knows.
        wanted: False never shows a bar; None shows it on a terminal only.

    Yields:
        A function that takes the number of steps that were made.
    """
    shown = sys.stderr.isatty() if wanted is None else wanted
    if shown and importlib.util.find_spec("rich"):
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda steps: bar.advance(task, steps)
    elif shown and importlib.util.find_spec("tqdm"):
        tqdm = importlib.import_module("tqdm").tqdm
        with tqdm(desc=title, total=total, leave=False) as bar:
            yield bar.update
    else:
        yield lambda steps: None
