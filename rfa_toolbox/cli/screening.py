"""``rfa screen``: many candidates from a search space, judged, filtered and shown."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import Executor
from pathlib import Path
from typing import Annotated, Any

import typer

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.table import TextColumn, aligned
from rfa_toolbox.analysis.words import one_line
from rfa_toolbox.cli import arguments, tables
from rfa_toolbox.cli.options import Debug, Format, Output
from rfa_toolbox.cli.output import Target, target
from rfa_toolbox.cli.problems import UsageError, complain
from rfa_toolbox.cli.specs import model_code
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import MissingFrameworkError
from rfa_toolbox.rendering.candidates import Candidates, Point
from rfa_toolbox.screening import AtResolution, ScreeningRow, pareto, screen, top
from rfa_toolbox.screening.candidates import named
from rfa_toolbox.screening.rows import csv_lines, is_column

__all__ = ["screen_command"]

GIBIBYTE = 2**30
_SHOWN = 20
_ERRORS_KEPT = 1_000
_COLUMNS = (
    "key", "r_min", "r_max", "blocks", "unproductive", "critical", "parameters", "macs", "waste",
)  # fmt: skip
_PLOTS = (".png", ".pdf", ".svg")


def screen_command(
    space: Annotated[
        str,
        typer.Argument(
            metavar="SPACE",
            help="Where the candidates are: package.module:name or path/to/file.py:name of an "
            "iterable, or of a function that returns one.",
        ),
    ],
    input_res: Annotated[
        list[str] | None,
        typer.Option(
            "--input-res",
            "-r",
            metavar="SIZE",
            help="Resolutions of the images in pixels: 32, or 32x64; several with commas.",
            show_default="224",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Number of processes.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A dask scheduler to work with: tcp://host:8786."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep all rows in a file; the same call goes on from it."
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="CONDITION", help="Which to keep: 'r_min < 32 and macs < 1e9'."),
    ] = None,
    best: Annotated[
        int | None, typer.Option("--top", metavar="N", help="Only the N best by one column.")
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column to sort by, smallest first.")
    ] = "macs",
    front: Annotated[
        bool,
        typer.Option("--pareto", metavar="", help="Only those that none beats in r_min and macs."),
    ] = False,
    format_name: Format = None,
    output: Output = None,
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw feasible resolution against compute: .png, .svg"),
    ] = None,
    page: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same as a page to explore: .html")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time that one candidate may take.")
    ] = 60.0,
    memory_limit: Annotated[
        float, typer.Option(metavar="GIB", help="Memory that one candidate may take, in GiB.")
    ] = 8.0,
    input_shape: Annotated[
        str | None,
        typer.Option(metavar="SHAPE", help="Shape of the input of PyTorch models: 1x3x224x224."),
    ] = None,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process",
            metavar="",
            help="Run the code of candidates without a process of its own: faster, if it is good.",
        ),
    ] = False,
    debug: Debug = False,
) -> int:
    """Judge all candidates of a search space, before any of them is trained."""
    where = target(output, format_name, ("table", "json", "csv"), "table")
    _check(by, plot, page)
    shapes = arguments.parse_shapes([input_shape] if input_shape else ())
    if any(one.type for one in shapes):
        raise UsageError(
            f"--input-shape is {input_shape!r}; candidates are read with real numbers, so leave "
            f"the type {shapes[0].type!r} out."
        )
    resolutions = arguments.parse_resolutions(input_res or ["224"])
    with _executor(dask) as executor:
        rows = screen(
            _candidates(space),
            resolutions,
            executor,
            keep,
            store,
            jobs=jobs,
            time_limit=time_limit,
            memory_limit=_bytes_of(memory_limit),
            input_shape=shapes[0].sizes if shapes else None,
            isolate=not in_process,
        )
        failed = _Failed()
        streamed = where.format == "csv" and not (front or best or plot or page)
        judged: Iterable[ScreeningRow] = failed.noted(rows, streamed)
        if plot or page:
            judged = list(judged)
            _draw(judged, plot, page)
        if front:
            judged = pareto(judged)
        if best is not None:
            judged = top(judged, best, by)
        _deliver(where, judged, [] if streamed else failed.first, resolutions)
        failed.complain()
    return 0


class _Failed:
    """Rows with errors, of which there may be any number: how many, and the first ones."""

    def __init__(self) -> None:
        self.first: list[ScreeningRow] = []
        self.count = 0

    def noted(self, rows: Iterable[ScreeningRow], keep: bool) -> Iterator[ScreeningRow]:
        """Yield the rows, with or without errors."""
        for row in rows:
            if not row.ok:
                self.count += 1
                if len(self.first) < _ERRORS_KEPT:
                    self.first.append(row)
            if keep or row.ok:
                yield row

    def complain(self) -> None:
        """Say what went wrong, a few times."""
        for row in heapq.nsmallest(3, self.first, key=lambda row: row.key):
            complain(f"{row.key}: {row.error}: {row.message}")
        if self.count > 3:
            complain(f"{self.count - 3} more candidates failed.")


def _bytes_of(gibibytes: float) -> int:
    if not 0 < gibibytes < math.inf:
        raise UsageError(
            f"--memory-limit is {gibibytes:g}; it must be a positive number of GiB, such as 8."
        )
    return int(gibibytes * GIBIBYTE)


def _check(by: str, plot: str | None, page: str | None) -> None:
    if not is_column(by):
        raise UsageError(f"--by is {by!r}; it must be a column, such as macs, r_min or waste.")
    if plot is not None and Path(plot).suffix.lower() not in _PLOTS:
        raise UsageError(f"--plot is {plot!r}; it must end in {', '.join(_PLOTS)}.")
    if page is not None and Path(page).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--page is {page!r}; it must end in .html.")
    for option, name in (("--plot", plot), ("--page", page)):
        if name is not None and not Path(name).absolute().parent.is_dir():
            raise UsageError(f"{option} is {name!r}, and there is no such folder.")


def _candidates(space: str) -> Iterable[Any]:
    """Return what a text names as an iterable of candidates."""
    if ":" not in space:
        raise UsageError(
            f"{space!r} names no candidates; write package.module:name or path/to/file.py:name."
        )
    with model_code(space):
        found = named(space)
        made = found() if callable(found) and not isinstance(found, Iterable) else found
    if not isinstance(made, Iterable) or isinstance(made, str):
        raise UsageError(
            f"{space!r} is {made!r:.100}; it must be an iterable of candidates, or a function that "
            "returns one."
        )
    candidates: Iterable[Any] = made
    if not isinstance(candidates, Sized):
        several = _watched(candidates, space)
        first = list(itertools.islice(several, 1))
        candidates = itertools.chain(first, several) if first else first
    if isinstance(candidates, Sized) and not len(candidates):
        raise UsageError(f"{space!r} has no candidates, so there is nothing to judge.")
    return candidates


def _watched(candidates: Iterable[Any], space: str) -> Iterator[Any]:
    """Yield candidates; what the code that makes them raises is told as its own mistake."""
    with model_code(space):
        several = iter(candidates)
    while True:
        with model_code(space):
            try:
                candidate = next(several)
            except StopIteration:
                return
        yield candidate


@contextlib.contextmanager
def _executor(address: str | None) -> Iterator[Executor | None]:
    if address is None:
        yield None
        return
    try:
        import distributed
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "dask"):
            raise
        raise MissingFrameworkError(
            "--dask needs dask, which is not installed: pip install 'rfa_toolbox[dask]'"
        ) from error
    try:
        client: Any = distributed.Client(address, timeout=20)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--dask is {address!r}, and no scheduler answers there ({error}); it must be the "
            "address of one, such as tcp://host:8786."
        ) from error
    with client:
        yield client.get_executor()


def _draw(rows: Sequence[ScreeningRow], plot: str | None, page: str | None) -> None:
    on_front = {row.key for row in pareto(rows)}
    points = [
        Point(
            float(row.r_min),
            float(macs),
            row.key,
            row.key in on_front,
            tuple((name, str(row[name])) for name in _COLUMNS[1:]),
        )
        for row in rows
        if row.r_min is not None and (macs := row["macs"]) is not None and not isinstance(macs, str)
    ]
    drawn = Candidates(
        tuple(points), "smallest feasible resolution, pixels", "multiply-accumulates"
    )
    if plot is not None:
        drawn.save_plot(plot)
    if page is not None:
        drawn.save_page(page)


def _deliver(
    where: Target,
    rows: Iterable[ScreeningRow],
    errors: Sequence[ScreeningRow],
    resolutions: Sequence[Resolution],
) -> None:
    """Write rows: as CSV one by one as they come, else sorted by key if they are not by value."""
    if where.format == "csv":
        at = [
            AtResolution.of(arithmetic.normalise_resolution(one, 2), (0,) * 4, None, None)
            for one in dict.fromkeys(resolutions)
        ]
        where.stream(csv_lines(itertools.chain(rows, errors), at))
        return
    if where.format == "json":
        several = rows if isinstance(rows, list) else sorted(rows, key=lambda row: row.key)
        content = {"rows": [row.to_dict() for row in (*several, *errors)]}
        where.deliver(tables.as_json("screening", content))
    else:
        where.deliver(_table(rows))


def _table(rows: Iterable[ScreeningRow]) -> str:
    """Return the first rows; those that are in no order of their own are sorted by key."""
    count = 0

    def counted() -> Iterator[ScreeningRow]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    in_order = isinstance(rows, list)
    shown = heapq.nsmallest(_SHOWN, counted(), key=lambda row: count if in_order else row.key)
    hidden = count - len(shown)
    text = aligned(
        TextColumn(
            name,
            tuple("-" if row[name] is None else one_line(str(row[name])) for row in shown),
            name != "key",
        )
        for name in _COLUMNS
    )
    more = f"\n{hidden} more; --output FILE.csv has all." if hidden else ""
    return f"{text}{more}\n"
