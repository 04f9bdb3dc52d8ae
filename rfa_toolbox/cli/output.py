"""Where a result goes: to standard output or into a file, and in which format."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
from rich.console import Console

from rfa_toolbox.cli.problems import UsageError, printable
from rfa_toolbox.rendering.files import write_whole

__all__ = ["Target", "progress", "target"]

_SUFFIXES = {".txt": "table", ".gv": "dot", ".htm": "html"}
"""Suffixes that are not called like their format."""

_WRITERS = {"html": "rfa report", **dict.fromkeys(("svg", "pdf", "png", "dot"), "rfa draw")}

_PAGES = ("pdf", "png", "svg", "html")
"""Formats that are of no use on the screen of a terminal."""


@attrs.frozen
class Target:
    """Where a result goes.

    Attributes:
        format: the format to write.
        path: the file, or None for standard output.
    """

    format: str
    path: Path | None

    def is_plain(self) -> bool:
        """Return whether text is to be plain and of any width, as for a pipe or a file."""
        return self.path is not None or not _is_terminal() or os.environ.get("TERM") == "dumb"

    def deliver(self, content: str | bytes) -> None:
        """Write a result; a file has all of it or is left as it was.

        A reader that goes away early, such as ``head``, is no error.

        Raises:
            UsageError: if the file cannot be written.
        """
        self.stream([content])

    def stream(self, parts: Iterable[str | bytes]) -> None:
        """Write a result of which nobody has to hold the whole, part by part; see ``deliver``.

        Raises:
            UsageError: if the file cannot be written.
        """
        if self.path is None:
            for part in parts:
                if isinstance(part, str) and self.format != "table" and _is_terminal():
                    part = printable(part, kept="\t\r\n")  # noqa: PLW2901 - the same, made safe
                if not _print(part):
                    return
            return
        try:
            write_whole(
                self.path, (one if isinstance(one, bytes) else _encoded(one) for one in parts)
            )
        except OSError as error:
            raise _unwritable(self.path, error.strerror or str(error)) from error
        sys.stderr.write(f"Wrote {printable(str(self.path))}\n")


def target(
    output: str | None, format_name: str | None, formats: Sequence[str], default: str
) -> Target:
    """Return where a result goes, from what the user said of it.

    Args:
        output: ``--output``; the suffix says the format. None and "-" are standard output.
        format_name: ``--format``.
        formats: formats that the command can write.
        default: the format where nothing is said of it.

    Raises:
        UsageError: if they do not go together, or the file is certain not to be writable.

    >>> target("layers.csv", None, ["table", "json", "csv"], "table").format
    'csv'
    """
    if format_name is not None and format_name not in formats:
        raise UsageError(f"--format is {format_name!r}; this command writes {_listed(formats)}.")
    if output is None or output == "-":
        chosen = format_name or default
        if chosen in _PAGES and _is_terminal():
            raise UsageError(
                f"A terminal cannot show {chosen}; name a file with --output, such as "
                f"--output result.{chosen}, or pipe the result into a program."
            )
        return Target(chosen, None)
    path = Path(output)
    suffix = path.suffix.lower()
    named = _SUFFIXES.get(suffix, suffix[1:])
    known = named in (*_PAGES, "table", "json", "csv", "dot")
    if known and named not in formats:
        raise UsageError(
            f"--output is {output!r}, and this command cannot write {suffix}; it writes "
            f"{_listed(formats)}. Another command does: {_WRITERS.get(named, 'rfa analyze')}."
        )
    if known and format_name not in (None, named):
        raise UsageError(
            f"--format {format_name} and --output {output!r} contradict each other; leave out "
            f"--format, or name the file with {_suffix_of(str(format_name))}."
        )
    if not known and format_name is None and (path.is_file() or not path.exists()):
        raise UsageError(
            f"--output is {output!r}, whose suffix {suffix!r} names no format; end it in "
            f"{_listed([_suffix_of(one) for one in formats])}"
            f"{', or add --format' if len(formats) > 1 else ''}."
        )
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    if not path.parent.is_dir():
        raise _unwritable(path, f"there is no folder {str(path.parent)!r}")
    return Target(named if known else format_name or default, path)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


def _suffix_of(format_name: str) -> str:
    return ".txt" if format_name == "table" else f".{format_name}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _unwritable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{str(path)!r} cannot be written: {reason}. Name another file with --output."
    )


# --- standard output -------------------------------------------------------------------------


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _print(content: str | bytes) -> bool:
    """Write to standard output; return whether somebody reads it."""
    try:
        if isinstance(content, bytes):
            sys.stdout.buffer.write(content)
        else:
            if isinstance(sys.stdout, io.TextIOWrapper):
                # Letters that its encoding lacks are spelled out; CSV brings its own line ends.
                sys.stdout.reconfigure(errors="backslashreplace", newline="")
            sys.stdout.write(content)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes once more at its end, and must find nothing to complain about.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno not in (errno.EPIPE, errno.EINVAL):  # Windows says EINVAL
            raise UsageError(
                f"Standard output cannot be written: {error.strerror}. Name a file with --output."
            ) from error
        return False
    return True


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on a terminal what is being done while it takes time."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    console = Console(stderr=True, color_system=None if os.environ.get("NO_COLOR") else "auto")
    with console.status(printable(what).replace("[", r"\["), spinner="line"):
        yield
