"""`sledgehammer score --ray` on a cluster of several nodes in this machine, one of which is lost."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

for needed in ("ray", "pyarrow"):
    pytest.importorskip(needed, reason=f"--ray is tested where {needed} is installed")

from ray.cluster_utils import Cluster  # noqa: E402

from tests.scoring.datasets import (  # noqa: E402
    ALONE,
    ENGINE,
    check_nothing_lost,
    command,
    environment,
    parts,
    score,
    write_shards,
)

SHARDS = 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose first node runs no engines, and two nodes with a core each."""
    # Nodes inherit it: they must find this package, and report nothing to anybody.
    added = {**environment(), "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        yield started
    finally:
        started.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def test_a_lost_node_loses_and_doubles_nothing(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    everything = write_shards(tmp_path / "in", SHARDS, 50)
    output = tmp_path / "out"
    options = [tmp_path / "in", "--engine", ENGINE, "--output", output, *ALONE]
    running = subprocess.Popen(
        command(*options, "--ray", cluster.address),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while not _both_work(output) and running.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        cluster.remove_node(nodes[0], allow_graceful=False)
        before = len(parts(output))
        shown, errors = running.communicate(timeout=200)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 3, errors
    assert 0 < before < SHARDS, "the node was lost in between"
    check_nothing_lost(output, everything)
    assert f"{len(everything)} rows in {SHARDS} parts: " in shown
    assert f"\n{SHARDS} of {SHARDS}: part-" in errors

    # Processes of this machine go on with the same job, and find that it is done.
    again = score(*options)
    assert (again.returncode, again.stdout) == (3, shown)
    assert f"{SHARDS} of {SHARDS} parts were finished before" in again.stderr


def _both_work(output: Path) -> bool:
    """Return whether some parts are done, and two are being written."""
    return len(parts(output)) > 3 and len(list(output.glob(".part-*"))) > 1


def test_an_actors_error_is_one_line(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("body\nbees\n")
    options = [tmp_path / "in", "--engine", ENGINE, "--output", tmp_path / "out"]
    done = score(*options, "--ray", cluster.address)
    assert done.returncode == 1
    expected = f"sledgehammer score: error: {tmp_path}/in/a.csv has no column 'text'; the columns are: body"
    # Ray's own warnings may stand before it.
    assert done.stderr.splitlines()[-1] == expected and "Traceback" not in done.stderr
    assert not parts(tmp_path / "out")
