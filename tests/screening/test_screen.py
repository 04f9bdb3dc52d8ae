"""Many candidates: whoever does the work, whatever they do, there is one row for each."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.analysis import summarize
from rfa_toolbox.architectures import resnet18, vgg16
from rfa_toolbox.errors import InvalidResolutionError, ScreeningError
from rfa_toolbox.screening import (
    Candidate,
    GraphSpec,
    Progress,
    ScreeningRow,
    Store,
    chain,
    condition,
    conv,
    distinct,
    pareto,
    rows_to_csv,
    screen,
    top,
    workers,
)
from rfa_toolbox.screening.candidates import job_of
from rfa_toolbox.screening.evaluation import SpecJudge
from rfa_toolbox.screening.parcels import Parcel
from rfa_toolbox.screening.working import do_batch
from tests.screening import hostile
from tests.screening.spaces import mobile_choices, mobile_spec, random_spec

HOSTILE = str(Path(__file__).with_name("hostile.py"))
ROOT = Path(__file__).parents[2]

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux does")


def code(name: str, **kwargs: Any) -> tuple[str, dict[str, Any]]:
    return f"{HOSTILE}:{name}", kwargs


def in_bytes(rows: list[ScreeningRow]) -> bytes:
    """Return rows sorted by key, as what must not depend on who did the work."""
    return "\n".join(row.to_json() for row in sorted(rows, key=lambda row: row.key)).encode()


def mixed() -> list[Any]:
    """Return candidates of all kinds."""
    return [
        resnet18(),
        vgg16().to_dict(),
        json.dumps(resnet18().to_dict()),
        *(random_spec(seed) for seed in range(20)),
        *(mobile_spec(choice) for choice in mobile_choices(5)),
        *(code("good", width=width) for width in range(1, 9)),
        *(code("raises", number=number) for number in range(2)),
        random_spec(3).to_dict(),
        Candidate(hostile.good, {"width": 3}, key="my own"),
        3.5,
    ]


# --- rows ------------------------------------------------------------------------------------


def test_a_row_says_what_the_functions_for_one_graph_say() -> None:
    (row,) = screen([resnet18()], (32, (64, 48)), progress=False)
    assert (row.r_min, row.r_min_layers, row.r_max) == (139, 96, 435)
    assert row.good_from == summarize(resnet18(), 32).good_from[0]
    assert (row["blocks"], row["unproductive"], row["critical"]) == (21, 7, 2)
    assert row["unproductive_at_64x48"] is not None
    assert row.parameters is None
    assert row["macs"] is None
    assert row.certainty == "exact"
    with pytest.raises(KeyError, match="There is no column 'colour'"):
        row["colour"]


def test_errors_are_rows_with_their_kind_and_one_line() -> None:
    rows = list(
        screen([code("raises", number=7), 3.5, "no/such/file.json", "{"], 32, progress=False)
    )
    assert [row.error for row in rows] == ["KeyError", *["ScreeningError"] * 3]
    assert rows[0].message == repr("line one of 7\nline two")
    assert "3.5" in rows[1].message
    assert "no/such/file.json" in rows[2].message
    assert all("\n" not in row.message for row in rows)
    assert rows[0]["macs"] is None


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


def test_messages_of_errors_are_one_printable_line_also_where_there_is_none() -> None:
    def raising(error: BaseException) -> Candidate:
        def make() -> None:
            raise error

        return Candidate(make, key=type(error).__name__)

    errors = (ValueError("red \x1b[31m\nand more"), MuteError(), MemoryError())
    rows = screen(map(raising, errors), 32, progress=False, isolate=False)
    assert {row.error: row.message for row in rows} == {
        "ValueError": r"red \x1b[31m and more",
        "MuteError": "The exception says nothing.",
        "MemoryError": "It needs more memory than a candidate may use, or than there is.",
    }


def test_kwargs_of_weights_are_switched_off_and_the_device_is_said() -> None:
    if find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    (row,) = screen([("torch.nn:Conv2d", {"in_channels": 3, "out_channels": 8, "kernel_size": 5})],
                    32, progress=False, isolate=False)  # fmt: skip
    assert (row.r_min, row.parameters, row["macs"]) == (5, 608, 75 * 8 * 28 * 28)
    assert row.built_on == "meta"


def test_a_keras_model_made_by_code_is_judged_whatever_keras_works_with() -> None:
    keras = pytest.importorskip("keras")

    def network(width: int) -> Any:
        return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(width, 5)])

    candidate = Candidate(network, {"width": 8}, key="net")
    (row,) = screen([candidate], 32, progress=False, isolate=False)
    assert (row.r_min, row.parameters, row.error) == (5, 608, "")


def test_rows_come_back_from_json_and_tell_seconds_apart() -> None:
    (row,) = screen([random_spec(1)], 64, progress=False)
    again = ScreeningRow.from_dict(json.loads(row.to_json()), seconds=3.0)
    assert again == row
    assert "seconds" not in row.to_json()
    assert row.seconds > 0


def test_csv_has_all_columns() -> None:
    lines = rows_to_csv(screen([random_spec(1), 3.5], (32, 64), progress=False)).splitlines()
    assert len(lines) == 3
    assert "macs_at_64" in lines[0].split(",")
    assert lines[2].count("ScreeningError") == 1


# --- keep, top, pareto -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("r_min < 100", "b"),
        ("r_min < 100 or r_max >= 435", "ab"),
        ("not r_min < 100", "a"),
        ("10 < r_min - 1 <= 138", "ab"),
        ("r_min * 2 < 200 and certainty == 'exact'", "b"),
        ("macs < 1e9", ""),
        ("not macs < 1e9", "ab"),
        ("key != 'a'", "b"),
        ("-r_min < -100", "a"),
        ("r_min / (r_max - r_max) == 1", ""),
    ],
)
def test_conditions_keep_what_they_say(text: str, kept: str) -> None:
    rows = [
        ScreeningRow("a", 139, 96, 435, certainty="exact"),
        ScreeningRow("b", 35, 35, 35, certainty="exact"),
    ]
    assert "".join(row.key for row in rows if condition(text)(row)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "r_min",
        "colour < 3",
        "__import__('os').system('true') == 0",
        "r_min.real < 3",
        "(lambda: 1)() < 2",
        "r_min < 3 if r_max else 1",
        "[r_min] < [3]",
        "r_min ** 9 < 3",
        "r_min in (1, 2)",
        "r_min < True",
        "r_min <",
        "r_min / 0 < 3",
        "r_min / (2 - 2) < 3",
        "(" * 900 + ")" * 900,
        "r_min := 3",
    ],
)
def test_a_condition_is_never_run_as_code(text: str) -> None:
    with pytest.raises(ScreeningError, match=r"condition|column"):
        condition(text)


def test_keep_filters_rows_but_not_errors() -> None:
    specs = [random_spec(seed) for seed in range(12)]
    every = list(screen(specs, 64, progress=False))
    some = list(screen([*specs, 3.5], 64, keep="r_min <= 40", progress=False))
    assert [row for row in some if row.ok] == [row for row in every if row.r_min <= 40]  # type: ignore[operator]
    assert [row.error for row in some if not row.ok] == ["ScreeningError"]
    assert 0 < len(some) - 1 < len(every)
    same = list(screen(specs, 64, keep=lambda row: row.r_min <= 40, progress=False))  # type: ignore[operator]
    assert same == [row for row in some if row.ok]


def test_top_and_pareto_pick_the_best() -> None:
    rows = list(screen([mobile_spec(one) for one in mobile_choices(60)], 224, progress=False))
    best = top(rows, 5, by="macs")
    assert [row["macs"] for row in best] == sorted(row["macs"] for row in rows)[:5]  # type: ignore[type-var]
    assert top(rows, 1, by="r_min", largest=True)[0].r_min == max(row.r_min for row in rows)  # type: ignore[type-var]
    front = pareto(rows)
    for row in rows:
        beaten = any(
            one.r_min <= row.r_min and one["macs"] <= row["macs"]  # type: ignore[operator]
            for one in front
        )
        assert beaten
    for one, other in itertools.pairwise(front):
        assert one.r_min < other.r_min  # type: ignore[operator]
        assert one["macs"] > other["macs"]  # type: ignore[operator]
    with pytest.raises(ScreeningError, match="colour"):
        top(rows, 3, by="colour")


def test_equal_networks_share_a_graph_key() -> None:
    twins = [Candidate(random_spec(1), key="a"), Candidate(random_spec(1).to_graph(64), key="b")]
    rows = list(screen([*twins, random_spec(2)], 64, graph_keys=True, progress=False))
    assert rows[0].graph_key == rows[1].graph_key != rows[2].graph_key
    assert [row.key for row in distinct(rows)] == ["a", rows[2].key]
    assert rows[0].at == rows[1].at


# --- executors -------------------------------------------------------------------------------


def loky() -> Executor:
    from joblib.externals.loky import get_reusable_executor

    executor: Executor = get_reusable_executor(2)
    return executor


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")),
    "loky": loky,
}


@pytest.fixture(scope="module")
def expected() -> bytes:
    return in_bytes(list(screen(mixed(), (32, 64), progress=False)))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXECUTORS)
def test_rows_do_not_depend_on_the_executor(name: str, expected: bytes) -> None:
    with EXECUTORS[name]() as executor:
        rows = list(screen(mixed(), (32, 64), executor, progress=False))
    assert in_bytes(rows) == expected


def test_rows_do_not_depend_on_the_number_of_processes(expected: bytes) -> None:
    assert in_bytes(list(screen(mixed(), (32, 64), jobs=2, progress=False))) == expected


def test_jobs_are_the_same_behind_the_way_to_another_process() -> None:
    jobs = []
    for one in mixed():
        with contextlib.suppress(ScreeningError):
            jobs.append(job_of(one))
    there = pickle.loads(pickle.dumps(Parcel(jobs)))
    plain = [job for job in jobs if job.kind != "graph"]  # nodes are equal to themselves only
    assert [job for job in there if job.kind != "graph"] == plain
    assert [job.key for job in there] == [job.key for job in jobs]


def test_specs_that_are_done_soon_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_pool", None)
    assert len(list(screen(map(random_spec, range(30)), 32, jobs=2, progress=False))) == 30


def test_this_process_judges_specs_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    done_by: Counter[bool] = Counter()

    def done(*asked: Any) -> Any:
        main = threading.current_thread() is threading.main_thread()
        done_by[main] += 1
        time.sleep(0.0 if main else 0.005)
        return do_batch(*asked)

    monkeypatch.setattr(workers, "ALONE_SECONDS", 0.0)
    monkeypatch.setattr(workers, "_pool", ThreadPoolExecutor)
    monkeypatch.setattr(workers, "do_batch", done)
    specs = [random_spec(seed, blocks=3) for seed in range(600)]
    rows = list(screen(specs, 32, jobs=2, progress=False))
    assert done_by[True]
    assert done_by[False]
    assert in_bytes(rows) == in_bytes(list(screen(specs, 32, progress=False)))


def _is_of_the_package(value: object) -> bool:
    return str(getattr(value, "__module__", "")).startswith("rfa_toolbox")


def test_judging_specs_makes_no_garbage_in_cycles_so_none_is_looked_for_meanwhile() -> None:
    specs = [random_spec(seed, square=seed % 3 > 0) for seed in range(30)]
    judge = SpecJudge(((64, 64),))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)  # other threads may leave some, which is not ours
    try:
        for spec in specs:
            judge.judge(spec)
        gc.collect()
        assert not [one for one in gc.garbage if _is_of_the_package(one)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    for row in screen(specs, 64, progress=False):
        assert row.ok
        assert gc.isenabled()


def test_endless_candidates_are_read_as_they_are_needed() -> None:
    read = 0

    def candidates() -> Iterator[GraphSpec]:
        nonlocal read
        for width in itertools.count(1):
            read += 1
            yield GraphSpec(chain(conv(width)))

    rows = screen(candidates(), 32, progress=False)
    assert [row.parameters for row in itertools.islice(rows, 50)] == [27 * n for n in range(1, 51)]
    assert read < 500
    rows.close()  # type: ignore[attr-defined]


def test_progress_counts_rows_and_errors() -> None:
    seen: list[Progress] = []
    list(screen([random_spec(1), 3.5, random_spec(2)], 64, progress=seen.append))
    last = seen[-1]
    assert (last.done, last.errors, last.stored, last.total) == (3, 1, 0, 3)
    assert last.seconds_left == 0
    assert "3 of 3 done, 1 error," in str(last)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"jobs": 0}, "jobs is 0"),
        ({"executor": 3}, "executor is 3"),
        ({"time_limit": 0}, "time_limit is 0"),
        ({"memory_limit": "8"}, "memory_limit is .8."),
        ({"progress": 3}, "progress is 3"),
        ({"time_limit": float("nan")}, "time_limit is nan"),
        ({"keep": 3}, "keep is 3"),
        ({"input_res": []}, "no resolution"),
        ({"input_res": "32"}, "'32'"),
        ({"input_res": -3}, "-3"),
        ({"candidates": 3}, "candidates is 3"),
        ({"candidates": "space.py:all"}, "space.py:all"),
        ({"store": "/no/such/folder/a.db"}, "/no/such/folder/a.db"),
    ],
)
def test_bad_arguments_are_said_at_once(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((ScreeningError, InvalidResolutionError), match=said):
        screen(**{"candidates": [], "input_res": 32, "progress": False, **arguments})


def test_a_function_without_a_name_needs_a_key() -> None:
    rows = list(screen([lambda: hostile.good(3)], 32, progress=False))
    assert "give it a key" in rows[0].message
    named = Candidate(lambda: hostile.good(3), key="named")
    (row,) = screen([named], 32, progress=False, isolate=False)
    assert row.key == "named"


# --- faults ----------------------------------------------------------------------------------


def children_of(pid: int) -> set[int]:
    """Return all living descendants of a process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if status[0] != "Z":
            parents[int(folder.name)] = int(status[1])
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@linux
@pytest.mark.slow
def test_every_hostile_candidate_is_one_row_and_leaves_nothing_behind() -> None:
    """Two of each kind; ``benchmarks/screen_spaces.py faults`` takes ten."""
    check_hostile(2)


def check_hostile(each: int) -> None:
    """Screen some candidates of each hostile kind, and look for their rows and processes."""
    before = children_of(os.getpid())
    candidates = [
        code(kind.__name__, number=number) for kind in hostile.KINDS for number in range(each)
    ]
    rows = list(
        screen(candidates, 32, jobs=2, time_limit=1.5, memory_limit=200_000_000, progress=False)
    )
    assert len(rows) == each * len(hostile.KINDS)
    kinds: dict[str, set[str]] = {}
    for row in rows:
        name = row.key.rpartition(":")[2].partition("(")[0]
        kinds.setdefault(name, set()).add(row.error)
    assert kinds == {
        "raises": {"KeyError"},
        "hangs": {"TimeLimit"},
        "returns_none": {"ScreeningError"},
        "prints": {""},
        "exits": {"SystemExit"},
        "exits_hard": {"WorkerDied"},
        "allocates": {"MemoryError"},
        "recurses": {"RecursionError"},
        "crashes": {"WorkerDied"},
        "interrupts": {"WorkerDied"},
        "forks": {""},
    }
    deadline = time.monotonic() + 10
    while (left := children_of(os.getpid()) - before) and time.monotonic() < deadline:
        left -= {one for one in left if _is_tracker(one)}
        if not left:
            break
        time.sleep(0.1)
    assert not left


def _is_tracker(pid: int) -> bool:
    """Whether a process is the one with which multiprocessing looks after its resources."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def test_a_candidate_that_ends_its_process_is_one_row_also_without_an_executor() -> None:
    candidates = [code("good"), code("exits_hard", number=3), code("good", width=9)]
    rows = list(screen(candidates, 32, progress=False))
    assert [row.error for row in rows] == ["", "WorkerDied", ""]
    assert "exit code 3" in rows[1].message


@linux
def test_what_a_candidate_leaves_behind_changes_no_row_of_others() -> None:
    names = ("forks", "sleeps", "ends_others", "sleeps")
    candidates = [code(name, number=number) for number, name in enumerate(names)]
    rows = list(screen(candidates, 32, progress=False))
    assert [(row.key, row.parameters) for row in rows] == [
        (job_of(candidate).key, 27 * (number + 1)) for number, candidate in enumerate(candidates)
    ]


def test_candidates_are_rows_also_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refused)
    rows = list(screen([code("good"), code("good", width=9)], 32, progress=False))
    assert [row.error for row in rows] == ["WorkerDied", "WorkerDied"]


def test_a_worker_that_is_killed_is_replaced_and_its_batch_done_again(tmp_path: Path) -> None:
    killer = code("kills_parent_once", folder=str(tmp_path), number=3)
    candidates = [killer, *(code("good", width=width) for width in range(1, 20))]
    rows = list(screen(candidates, 32, jobs=2, progress=False))
    assert len(rows) == 20
    assert all(row.ok for row in rows)
    assert (tmp_path / "killed").exists()


# --- stores ----------------------------------------------------------------------------------


def made(folder: Path) -> Counter[int]:
    """Return how often each candidate was made."""
    lines = [line for file in folder.glob("*.txt") for line in file.read_text().split()]
    return Counter(map(int, lines))


def test_a_store_does_nothing_twice(tmp_path: Path) -> None:
    candidates = [code("counted", folder=str(tmp_path), number=number) for number in range(9)]
    store = tmp_path / "rows.db"
    first = list(screen(itertools.islice(candidates, 5), 32, store=store, progress=False))
    seen: list[Progress] = []
    rows = list(screen([*candidates, *candidates], 32, store=store, progress=seen.append))
    assert made(tmp_path) == Counter(range(9))
    assert len(rows) == 18
    assert in_bytes(rows[:5]) == in_bytes(first)
    assert seen[-1].stored == 5 + 9
    with Store(store) as stored:
        assert in_bytes(list(stored)) == in_bytes(list({row.key: row for row in rows}.values()))


def test_equal_candidates_are_computed_once_also_without_a_store(tmp_path: Path) -> None:
    candidates = [code("counted", folder=str(tmp_path), number=number % 3) for number in range(30)]
    for jobs in (1, 2):
        rows = list(screen(candidates, 32, jobs=jobs, progress=False))
        assert Counter(row.key for row in rows) == Counter(dict.fromkeys({r.key for r in rows}, 10))
    assert made(tmp_path) == Counter({0: 2, 1: 2, 2: 2})


def test_a_key_for_two_different_candidates_is_said() -> None:
    narrow, wide = GraphSpec(chain(conv(8))), GraphSpec(chain(conv(16)))
    pairs = [
        (Candidate(narrow, key="a"), Candidate(wide, key="a")),
        (Candidate(resnet18(), key="b"), Candidate(vgg16(), key="b")),
        (Candidate(hostile.good, {"width": 3}, "c"), Candidate(hostile.good, {"width": 4}, "c")),
        (Candidate(narrow.to_dict(), key="d"), Candidate(wide.to_dict(), key="d")),
    ]
    for first, second in pairs:
        rows = list(screen([first, second, first], 32, progress=False, isolate=False))
        assert Counter(row.key for row in rows) == {first.key: 2, "candidate 1": 1}
        (error,) = [row for row in rows if not row.ok]
        assert repr(first.key) in error.message


def test_one_candidate_may_come_again_with_its_key_in_other_words() -> None:
    one = Candidate(f"{HOSTILE}:good", {"width": 3, "depth": 1}, "a")
    other = Candidate(f"{HOSTILE}:good", {"depth": 1, "width": 3}, "a")
    rows = list(screen([one, other], 32, progress=False, isolate=False))
    assert [row.key for row in rows] == ["a", "a"]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    file, store = tmp_path / "net.json", tmp_path / "rows.db"
    found = []
    for seed in (1, 1, 2):
        file.write_text(json.dumps(random_spec(seed).to_dict()))
        found += list(screen([str(file)], 64, store=store, progress=False))
    assert found[0] == found[1] != found[2]
    assert found[2].r_min == next(screen([random_spec(2)], 64, progress=False)).r_min
    with Store(store) as stored:
        assert len(stored) == 2


def test_an_onnx_file_is_a_candidate(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weight = helper.make_tensor("weight", floats, (4, 3, 5, 5), [0.0] * 300)
    node = helper.make_node("Conv", ["image", "weight"], ["map"], name="conv")
    shapes = {"image": (1, 3, 32, 32), "map": (1, 4, 28, 28)}
    inputs, outputs = ([helper.make_tensor_value_info(n, floats, shapes[n])] for n in shapes)
    graph = helper.make_graph([node], "net", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    (row,) = screen([tmp_path / "net.onnx"], 32, progress=False)
    assert (row.r_min, row.parameters, row["macs"]) == (5, 300, 300 * 28 * 28)


def test_rows_that_are_not_kept_are_stored(tmp_path: Path) -> None:
    store = tmp_path / "rows.db"
    specs = [random_spec(seed) for seed in range(5)]
    assert not list(screen(specs, 64, store=store, keep="r_min < 0", progress=False))
    with Store(store) as stored:
        assert len(stored) == 5


def test_a_store_of_another_question_or_no_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "rows.db"
    list(screen([random_spec(1)], 64, store=store, progress=False))
    with pytest.raises(ScreeningError, match=r"question.*64.*name another file"):
        screen([], 32, store=store, progress=False)
    text = tmp_path / "notes.txt"
    text.write_text("no database" * 1000)
    with pytest.raises(ScreeningError, match="cannot be used"):
        screen([], 32, store=text, progress=False)
    assert text.read_text() == "no database" * 1000
    with pytest.raises(ScreeningError, match="There is no store"):
        Store(tmp_path / "none.db")


def test_a_second_process_on_a_store_is_refused_and_may_read(tmp_path: Path) -> None:
    store = tmp_path / "rows.db"
    rows = screen([random_spec(1), random_spec(2)], 64, store=store, progress=False)
    next(rows)
    with pytest.raises(ScreeningError, match="Another process writes"):
        screen([], 64, store=store, progress=False)
    with Store(store) as reader:
        assert len(reader) > 0
    rows.close()  # type: ignore[attr-defined]
    list(screen([], 64, store=store, progress=False))


RUN = """
import sys
from rfa_toolbox.screening import screen
if __name__ == "__main__":
    folder, code = sys.argv[1:]
    candidates = [(code, {"folder": folder, "number": n, "seconds": 0.2}) for n in range(60)]
    for row in screen(candidates, 32, store=f"{folder}/rows.db", jobs=2, progress=False):
        print(row.key, flush=True)
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_goes_on_where_it_was(tmp_path: Path, end: signal.Signals) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    slow = tmp_path / "slow"
    slow.touch()
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), f"{HOSTILE}:counted"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout is not None
    for _ in range(15):
        assert run.stdout.readline()
    workers = children_of(run.pid)
    run.send_signal(end)
    run.communicate(timeout=30)
    deadline = time.monotonic() + 15  # workers notice that nobody reads any more
    while any(Path(f"/proc/{one}").exists() for one in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [one for one in workers if Path(f"/proc/{one}").exists()]
    with Store(tmp_path / "rows.db") as stored:
        before = {row.key for row in stored}
    assert 15 <= len(before) < 60
    counts = made(tmp_path)
    slow.unlink()
    candidates = [
        code("counted", folder=str(tmp_path), number=number, seconds=0.2) for number in range(60)
    ]
    again = list(screen(candidates, 32, store=tmp_path / "rows.db", progress=False))
    assert len(again) == 60
    added = made(tmp_path) - counts
    done = {int(key.partition("number=")[2].partition(",")[0]) for key in before}
    assert not done & set(added)
    assert set(added.values()) == {1}
    assert done | set(added) == set(range(60))


def test_a_store_becomes_a_parquet_file(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    store = tmp_path / "rows.db"
    rows = list(screen([random_spec(1), 3.5], (32, 64), store=store, progress=False))
    with Store(store) as stored:
        stored.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ScreeningError, match="is closed; open it again"):
        stored.to_parquet(tmp_path / "rows.parquet")
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(frame["key"]) == [rows[0].key]
    assert frame["macs_at_64"][0] == rows[0]["macs_at_64"]
    whole = frame.dtypes[frame.dtypes == "int64"].index
    assert {"r_min", "r_max", "good_from", "parameters", "macs", "unproductive_at_64"} <= {*whole}
    assert frame.dtypes["waste"] == frame.dtypes["seconds"] == "float64"
