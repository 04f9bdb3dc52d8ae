"""Screening with what others make: dask's workers, optuna's studies, PyTorch's modules."""

from __future__ import annotations

import os
import random
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.screening import GraphSpec, ScreeningRow, chain, conv, pool, screen
from tests.screening.spaces import cell_spec, topologies

SPACES = str(Path(__file__).with_name("spaces.py"))
HOSTILE = str(Path(__file__).with_name("hostile.py"))


# --- PyTorch ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_cells_as_specs_and_as_modules_have_equal_rows() -> None:
    """A sample; ``benchmarks/screen_spaces.py`` takes all 15,625 and a larger sample."""
    connected = [one for one in topologies() if one[3] != "none"]
    sample = random.Random(7).sample(connected, 5)
    names = ["|".join(one) for one in sample]
    modules = [(f"{SPACES}:cell_module", {"topology": name}) for name in names]
    specs = [cell_spec(one) for one in sample]
    built = list(screen(modules, (32, 64), progress=False, graph_keys=True))
    from_specs = list(screen(specs, (32, 64), progress=False, graph_keys=True))
    for name, one, other in zip(names, built, from_specs, strict=True):
        assert without_key(one) == without_key(other), name
    assert {row.built_on for row in built[1:]} == {"meta"}


def without_key(row: ScreeningRow) -> dict[str, Any]:
    assert row.ok, row
    return {name: value for name, value in row.to_dict().items() if name != "key"}


# --- dask ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(find_spec("distributed") is None, reason="dask is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_worker_that_is_killed_changes_no_row(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    candidates: list[Any] = [
        (f"{HOSTILE}:counted", {"folder": str(tmp_path), "number": number, "seconds": 0.02})
        for number in range(40)
    ]
    candidates += [cell_spec(one) for one in random.Random(3).sample(CONNECTED, 20)]
    expected = sorted(row.to_json() for row in screen(candidates, 32, progress=False))
    (tmp_path / "slow").touch()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        found: list[str] = []
        for row in screen(candidates, 32, client.get_executor(), progress=False):
            found.append(row.to_json())
            if len(found) == 15:
                os.kill(pids[0], signal.SIGKILL)
    assert sorted(found) == expected


CONNECTED = [one for one in topologies() if one[3] != "none"]


# --- optuna ----------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_a_study_prunes_what_is_not_feasible() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trained = []

    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_int("depth", 1, 12)
        spec = GraphSpec(chain(*[chain(conv(16, 3), pool(2))] * depth))
        (row,) = screen([spec], 64, progress=False)
        if not row.ok or row["unproductive"]:
            raise optuna.TrialPruned
        trained.append(depth)
        return -float(depth)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=30)
    pruned = [one for one in study.trials if one.state == optuna.trial.TrialState.PRUNED]
    assert len(pruned) + len(trained) == 30
    assert min(one.params["depth"] for one in pruned) > max(trained)
    assert study.best_params["depth"] == max(trained)
