import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import DaskCluster, dask_cluster
from toy_claims import claim, die, gated_square, marks, squares, toys, wait_until

from bnlens.claims import Claim, reproduce
from bnlens.errors import ClusterError
from bnlens.runs import Job, read_records
from bnlens.runs.store import Store


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with dask_cluster(folder) as started:
        yield started


def gated_jobs(marker: Path, gate: Path) -> Claim:
    """24 jobs of which six go through before the gate is there."""
    config = {"marker": str(marker), "gate": str(gate), "free": 6}
    return claim("T8", lambda setup: [Job(f"gated-{x}", gated_square, {**config, "x": x}) for x in range(24)])


def results(out: Path) -> dict[str, Any]:
    with Store(out / "runs.sqlite") as store:
        return {record.job: record.result for record in store.records()}


def test_each_job_ends_once_though_a_worker_is_killed(cluster: DaskCluster, tmp_path: Path) -> None:
    first, _second = cluster.start_worker(), cluster.start_worker()
    marker, gate, out = tmp_path / "marker", tmp_path / "gate", tmp_path / "out"

    def kill_in_the_middle() -> None:
        wait_until(lambda: len(marks(marker)) > 6)
        cluster.kill(first)
        gate.touch()

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    run = reproduce([gated_jobs(marker, gate)], out=out, scheduler=cluster.address).runs[0]
    killer.join()
    assert first.poll() is not None
    assert not run.errors
    with Store(out / "runs.sqlite") as store:
        stored = [record.job for record in store.records() if record.status == "done"]
    assert sorted(stored) == sorted(f"gated-{x}" for x in range(24))
    assert 24 <= len(marks(marker)) <= 26  # what the dead worker had begun began again, nothing else did
    assert reproduce([gated_jobs(marker, gate)], out=out, workers=2).runs[0].computed == 0


def on_both_engines(toy: Claim, cluster: DaskCluster, folder: Path) -> dict[str, Any]:
    """The results of a claim, which are the same on the cluster and in the pool."""
    cluster.start_worker()
    reproduce([toy], out=folder / "dask", scheduler=cluster.address)
    reproduce([toy], out=folder / "pool", workers=2)
    found = results(folder / "dask")
    assert found == results(folder / "pool")
    return found


def test_both_engines_give_equal_results(cluster: DaskCluster, tmp_path: Path) -> None:
    assert len(on_both_engines(toys(tmp_path / "marker")["T1"], cluster, tmp_path)) == 6


@pytest.mark.slow
def test_training_is_the_same_on_both_engines(cluster: DaskCluster, tmp_path: Path) -> None:
    from bnlens.experiments.networks import train_network

    config = {
        "net": "mlp", "data": "digits", "samples": 200, "epochs": 2, "batch_size": 50, "lr": 0.1, "augment": False,
        "statistics_batch_size": 10, "device_batch_size": 50, "regulariser": None, "noise": None, "dropout": 0.0,
    }  # fmt: skip
    jobs = [Job(f"seed{seed}", train_network, {**config, "seed": seed}) for seed in (0, 1)]
    found = on_both_engines(claim("T8", lambda setup: jobs), cluster, tmp_path)
    assert found["seed0"] != found["seed1"]


@pytest.mark.slow
def test_a_job_that_kills_its_workers_is_reported_and_the_others_go_on(cluster: DaskCluster, tmp_path: Path) -> None:
    for _ in range(4):
        cluster.start_worker()
    marker = tmp_path / "marker"
    jobs = [*squares(marker, 4), Job("deadly", die, {"marker": str(marker), "once": False}, cost=9)]
    run = reproduce([claim("T8", lambda setup: jobs)], out=tmp_path / "out", scheduler=cluster.address).runs[0]
    assert [record.job for record in run.records if record.status == "done"] == [f"square-{x}" for x in range(4)]
    assert marks(marker).count("die") == 3
    assert "3 workers of the cluster died while they ran it" in run.errors[0]


def test_a_scheduler_lost_in_the_middle_keeps_what_was_finished(cluster: DaskCluster, tmp_path: Path) -> None:
    cluster.start_worker()
    marker, gate, out = tmp_path / "marker", tmp_path / "gate", tmp_path / "out"

    def kill_in_the_middle() -> None:
        wait_until(lambda: len(read_records(out / "runs.sqlite")) == 6)
        cluster.kill(cluster.scheduler)

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    with pytest.raises(ClusterError, match=r"was lost or started anew; finished jobs are stored"):
        reproduce([gated_jobs(marker, gate)], out=out, scheduler=cluster.address)
    killer.join()
    assert len(results(out)) == 6
    gate.touch()
    run = reproduce([gated_jobs(marker, gate)], out=out, workers=2).runs[0]
    assert run.computed == 18
    assert not run.errors


def test_workers_with_several_threads_are_refused(cluster: DaskCluster, tmp_path: Path) -> None:
    cluster.start_worker("--nthreads", "2")
    with pytest.raises(ClusterError, match="has 2 threads"):
        reproduce([toys(tmp_path / "m")["T1"]], out=tmp_path / "out", scheduler=cluster.address)
