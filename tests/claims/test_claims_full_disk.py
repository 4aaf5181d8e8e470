"""A disk that fills while claims are computed: a real file system of bounded size."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_claims import bulky_square, claim, marks

from bnlens.claims import Claim, reproduce
from bnlens.errors import StoreError
from bnlens.runs import Job
from bnlens.runs.store import Store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this user may not mount a small file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def bulky(marker: Path) -> Claim:
    config = {"marker": str(marker), "size": 60_000}
    return claim("T8", lambda setup: [Job(f"bulky-{x}", bulky_square, {**config, "x": x}) for x in range(12)])


def test_a_full_disk_keeps_what_was_finished_and_the_run_goes_on_later(small_disk: Path, tmp_path: Path) -> None:
    marker, out = tmp_path / "marker", small_disk / "out"
    with pytest.raises(StoreError, match=r"cannot write .*runs\.sqlite: .*choose a writable folder with room"):
        reproduce([bulky(marker)], out=out, workers=1)
    with Store(out / "runs.sqlite") as store:
        finished = [record.job for record in store.records()]
        assert all(record.status == "done" and len(record.result["bulk"]) == 60_000 for record in store.records())
    assert 1 <= len(finished) < 12

    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    run = reproduce([bulky(marker)], out=out, workers=1).runs[0]
    assert run.computed == 12 - len(finished)
    assert not run.errors
    computed = marks(marker)
    assert [f"square {job.removeprefix('bulky-')}" in computed for job in finished] == [True] * len(finished)
    assert all(computed.count(f"square {job.removeprefix('bulky-')}") == 1 for job in finished)
