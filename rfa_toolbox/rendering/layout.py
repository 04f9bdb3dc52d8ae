# ruff: noqa: A001, A002 - ``format`` is what graphviz calls the argument
"""From DOT text to a picture: the only file that runs a program outside of Python.

The ``dot`` program draws where it is installed, else the Graphviz inside pygraphviz (extra
``render``). Both run in a process of their own that is ended when its time is over, and both
hand their result back whole, so that a failure never leaves half a file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import locale
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import graphviz

from rfa_toolbox.domain import DEFAULT_TIME_LIMIT
from rfa_toolbox.errors import MissingRendererError, RFAError
from rfa_toolbox.rendering.files import write_whole

__all__ = ["DEFAULT_TIME_LIMIT", "LayoutTimeoutError", "Picture", "PictureScaledWarning", "lay_out"]

_log = logging.getLogger(__name__)

_LEAST_SHARE: Final = 0.02
"""Share of a processor below which a program is taken to wait for something, not to compute."""

_SHORTEST_WAIT: Final = 0.02

_BITMAPS: Final = frozenset({"bmp", "gif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"})
_PRINTED: Final = "300"
"""Dots per inch of a bitmap for a sheet of paper; those of a screen make small text unreadable."""

AnyPath: TypeAlias = "str | os.PathLike[str]"

# The caller's search path replaces the worker's own, whose first entry would be the current
# folder. A node without a label shows its name: the dot program sets that before it reads a text,
# in the same way.
_PYGRAPHVIZ_WORKER: Final = r"""
import sys
engine, target, sys.path[:] = sys.argv[1], sys.argv[2], sys.argv[3:]
import pygraphviz
from pygraphviz import graphviz
graphviz.agattr(None, graphviz.AGNODE, b"label", rb"\N")
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=target, prog=engine))
"""


class LayoutTimeoutError(RFAError, TimeoutError):
    """A picture took longer to lay out than it was given time for."""


def lay_out(
    source: str,
    format: str,
    *,
    engine: str = "dot",
    renderer: str | None = None,
    formatter: str | None = None,
    neato_no_op: bool | int | None = None,
    quiet: bool = False,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
    directory: Path | None = None,
) -> bytes:
    """Return a picture of DOT text, drawn by the ``dot`` program or else by pygraphviz.

    Args:
        source: the DOT text.
        format: what to return, such as "svg", "pdf" or "png".
        engine: program that computes the layout, such as "dot" or "neato".
        renderer: which part of Graphviz renders, such as "cairo".
        formatter: which part of Graphviz writes the format, such as "gd".
        neato_no_op: for neato: take the positions in the text as they are.
        quiet: do not log what the program says besides the picture (at level INFO).
        time_limit: seconds of computing after which the layout is stopped, so that a busy machine
            takes none of them away; None never stops it.
        directory: folder in which files that the picture refers to are looked up.

    Raises:
        MissingRendererError: if neither the program nor pygraphviz is installed.
        LayoutTimeoutError: if it takes longer than the time limit.
        ValueError: for a format or an engine that is not known or not installed, or a time limit
            that is no time.
        graphviz.CalledProcessError: if the program fails; its own words are in ``stderr``.

    >>> lay_out("digraph { a -> b }", "plain")[:7]  # doctest: +SKIP
    b'graph 1'
    """
    _check(engine, format, renderer, formatter)
    _check_time_limit(time_limit)
    target = ":".join(part for part in (format, renderer, formatter) if part is not None)
    command = _dot_command(engine, target, neato_no_op) or _pygraphviz_command(
        engine, target, neato_no_op
    )
    if command is None:
        raise MissingRendererError(
            "Drawing a picture needs Graphviz: install its program 'dot' "
            "(https://graphviz.org/download/) so that it is on the PATH, or let pip install a "
            'Graphviz for Python with: pip install "rfa_toolbox[render]"'
        )
    returncode, output, messages = _run(command, source.encode("utf-8"), time_limit, directory)
    if returncode:
        _refuse_unknown_format(target, messages.decode("utf-8", "replace"))
        if _PYGRAPHVIZ_WORKER in command:  # nobody wants to read it in an error
            command = ["pygraphviz", f"-K{engine}", f"-T{target}"]
        raise graphviz.CalledProcessError(returncode, command, output, messages)
    words = messages.decode("utf-8", "replace")
    _warn_of_scaling(words, format)
    if words and not quiet:
        _log.info("%s", words.rstrip())
    return output


class PictureScaledWarning(UserWarning):
    """A picture was made smaller than asked for, so that its text may be hard to read."""


def _warn_of_scaling(messages: str, format: str) -> None:
    """Say that Graphviz shrank a picture, which it does where a bitmap would be too large.

    >>> import pytest
    >>> said = "dot: graph is too large for cairo-renderer bitmaps. Scaling by 0.5 to fit"
    >>> with pytest.warns(PictureScaledWarning, match="50 %"):
    ...     _warn_of_scaling(said, "png")
    """
    scale = re.search(r"too large for .* bitmaps?\. Scaling by ([0-9.]+)", messages)
    if scale:
        warnings.warn(
            f"The picture is larger than a {format} can be, and was drawn at "
            f"{float(scale[1].rstrip('.')):.0%} of its size: draw it as svg or pdf, or make it "
            "smaller with fuse=True, depth=1 or columns=3.".replace("%", " %", 1),
            PictureScaledWarning,
            stacklevel=3,
        )


def _check(engine: str, format: str, renderer: str | None, formatter: str | None) -> None:
    """Let graphviz refuse, in its own words, what it does not know."""
    graphviz.Source("", engine=engine, format=format, renderer=renderer, formatter=formatter)
    if formatter is not None and renderer is None:
        raise graphviz.RequiredArgumentError("formatter given without renderer")


def _check_time_limit(time_limit: Any) -> None:
    if time_limit is None:
        return
    is_number = isinstance(time_limit, Real) and not isinstance(time_limit, bool)
    if not (is_number and time_limit > 0):
        raise ValueError(
            f"time_limit is {time_limit!r}; it must be a positive number of seconds, or None for "
            "no limit."
        )


def _refuse_unknown_format(target: str, messages: str) -> None:
    """Raise if the words of Graphviz say that it cannot write a format."""
    refusal = re.search(r'Format: ".*" not recognized\.(?: Use one of:(.*))?', messages)
    if refusal:
        valid = (refusal[1] or "").split() or sorted(graphviz.FORMATS)
        name = target.partition(":")[0].lower()
        meant = f" (did you mean {name!r}?)" if name in valid and name != target else ""
        raise ValueError(
            f"The installed Graphviz cannot write the format {target!r}{meant}; valid are: "
            f"{', '.join(valid)}."
        )


def _dot_command(engine: str, target: str, neato_no_op: bool | int | None) -> list[str] | None:
    program = shutil.which(os.fspath(graphviz.DOT_BINARY))
    if program is None:
        return None
    no_op = [f"-n{int(neato_no_op)}"] if neato_no_op else []
    return [program, f"-K{engine}", f"-T{target}", *no_op]


def _pygraphviz_command(
    engine: str, target: str, neato_no_op: bool | int | None
) -> list[str] | None:
    if importlib.util.find_spec("pygraphviz") is None:
        return None
    if neato_no_op:
        engine = "nop" if int(neato_no_op) == 1 else f"nop{int(neato_no_op)}"
    search_path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - links stay links
    return [sys.executable, "-c", _PYGRAPHVIZ_WORKER, engine, target, *search_path]


def _run(
    command: Sequence[str], source: bytes, time_limit: float | None, directory: Path | None
) -> tuple[int, bytes, bytes]:
    """Run a program to its end or to the end of its time; returns its code, output and words."""
    # Files, not pipes: a pipe stays open, and is waited for, as long as any descendant of the
    # program lives, also after the program itself was stopped.
    with _file(source) as stdin, _file() as stdout, _file() as stderr:
        process = subprocess.Popen(  # noqa: S603 - Graphviz itself, no shell in between
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=directory if directory is not None and directory.is_dir() else None,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, looked up beforehand
        )
        try:
            returncode = _wait(process, time_limit)
        except subprocess.TimeoutExpired:
            raise LayoutTimeoutError(
                f"Laying out the picture took longer than {time_limit:g} seconds and was stopped; "
                "give it more time with time_limit=..., try another engine such as "
                "engine='sfdp', or keep its DOT text with .save()."
            ) from None
        finally:
            _stop(process)
        return returncode, _content(stdout), _content(stderr)


def _wait(process: subprocess.Popen[bytes], time_limit: float | None) -> int:
    """Wait for a program until it has computed for so long.

    Raises:
        subprocess.TimeoutExpired: if its time is over, or if it does not compute at all.
    """
    if time_limit is None:
        return process.wait()
    begin = time.monotonic()
    left = time_limit
    while True:
        try:
            return process.wait(left)
        except subprocess.TimeoutExpired:  # noqa: PERF203 - as often as its time is over
            used = _cpu_seconds(process.pid)
            if used is None or used < _LEAST_SHARE * (time.monotonic() - begin):
                raise
            left = time_limit - used
            if left < _SHORTEST_WAIT:
                raise


def _cpu_seconds(pid: int) -> float | None:
    """Return for how long a running program has computed; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _parents_end() -> Callable[[], None] | None:
    """Return what lets a program end with the one that started it; None where nothing does."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    system_call = getattr(ctypes.CDLL(None), "prctl", None)
    if system_call is None:
        return None
    set_signal, kill = 1, int(signal.SIGKILL)
    return lambda: system_call(set_signal, kill)


_end_with_parent = _parents_end()


def _file(content: bytes = b"") -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, together with the programs that it started."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        subprocess.run(  # noqa: S603 - ends what was started above
            ["taskkill", "/F", "/T", "/PID", str(process.pid)],  # noqa: S607
            capture_output=True,
            check=False,
        )
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


class Picture(graphviz.Digraph):  # type: ignore[misc]  # graphviz is untyped
    """A ``graphviz.Digraph`` that also draws without the ``dot`` program, and within a time limit.

    Attributes:
        time_limit: seconds that one layout may take; None for no limit.

    >>> picture = Picture("two")
    >>> picture.edge("a", "b")
    >>> isinstance(picture, graphviz.Digraph), picture.time_limit
    (True, 60.0)
    """

    def __init__(
        self, *args: Any, time_limit: float | None = DEFAULT_TIME_LIMIT, **kwargs: Any
    ) -> None:
        _check_time_limit(time_limit)
        super().__init__(*args, **kwargs)
        self.time_limit = time_limit

    def copy(self) -> Picture:
        """Return a copy of the picture."""
        twin: Picture = super().copy()
        twin.time_limit = self.time_limit
        return twin

    def _source_for(self, format: str) -> str:
        """Return the DOT text; a bitmap that fits a size in inches is as fine as print."""
        attributes = self.graph_attr
        if format not in _BITMAPS or "size" not in attributes or "dpi" in attributes:
            return str(self.source)
        fine = self.copy()
        fine.graph_attr["dpi"] = _PRINTED  # at vector formats this would change their size
        return str(fine.source)

    def pipe(
        self,
        format: str | None = None,
        renderer: str | None = None,
        formatter: str | None = None,
        neato_no_op: bool | int | None = None,
        quiet: bool = False,
        *,
        engine: str | None = None,
        encoding: str | None = None,
    ) -> bytes | str:
        """Return the drawn picture; arguments and errors as in ``graphviz.Digraph.pipe``.

        Raises:
            MissingRendererError: if no Graphviz is installed.
            LayoutTimeoutError: if it takes longer than ``time_limit`` seconds.
        """
        format = self.format if format is None else format
        drawn = lay_out(
            self._source_for(format),
            format,
            engine=self.engine if engine is None else engine,
            renderer=self.renderer if renderer is None else renderer,
            formatter=self.formatter if formatter is None else formatter,
            neato_no_op=neato_no_op,
            quiet=quiet,
            time_limit=self.time_limit,
        )
        return drawn if encoding is None else drawn.decode(encoding)

    def save(
        self,
        filename: AnyPath | None = None,
        directory: AnyPath | None = None,
        *,
        skip_existing: bool | None = False,
    ) -> str:
        """Save the DOT text and return its path; arguments as in ``graphviz.Digraph.save``."""
        if filename is not None:
            self.filename = os.fspath(filename)
        if directory is not None:
            self.directory = os.fspath(directory)
        path = Path(self.filepath)
        if not (skip_existing and path.exists()):
            encoding = self.encoding or locale.getpreferredencoding(False)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, self.source.encode(encoding))
        return str(self.filepath)

    def render(
        self,
        filename: AnyPath | None = None,
        directory: AnyPath | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        renderer: str | None = None,
        formatter: str | None = None,
        neato_no_op: bool | int | None = None,
        quiet: bool = False,
        quiet_view: bool = False,
        *,
        outfile: AnyPath | None = None,
        engine: str | None = None,
        raise_if_result_exists: bool = False,
        overwrite_source: bool = False,
    ) -> str:
        """Draw into a file and return its path; arguments as in ``graphviz.Digraph.render``.

        The DOT text is saved beside the picture unless ``cleanup`` is set. If the drawing
        fails, neither of the two files is touched.

        Raises:
            MissingRendererError: if no Graphviz is installed.
            LayoutTimeoutError: if it takes longer than ``time_limit`` seconds.
        """
        if raise_if_result_exists and overwrite_source:
            raise ValueError("overwrite_source cannot be combined with raise_if_result_exists")
        renderer = self.renderer if renderer is None else renderer
        formatter = self.formatter if formatter is None else formatter
        if outfile is not None:
            result = Path(outfile) if directory is not None else Path(self.directory, outfile)
            format = _format_of(result, format)
            if filename is None:
                directory, filename = result.parent, result.with_suffix(".gv").name
        format = self.format if format is None else format
        directory = os.fspath(self.directory if directory is None else directory)
        filename = os.fspath(self.filename if filename is None else filename)
        source = Path(directory, filename)
        if outfile is None:
            suffixes = (part for part in (formatter, renderer, format) if part is not None)
            result = source.with_name(".".join((source.name, *suffixes)))
        if not overwrite_source and result.resolve() == source.resolve():
            raise ValueError(
                f"outfile {result.name!r} must be different from input file {source.name!r} "
                "(pass overwrite_source=True to override)"
            )
        if raise_if_result_exists and result.exists():
            raise graphviz.FileExistsError(f"output file exists: {os.fspath(result)!r}")
        drawn = lay_out(
            self._source_for(format),
            format,
            engine=self.engine if engine is None else engine,
            renderer=renderer,
            formatter=formatter,
            neato_no_op=neato_no_op,
            quiet=quiet,
            time_limit=self.time_limit,
            directory=source.parent,
        )
        if not cleanup:
            self.save(filename, directory)
        elif source.exists() and not overwrite_source:
            source.unlink()  # cleanup means: no DOT text lies beside the picture afterwards
        result.parent.mkdir(parents=True, exist_ok=True)
        write_whole(result, drawn)
        if view or quiet_view:
            graphviz.view(os.fspath(result), quiet=quiet_view)
        return os.fspath(result)

    def _repr_svg_(self) -> str:
        """Return the picture for notebooks that ask for SVG instead of a bundle of formats."""
        return str(self.pipe("svg", encoding="utf-8"))


def _format_of(result: Path, format: str | None) -> str:
    """Return the format that a file name asks for, unless another one is asked for by name."""
    known = result.suffix[1:].lower()
    if known not in graphviz.FORMATS:
        if format is None:
            raise graphviz.RequiredArgumentError(
                f"cannot infer rendering format from suffix {result.suffix!r} of outfile: "
                f"{os.fspath(result)!r} (provide format or outfile with a suffix from "
                f"{sorted('.' + name for name in graphviz.FORMATS)!r})"
            )
        warnings.warn(
            f"unknown outfile suffix {result.suffix!r} (expected: {'.' + format!r})",
            graphviz.UnknownSuffixWarning,
            stacklevel=3,
        )
        return format
    if format is not None and format.lower() != known:
        warnings.warn(
            f"expected format {known!r} from outfile differs from given format: {format!r}",
            graphviz.FormatSuffixMismatchWarning,
            stacklevel=3,
        )
        return format
    return known
