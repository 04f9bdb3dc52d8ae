"""Find the code in a Markdown file and run it as a reader would: from top to bottom."""

from __future__ import annotations

import ast
import doctest
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>[^`]*)$")
RUN = ("python", "pycon")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text and the line of its first line of text."""

    language: str
    text: str
    line: int


def fenced_blocks(markdown: str) -> list[Block]:
    """Return all fenced blocks in order.

    Raises:
        ValueError: if a block is never closed.
    """
    blocks = []
    lines = markdown.splitlines()
    position = 0
    while position < len(lines):
        opening = FENCE.match(lines[position])
        position += 1
        if opening is None:
            continue
        start = position
        closing = re.compile(rf"^ *{opening['ticks']}{opening['ticks'][0]}* *$")
        while position < len(lines) and not closing.match(lines[position]):
            position += 1
        if position == len(lines):
            raise ValueError(f"The block that starts in line {start} is never closed.")
        indent = len(opening["indent"])
        text = "\n".join(line[indent:] for line in lines[start:position]) + "\n"
        blocks.append(Block(opening["info"].strip(), text, start + 1))
        position += 1
    return blocks


def code_blocks(markdown: str) -> list[Block]:
    """Return the blocks that are run."""
    return [block for block in fenced_blocks(markdown) if block.language in RUN]


def imported_modules(blocks: list[Block]) -> set[str]:
    """Return the names of the top-level modules that the blocks import."""
    names: set[str] = set()
    for block in blocks:
        code = block.text
        if block.language == "pycon":
            code = "".join(one.source for one in doctest.DocTestParser().get_examples(code))
        for statement in ast.walk(ast.parse(code)):
            if isinstance(statement, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                names.add(statement.module.partition(".")[0])
    return names


def run_blocks(blocks: list[Block], path: Path) -> dict[str, Any]:
    """Run the blocks in one namespace, in order, and return the namespace.

    A ``python`` block runs as a script; a ``pycon`` block must show what it shows.

    Raises:
        AssertionError: if a ``pycon`` block shows something else.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for block in blocks:
        where = f"{path.name}, line {block.line}"
        if block.language == "python":
            # Empty lines in front make the numbers of a traceback those of the file.
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), namespace)
            continue
        test = doctest.DocTestParser().get_doctest(
            block.text, namespace, where, str(path), block.line - 1
        )
        if not test.examples:
            raise AssertionError(f"{where}: a pycon block needs lines that start with >>>.")
        test.globs = namespace  # the parser copies; later blocks must see these names
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=options).run(
            test, out=report.append, clear_globs=False
        )
        if result.failed:
            raise AssertionError("".join(report))
    return namespace


def console_examples(block: Block) -> list[tuple[str, str]]:
    r"""Return the commands of a ``console`` block, and what the reader is told that they show.

    >>> console_examples(Block("console", "$ echo a\na\n$ true\n", 1))
    [('echo a', 'a\n'), ('true', '')]
    """
    examples: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            examples.append((line[2:].rstrip("\n"), ""))
        else:
            command, shown = examples.pop()
            examples.append((command, shown + line))
    return examples
