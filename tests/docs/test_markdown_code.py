"""The runner of the documentation's code must itself be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown_code import code_blocks, fenced_blocks, imported_modules, run_blocks

PATH = Path("page.md")


def test_only_python_and_pycon_blocks_are_run() -> None:
    text = "```python\na = 1\n```\n\n```sh\nrm everything\n```\n\n```pycon\n>>> a\n1\n```\n"
    assert [(block.language, block.line) for block in code_blocks(text)] == [
        ("python", 2),
        ("pycon", 10),
    ]


def test_later_blocks_see_the_names_of_earlier_ones() -> None:
    text = "```pycon\n>>> a = 1\n```\n```python\nb = a + 1\n```\n```pycon\n>>> b\n2\n```\n"
    assert run_blocks(code_blocks(text), PATH)["b"] == 2


def test_a_wrong_result_fails() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run_blocks(code_blocks("```pycon\n>>> 1 + 1\n3\n```\n"), PATH)


def test_an_exception_fails_with_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(code_blocks("text\n\n```python\na = 1\na / 0\n```\n"), PATH)
    assert caught.traceback[-1].lineno + 1 == 5


def test_an_exception_in_a_console_block_fails() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_blocks(code_blocks("```pycon\n>>> 1 / 0\n```\n"), PATH)


def test_a_console_block_without_a_prompt_fails() -> None:
    with pytest.raises(AssertionError, match=">>>"):
        run_blocks(code_blocks("```pycon\n1 + 1\n```\n"), PATH)


def test_an_open_block_fails() -> None:
    with pytest.raises(ValueError, match="never closed"):
        fenced_blocks("```python\na = 1\n")


def test_a_longer_fence_may_contain_a_shorter_one() -> None:
    (block,) = fenced_blocks("````md\n```python\na\n```\n````\n")
    assert block.text == "```python\na\n```\n"


def test_imports_are_found_in_both_kinds_of_blocks() -> None:
    text = "```python\nimport torch.nn\n```\n```pycon\n>>> from keras import layers\n```\n"
    assert imported_modules(code_blocks(text)) == {"torch", "keras"}
