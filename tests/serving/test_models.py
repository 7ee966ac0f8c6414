"""Several models by name, opened anew while requests run."""

import asyncio
import dataclasses
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest

from tests.serving.servers import ENGINE, TEXT, Local, Remote, copied, httpx

from sledgehammer._serving.status import described  # isort: skip
from sledgehammer.engine import EngineError  # isort: skip
from sledgehammer.engine.curve import CURVE, Curve  # isort: skip
from sledgehammer.engine.manifest import MANIFEST, read, sealed, write  # isort: skip
from sledgehammer.support.renaming import exchange  # isort: skip


def relabelled(directory: Path, *labels: str) -> None:
    """Write a manifest with other labels, so that answers tell which model they are from."""
    content = json.loads((directory / MANIFEST).read_text())
    content["labels"] = list(labels)
    partial = directory.parent / "partial.json"
    partial.write_text(json.dumps(sealed(content) if content["format"] == 3 else content))
    os.replace(partial, directory / MANIFEST)


def ask(local: Local, **options: Any) -> Any:
    async def send() -> Any:
        async with local.client() as client:
            return (await client.post("/v1/classify", json={"input": TEXT, **options})).json()

    return asyncio.run(send())


def test_models_by_name(local: Callable[..., Local], tmp_path: Path) -> None:
    other = copied(tmp_path / "other")
    relabelled(other, "up", "down")
    started = local(directories={"first": ENGINE, "second": other})
    assert ask(started)["model"] == "first", "of requests that name none"
    assert ask(started, model="second")["data"][0]["label"] in ("up", "down")
    assert ask(started, model="third")["detail"] == (
        "there is no model 'third'; there are: first, second"
    )


def test_settings_of_the_server_are_the_defaults(local: Callable[..., Local]) -> None:
    started = local(settings={"threshold": 0.0})
    assert ask(started)["data"][0]["exit_layer"] == 0
    assert ask(started, threshold=1)["data"][0]["exit_layer"] == 3


def test_requests_that_run_are_answered_by_the_old_model(
    local: Callable[..., Local], tmp_path: Path
) -> None:
    directory = copied(tmp_path / "engine")
    started = local(directories={"tiny": directory})

    async def run() -> None:
        service, models = started.server.service, started.server.models
        started.segments.gate.clear()
        old = asyncio.ensure_future(service.answers(models.get(None), [TEXT], {}, None, "input"))
        await asyncio.sleep(0.02)
        relabelled(directory, "up", "down")
        await asyncio.get_running_loop().run_in_executor(None, models.look)
        started.segments.gate.set()
        assert (await old)[0]["label"] in ("positive", "negative")
        new = await service.answers(models.get(None), [TEXT], {}, None, "input")
        assert new[0]["label"] in ("up", "down")

    asyncio.run(run())
    assert started.server.models.reloads == {"tiny": 1}


def test_a_damaged_directory_leaves_the_old_model_and_is_tried_again(
    local: Callable[..., Local], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = copied(tmp_path / "engine")
    started = local(directories={"tiny": directory})
    models = started.server.models
    file = directory / "segments" / "exit_2.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])  # as if it were half copied
    relabelled(directory, "up", "down")
    models.look()
    assert models.failed_reloads == {"tiny": 1} and "exit_2.onnx has changed" in caplog.text
    assert ask(started)["data"][0]["label"] in ("positive", "negative")
    file.write_bytes(whole)
    for _ in range(3):
        models.look()
    assert models.reloads == {"tiny": 1}
    assert ask(started)["data"][0]["label"] in ("up", "down")
    models.look()
    assert models.reloads == {"tiny": 1}, "nothing has changed since"


def test_a_directory_that_goes_away_leaves_the_model(
    local: Callable[..., Local], tmp_path: Path
) -> None:
    directory = copied(tmp_path / "engine")
    started = local(directories={"tiny": directory})
    directory.rename(tmp_path / "gone")
    started.server.models.look()
    assert "label" in ask(started)["data"][0]
    started.server.models.reload_all()
    assert started.server.models.failed_reloads == {"tiny": 1}


def test_no_request_is_dropped_while_the_directory_is_replaced(
    serve: Callable[..., Remote], tmp_path: Path
) -> None:
    directory, other = copied(tmp_path / "engine"), copied(tmp_path / "other")
    relabelled(other, "up", "down")
    started = serve(f"tiny={directory}", "--poll", "0.05")
    stop, statuses = threading.Event(), []
    labels: List[str] = []

    def ask_on() -> None:
        with httpx.Client(base_url=started.url, timeout=30) as client:
            while not stop.is_set():
                response = client.post("/v1/classify", json={"input": TEXT})
                statuses.append(response.status_code)
                labels.append(response.json()["data"][0]["label"])

    asking = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        for wanted in ({"up", "down"}, {"positive", "negative"}):
            if not exchange(directory, other):
                pytest.skip("this system can't exchange folders")
            deadline = time.monotonic() + 30
            while labels[-1:] == [] or labels[-1] not in wanted:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        os.kill(started.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        with httpx.Client(base_url=started.url, timeout=30) as client:
            while 'sledgehammer_reloads{model="tiny"} 3.0' not in client.get("/metrics").text:
                assert time.monotonic() < deadline
                time.sleep(0.02)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert set(statuses) == {200} and len(statuses) > 5


def test_the_curve_of_a_directory_is_served_while_it_holds(
    local: Callable[..., Local], tmp_path: Path
) -> None:
    copy = copied(tmp_path / "tiny")
    manifest = read(copy)
    exits = len(manifest.exit_layers)
    point = {
        "setting": 0.5, "accuracy": 0.75, "macro_f1": 0.7, "mean_layers": 2.0,
        "calibration_error": 0.1, "shares": [1.0, *[0.0] * (exits - 1)],
    }  # fmt: skip
    curve = Curve(
        "secret/path.txt", 8, {}, "threshold", manifest.exit_layers, manifest.full_layers,
        [point, {**point, "setting": 1.0}], point, [0.5] * exits, manifest.conditions(),
    )  # fmt: skip
    assert described(local(directories={"tiny": copy}).server.models.get(None))["curve"] is None
    curve.save(copy)
    write(copy, manifest)
    told = described(local(directories={"tiny": copy}).server.models.get(None))
    assert told["curve"]["points"][0] == point and told["curve"]["rows"] == 8
    assert told["expected_layers"] == [[0.5, 2.0], [1.0, 2.0]]
    assert "secret" not in json.dumps(told)
    stale = dataclasses.replace(manifest, temperatures=[2 * t for t in manifest.temperatures])
    write(copy, stale)
    assert described(local(directories={"tiny": copy}).server.models.get(None))["curve"] is None
    (copy / CURVE).write_text("{}")
    write(copy, manifest)
    with pytest.raises(EngineError, match=f"{CURVE} is damaged"):
        local(directories={"tiny": copy})
