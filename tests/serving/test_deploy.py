"""`sledgehammer deploy`: exported models as Ray Serve applications on a cluster in this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, List

import pytest

for needed in ("ray", "fastapi"):
    pytest.importorskip(needed, reason=f"deploy is tested where {needed} is installed")

import httpx  # noqa: E402

from sledgehammer import engine  # noqa: E402
from sledgehammer._serving import deploy  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.serving.servers import ENGINE, TEXT  # noqa: E402

MODELS = [f"first={ENGINE}", f"second={ENGINE}"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Nodes inherit it.
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        head = {"num_cpus": 3, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield started
        finally:
            started.shutdown()


def test_models_answer_by_route_and_by_handle(cluster: Any) -> None:
    port = free_port()
    options = ["--ray", cluster.address, "--port", str(port), "--threshold", "0"]
    running = subprocess.Popen(
        [sys.executable, "-m", "sledgehammer", "deploy", *MODELS, *options],
        env=dict(os.environ), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert running.stderr is not None
        shown: List[str] = []
        while not any("serving second on" in line for line in shown):
            shown.append(running.stderr.readline())
            assert shown[-1], "".join(shown)
        _check_http(port)
        _check_handle(cluster.address)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 0 and "Traceback" not in errors, errors
    finally:
        running.kill()
        running.wait()


def _check_http(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for name in ("first", "second"):
            assert client.get(f"/{name}/readyz").status_code == 200
            content = client.post(f"/{name}/v1/classify", json={"input": [TEXT, 5]}).json()
            answer, bad = content["data"]
            assert content["model"] == name and answer["exit_layer"] == 0
            assert "error" in bad
            # The other protocols, and refusals, are those of the mounted application.
            assert client.get(f"/{name}/v2/models/{name}").json()["name"] == name
            assert client.get(f"/{name}/nothing").status_code == 404
            assert client.get(f"/{name}/readyz", headers={"Host": "evil.org"}).status_code == 421
        assert client.get("/third/readyz").status_code == 404


HANDLE = """
import json, sys, ray
from ray import serve
ray.init(sys.argv[1], log_to_driver=False)
handle = serve.get_app_handle("first")
calls = [handle.classify.remote(text) for text in json.loads(sys.argv[2])]
print("ANSWERS", json.dumps([call.result(timeout_s=60) for call in calls]))
"""
"""A program of its own: threads of a handle would connect to Ray again after the test."""


def _check_handle(address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANDLE, address, json.dumps([TEXT, 5, "bees"])],
        env=dict(os.environ), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS")]
    answers = json.loads(line.removeprefix("ANSWERS"))
    expected = engine.load(ENGINE, 1).predict([TEXT, "bees"], 0)
    assert "error" in answers[1]
    for answer, one in zip((answers[0], answers[2]), expected):
        assert answer["exit_layer"] == 0
        # This int8 lets neighbours change an answer a little.
        assert answer["confidence"] == pytest.approx(one["confidence"], abs=0.02)


def test_the_config_file_is_what_serve_deploy_takes(tmp_path: Path) -> None:
    from ray._common.utils import import_attr
    from ray.serve.schema import ServeDeploySchema

    target = tmp_path / "serve.yaml"
    options = ["--min-replicas", "2", "--max-replicas", "5", "--queue", "3", "--port", "9000"]
    more = ["--threads", "2", "--setting", "max_exit_layer=2", "--host", "0.0.0.0"]
    assert deploy.main([*MODELS, *options, *more, "--write-config", str(target)]) == 0
    yaml = pytest.importorskip("yaml")
    schema = ServeDeploySchema.model_validate(yaml.safe_load(target.read_text()))
    assert (schema.http_options.host, schema.http_options.port) == ("0.0.0.0", 9000)
    assert [app.route_prefix for app in schema.applications] == ["/first", "/second"]
    for app in schema.applications:
        built = import_attr(app.import_path)(app.args)
        deployment = built._bound_deployment
        scaling = deployment._deployment_config.autoscaling_config
        assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)
        assert scaling.target_ongoing_requests == 3
        assert deployment.ray_actor_options == {"num_cpus": 2}
        (scale,) = deployment.init_args
        assert scale.settings == {"max_exit_layer": 2.0}
        assert json.loads(target.read_text())["applications"][0]["args"]["name"] == "first"


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["nothing"], 1, "nothing"),
        ([*MODELS, "--max-replicas", "1", "--min-replicas", "2"], 2, "at least --min-replicas"),
        ([*MODELS, "--setting", "patience=3"], 1, "has no setting 'patience'"),
    ],
)
def test_errors_are_one_line(
    arguments: List[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(arguments) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
