"""``rfa screen``: many candidates from a search space, judged, filtered and shown."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Annotated, Any

import typer

from rfa_toolbox.analysis.table import TextColumn, aligned
from rfa_toolbox.analysis.words import one_line
from rfa_toolbox.cli import arguments, tables
from rfa_toolbox.cli.options import Debug, Format, Output
from rfa_toolbox.cli.output import Target, target
from rfa_toolbox.cli.problems import UsageError, complain
from rfa_toolbox.errors import MissingFrameworkError
from rfa_toolbox.rendering.candidates import Candidates, Point
from rfa_toolbox.screening import ScreeningRow, pareto, rows_to_csv, screen, top
from rfa_toolbox.screening.candidates import named
from rfa_toolbox.screening.rows import is_column

__all__ = ["screen_command"]

GIBIBYTE = 2**30
_SHOWN = 20
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
    with _executor(dask) as executor:
        rows = screen(
            _candidates(space),
            arguments.parse_resolutions(input_res or ["224"]),
            executor,
            keep,
            store,
            jobs=jobs,
            time_limit=time_limit,
            memory_limit=int(memory_limit * GIBIBYTE),
            input_shape=shapes[0] if shapes else None,
            isolate=not in_process,
        )
        found = list(rows) if best is None or plot or page else _slim(rows, best, by)
    good = [row for row in found if row.ok]
    if plot or page:
        _draw(good, plot, page)
    chosen = pareto(good) if front else good
    chosen = top(chosen, best, by) if best is not None else sorted(chosen, key=lambda row: row.key)
    errors = [row for row in found if not row.ok]
    _deliver(where, chosen, errors)
    return 0


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
    found = named(space)
    made = found() if callable(found) and not isinstance(found, Iterable) else found
    if not isinstance(made, Iterable) or isinstance(made, str):
        raise UsageError(
            f"{space!r} is a {type(made).__name__}; it must be an iterable of candidates, or a "
            "function that returns one."
        )
    return made


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


def _slim(rows: Iterable[ScreeningRow], best: int, by: str) -> list[ScreeningRow]:
    """Return the best rows and the first errors: no more than fits, of any number of rows."""
    errors: list[ScreeningRow] = []

    def good() -> Iterator[ScreeningRow]:
        for row in rows:
            if row.ok:
                yield row
            elif len(errors) < _SHOWN:
                errors.append(row)

    return [*top(good(), best, by), *errors]


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


def _deliver(where: Target, rows: Sequence[ScreeningRow], errors: Sequence[ScreeningRow]) -> None:
    if where.format == "csv":
        where.deliver(rows_to_csv([*rows, *errors]))
    elif where.format == "json":
        content = {"rows": [row.to_dict() for row in [*rows, *errors]]}
        where.deliver(tables.as_json("screening", content))
    else:
        where.deliver(_table(rows))
    for row in heapq.nsmallest(3, errors, key=lambda row: row.key):
        complain(f"{row.key}: {row.error}: {row.message}")
    if len(errors) > 3:
        complain(f"{len(errors) - 3} more candidates failed.")


def _table(rows: Sequence[ScreeningRow]) -> str:
    shown = rows[:_SHOWN]
    text = aligned(
        TextColumn(
            name,
            tuple("-" if row[name] is None else one_line(str(row[name])) for row in shown),
            name != "key",
        )
        for name in _COLUMNS
    )
    hidden = len(rows) - len(shown)
    more = f"\n{hidden} more; --output FILE.csv has all." if hidden else ""
    return f"{text}{more}\n"
