"""Several worker processes behind one port."""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.serving.servers import ENGINE, TEXT, Remote, copied, end, httpx, run_server
from tests.serving.test_models import relabelled

from sledgehammer._serving import cli  # isort: skip
from sledgehammer._serving.crew import Crew  # isort: skip
from sledgehammer._serving.metrics import Collector, RequestTally  # isort: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("workers") / "engine")


@pytest.fixture(scope="module")
def pair(serve: Callable[..., Remote], directory: Path) -> Remote:
    return serve(f"tiny={directory}", "--workers", 2, "--poll", 0)


def workers_of(remote: Remote) -> List[int]:
    """Return the worker processes of a server."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(remote.process.pid)], capture_output=True, text=True
    )
    return sorted(map(int, listed.stdout.split()))


def ask(remote: Remote, **options: Any) -> Any:
    """Send a request over a connection of its own, which any worker may accept."""
    return httpx.post(f"{remote.url}/v1/classify", json={"input": TEXT, **options}, timeout=30)


def metrics(remote: Remote) -> Dict[str, float]:
    text = httpx.get(f"{remote.url}/metrics", timeout=30).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def texts(found: Dict[str, float]) -> float:
    return sum(v for name, v in found.items() if name.startswith("sledgehammer_texts_total"))


def test_whoever_is_asked_tells_the_counts_of_all(pair: Remote) -> None:
    assert len(workers_of(pair)) == 2
    statuses = [ask(pair, threshold=n % 2).status_code for n in range(30)]
    assert set(statuses) == {200}
    for _ in range(6):  # of either worker
        eventually(lambda: texts(metrics(pair)) == 30)
    found = metrics(pair)
    assert found['sledgehammer_workers{model=""}'] == 2
    assert found['sledgehammer_text_seconds_count{model="tiny"}'] == 30
    assert found['sledgehammer_text_seconds_bucket{le="+Inf",model="tiny"}'] == 30


def test_a_signal_to_reload_reaches_all(pair: Remote, directory: Path) -> None:
    assert {ask(pair).json()["data"][0]["label"] for _ in range(3)} <= {"positive", "negative"}
    relabelled(directory, "up", "down")
    os.kill(pair.process.pid, signal.SIGHUP)
    eventually(lambda: metrics(pair).get('sledgehammer_reloads{model="tiny"}') == 2)
    labels = [ask(pair).json()["data"][0]["label"] for _ in range(12)]
    assert set(labels) <= {"up", "down"}
    relabelled(directory, "positive", "negative")
    os.kill(pair.process.pid, signal.SIGHUP)
    eventually(lambda: metrics(pair).get('sledgehammer_reloads{model="tiny"}') == 4)


def test_a_worker_that_dies_is_started_again_and_no_count_falls(pair: Remote) -> None:
    first, second = workers_of(pair)
    eventually(lambda: metrics(pair)['sledgehammer_unanswered_texts{model=""}'] == 0)
    time.sleep(0.6)  # so that both have written their counts
    before = texts(metrics(pair))
    os.kill(first, signal.SIGKILL)
    statuses = []
    for _ in range(20):  # the other one goes on
        statuses.append(ask(pair).status_code)
    assert set(statuses) == {200}
    eventually(lambda: len(set(workers_of(pair)) - {first}) == 2)
    eventually(lambda: metrics(pair).get('sledgehammer_workers{model=""}') == 2)
    eventually(lambda: texts(metrics(pair)) == before + 20)
    assert second in workers_of(pair)


def test_what_was_accepted_is_answered_before_all_end() -> None:
    remote = run_server(f"tiny={ENGINE}", "--workers", 2)
    try:
        workers, answers = workers_of(remote), []

        def ask_much() -> None:
            many = [f"{TEXT} {n} " * 60 for n in range(40)]
            answers.append(ask(remote, input=many, threshold=1))

        asking = [threading.Thread(target=ask_much) for _ in range(3)]
        for thread in asking:
            thread.start()
        eventually(lambda: metrics(remote)['sledgehammer_unanswered_texts{model=""}'] > 0)
        os.kill(remote.process.pid, signal.SIGTERM)
        for thread in asking:
            thread.join(60)
        assert [answer.status_code for answer in answers] == [200] * 3
        assert all("label" in datum for answer in answers for datum in answer.json()["data"])
        assert remote.process.wait(20) == 0
        assert not any(is_alive(worker) for worker in workers)
        assert remote.process.stderr is not None and "Traceback" not in remote.process.stderr.read()
    finally:
        end(remote.process)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_end_when_their_supervisor_is_killed(pair: Remote) -> None:
    """The last test of the server that the others share."""
    workers = workers_of(pair)
    assert len(workers) == 2
    pair.process.kill()
    eventually(lambda: not any(map(is_alive, workers)))


def test_what_can_not_be_opened_is_told_once(capfd: Any) -> None:
    assert cli.main([str(ENGINE), "--setting", "patience=3", "--workers", "2", "--port", "0"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert re.match("sledgehammer serve: error: .*has no setting 'patience'", line)


def test_counts_of_the_dead_stay_and_their_queues_do_not(tmp_path: Path) -> None:
    collectors, tallies = [], []
    for number in range(3):
        tallies.append(RequestTally())
        gauges = [("queue_texts", "", {"tiny": 1.0}), ("drift_alarm", "", {"tiny": number / 2})]
        crew = Crew(tmp_path, 3, number)
        collectors.append(Collector(tallies[-1], dict, lambda g=gauges: g, crew))  # type: ignore
        tallies[-1].saw("classify", 200, 0.003)
        collectors[-1].publish()
    Crew(tmp_path, 3, 2).retire(1)
    Crew(tmp_path, 3, 2).retire(2)  # nothing is there any more
    tallies[0].saw("classify", 200, 0.003)  # not yet published, but known to the one that is asked
    page = collectors[0].page().decode()
    assert 'sledgehammer_requests_total{route="classify",status="200"} 4.0' in page
    assert 'sledgehammer_request_seconds_bucket{le="0.0025",route="classify"} 0.0' in page
    assert 'sledgehammer_request_seconds_bucket{le="0.005",route="classify"} 4.0' in page
    assert 'sledgehammer_queue_texts{model="tiny"} 2.0' in page, "of those that live"
    assert 'sledgehammer_drift_alarm{model="tiny"} 0.5' in page, "the highest of those that live"
    assert page.count("# TYPE sledgehammer_requests_total counter") == 1
