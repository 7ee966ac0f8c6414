"""What clients of each protocol send and get."""

import http.client
import json
import math
import socket
import time
from typing import Any, Dict, List

import pytest

from tests.serving.servers import ENGINE, TEXT, Remote, httpx  # skips without a server's libraries

from sledgehammer import engine  # isort: skip

FAST = {"threshold": 0.0}


@pytest.fixture(scope="module")
def client(remote: Remote) -> Any:
    with httpx.Client(base_url=remote.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def expected() -> Dict[str, Any]:
    """The engine's own answer to `TEXT` at the first exit."""
    return engine.load(ENGINE, 1).predict([TEXT], threshold=0.0)[0]


def classified(client: Any, **content: Any) -> List[Dict[str, Any]]:
    response = client.post("/v1/classify", json=content)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def test_classify_has_the_form_of_vllm(client: Any, expected: Dict[str, Any]) -> None:
    response = client.post("/v1/classify", json={"model": "tiny", "input": TEXT, **FAST})
    content = response.json()
    assert content["object"] == "list" and content["model"] == "tiny"
    assert abs(content["created"] - time.time()) < 60 and content["id"].startswith("classify-")
    (datum,) = content["data"]
    rest = dict(expected)
    assert datum.pop("probs") == list(rest.pop("probs").values())
    tokens = datum.pop("tokens")
    assert content["usage"] == {
        "prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0
    }  # fmt: skip
    assert datum == {"index": 0, "num_classes": 2, **rest}


def test_settings_for_all_texts_for_each_and_in_each(client: Any) -> None:
    layers = [d["exit_layer"] for d in classified(client, input=[TEXT] * 3, threshold=[0, 1, 0])]
    assert layers == [0, 3, 0]
    items = [TEXT, {"text": TEXT, "threshold": 0}, {"sentence": TEXT, "max_exit_layer": 2}]
    data = classified(client, input=items, threshold=1)
    assert [d["exit_layer"] for d in data] == [3, 0, 2], "a text's own settings add to the others"


def test_thresholds_by_label(client: Any) -> None:
    """For all texts, for each, and in each, where they add to those of the request."""
    all_ones = {"positive": 1, "negative": 1}
    maps = [all_ones, {"*": 0}, 1, 0]
    data = classified(client, input=[TEXT] * 4, threshold=maps)
    assert [d["exit_layer"] for d in data] == [3, 0, 3, 0]
    (first,) = classified(client, input=TEXT, threshold=0)
    other = "negative" if first["label"] == "positive" else "positive"
    items = [TEXT, {"text": TEXT, "threshold": {first["label"]: 0}}]
    items.append({"text": TEXT, "threshold": {other: 0}})
    data = classified(client, input=items, threshold=all_ones)
    assert [d["exit_layer"] for d in data[:2]] == [3, 0] and data[2]["exit_layer"] > 0
    response = client.post("/v1/classify", json={"input": TEXT, "threshold": {"good": 0}})
    assert response.status_code == 422
    assert "the model does not know; its labels are 'positive', 'negative'" in response.text


def test_a_trace_tells_what_each_exit_said(client: Any) -> None:
    items = [TEXT, {"text": TEXT, "threshold": 0}, {"text": TEXT, "max_exit_layer": 2}]
    data = classified(client, input=items, threshold=1, trace=True)
    assert [[e["exit_layer"] for e in d["exits"]] for d in data] == [[0, 2, 3], [0], [0, 2]]
    for datum in data:
        last = datum["exits"][-1]
        assert {name: datum[name] for name in last} == last
    assert "exits" not in classified(client, input=TEXT)[0]
    assert client.post("/v1/classify", json={"input": TEXT, "trace": 1}).json()["field"] == "trace"


def test_a_bad_text_gets_its_own_error(client: Any) -> None:
    items = [
        3,
        TEXT,
        {"text": TEXT, "treshold": 1},
        ["a", "b"],
        {"txt": 1},
        "x" * 100_001,
        "\ud800",
    ]
    body = json.dumps({"input": items, **FAST})
    data = client.post("/v1/classify", content=body).json()["data"]
    assert "label" in data[1] and [d["index"] for d in data] == list(range(len(items)))
    errors = [d.get("error", "") for d in data]
    for wanted, error in zip(
        ("must be a string", "", "did you mean 'threshold'", "must be a string", "missing field",
         "at most 100000", "lone surrogate"), errors,
    ):  # fmt: skip
        assert wanted in error


@pytest.mark.parametrize(
    "body, status, field",
    [
        (b"{", 400, None),
        (b"[1]", 400, None),
        (b"\xff", 400, None),
        (b"[" * 10_000, 400, None),
        ({"inputs": TEXT}, 422, "inputs"),
        ({"input": 3}, 422, "input"),
        ({"input": []}, 422, "input"),
        ({"input": [3]}, 422, "input"),
        ({"input": TEXT, "threshold": 2}, 422, "threshold"),
        ({"input": [TEXT], "threshold": [0, 1]}, 422, "threshold"),
        ({"input": TEXT, "patience": 2}, 422, "patience"),
        ({"input": TEXT, "max_exit_layer": "3"}, 422, "max_exit_layer"),
        ({"input": TEXT, "model": "other"}, 404, "model"),
        ({"input": TEXT, "model": [1]}, 404, "model"),
        ({"input": [TEXT] * 1025}, 413, "input"),
    ],
)
def test_a_wrong_request_names_the_field(client: Any, body: Any, status: int, field: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = client.post("/v1/classify", content=content)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (response.status_code, problem["status"], problem.get("field")) == (
        status,
        status,
        field,
    )
    assert problem["title"] and problem["detail"]


def test_unknown_routes_and_methods_are_problems(client: Any) -> None:
    for method, path, status in (
        ("GET", "/no", 404),
        ("GET", "/predict", 405),
        ("POST", "/v2", 405),
    ):
        response = client.request(method, path)
        assert response.status_code == response.json()["status"] == status
        assert response.headers["content-type"] == "application/problem+json"


def test_predict_has_the_form_of_text_embeddings_inference(
    client: Any, expected: Dict[str, Any]
) -> None:
    def predict(**content: Any) -> Any:
        return client.post("/predict", json=content).json()

    scores = sorted(
        engine.load(ENGINE, 1).predict([TEXT], 0.0)[0]["probs"].items(), key=lambda x: -x[1]
    )
    assert predict(inputs=TEXT, **FAST) == [{"label": n, "score": p} for n, p in scores]
    raw = predict(inputs=TEXT, raw_scores=True, **FAST)
    assert [r["score"] for r in raw] == pytest.approx([math.log(p) for _, p in scores])
    batch = predict(inputs=[[TEXT], TEXT, 3], **FAST)
    assert (
        batch[0]
        == batch[1]
        == [{"label": n, "score": pytest.approx(p, abs=0.05)} for n, p in scores]
    )
    assert "must be a string" in batch[2]["error"]


def test_predict_refuses_long_texts_if_asked_to(client: Any) -> None:
    long = "bees " * 600
    assert client.post("/predict", json={"inputs": long, **FAST}).status_code == 200
    refused = client.post("/predict", json={"inputs": long, "truncate": False, **FAST})
    assert refused.status_code == 413 and "512 word pieces" in refused.json()["detail"]
    wrong = client.post("/predict", json={"inputs": TEXT, "truncate": "no"})
    assert wrong.status_code == 422 and wrong.json()["field"] == "truncate"


def test_the_client_of_hugging_face(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    client = hub.InferenceClient(base_url=None, model=f"{remote.url}/predict", timeout=30)
    body = client.post(json={"inputs": TEXT}) if hasattr(client, "post") else None
    found = json.loads(body) if body else client.text_classification([TEXT])  # type: ignore[arg-type]
    labels = {x["label"] for x in found}
    assert labels == {"positive", "negative"}


def test_inference_protocol_in_json(client: Any, expected: Dict[str, Any]) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"):
        assert client.get(path).status_code == 200
    assert client.get("/v2/models/other").status_code == 404
    tensor = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [[TEXT], [TEXT]]}
    answered = client.post(
        "/v2/models/tiny/versions/1/infer",
        json={"id": "7", "inputs": [tensor], "parameters": FAST},
    ).json()
    assert (answered["model_name"], answered["model_version"], answered["id"]) == ("tiny", "1", "7")
    described = {o["name"]: o for o in client.get("/v2/models/tiny").json()["outputs"]}
    for output in answered["outputs"]:
        shape = [2 if n == -1 else n for n in described[output["name"]]["shape"]]
        assert output["shape"] == shape and len(output["data"]) == math.prod(shape)
        assert output["datatype"] == described[output["name"]]["datatype"]
    values = {output["name"]: output["data"] for output in answered["outputs"]}
    assert values["label"] == [expected["label"]] * 2 and values["exit_layer"] == [0, 0]


@pytest.mark.parametrize(
    "change, status",
    [
        ({"datatype": "FP32"}, 422), ({"shape": [3]}, 422), ({"shape": "x"}, 422),
        ({"data": None}, 422), ({"parameters": {"binary_data_size": 9}}, 400),
        ({"parameters": 3}, 422),
    ],
)  # fmt: skip
def test_wrong_tensors(client: Any, change: Dict[str, Any], status: int) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT], **change}
    response = client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
    assert response.status_code == status and response.json()["field"].startswith("inputs[0]")


def test_the_client_of_triton(remote: Remote, expected: Dict[str, Any]) -> None:
    triton = pytest.importorskip("tritonclient.http")
    import numpy as np

    client = triton.InferenceServerClient(remote.url.removeprefix("http://"))
    try:
        assert (
            client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
        )
        assert client.get_model_metadata("tiny")["inputs"][0]["datatype"] == "BYTES"
        texts = np.array([TEXT.encode(), b"\xff"], object)
        given = triton.InferInput("text", [2], "BYTES")
        given.set_data_from_numpy(texts, binary_data=True)
        outputs = [
            triton.InferRequestedOutput(name, binary_data=binary)
            for name, binary in (
                ("label", True),
                ("probs", True),
                ("exit_layer", False),
                ("error", True),
            )
        ]
        result = client.infer("tiny", [given], outputs=outputs, parameters=FAST)
        assert result.as_numpy("label").tolist() == [expected["label"].encode(), b""]
        assert result.as_numpy("probs")[0] == pytest.approx(
            list(expected["probs"].values()), abs=0.05
        )
        assert result.as_numpy("exit_layer").tolist() == [0, -1]
        assert b"surrogate" in result.as_numpy("error")[1]
    finally:
        client.close()


LINES = [
    {"id": "a", "text": TEXT}, {"text": 3, "id": 2}, "", "x", {"text": "b", "threshold": 1, "label": "?"}
]  # fmt: skip


def test_a_stream_answers_each_line(client: Any) -> None:
    body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in LINES)
    for query, ordered in (("?threshold=0", False), ("?threshold=0&ordered=1&model=tiny", True)):
        response = client.post(f"/v1/stream{query}", content=body)
        answers = [json.loads(line) for line in response.text.splitlines()]
        numbers = [answer["line"] for answer in answers]
        assert sorted(numbers) == [1, 2, 3, 4] and (not ordered or numbers == [1, 2, 3, 4])
        first, second, third, fourth = sorted(answers, key=lambda answer: answer["line"])
        assert first["id"] == "a" and first["exit_layer"] == 0
        assert (
            second == {"line": 2, "id": 2, "error": second["error"]} and "string" in second["error"]
        )
        assert "not JSON" in third["error"] and fourth["exit_layer"] == 3
    strange = '{"id": "\\ud800", "text": "x"}\n{"id": 1' + "0" * 40 + ', "text": "x"}'
    answers = client.post("/v1/stream?ordered=1", content=strange).text.splitlines()
    assert [json.loads(answer)["id"] for answer in answers] == ["\ud800", 10**40]
    assert client.post("/v1/stream?threshold=x").status_code == 422
    assert client.post("/v1/stream?patience=3").status_code == 422


def test_a_stream_answers_before_it_ends(remote: Remote) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", remote.port, timeout=30)
    connection.putrequest("POST", "/v1/stream")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    sock = connection.sock
    assert sock is not None
    received = b""
    for number in (1, 2):
        line = json.dumps({"text": TEXT, "threshold": 0}).encode() + b"\n"
        # A line may come in pieces.
        for part in (line[:5], line[5:]):
            sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        while received.count(b'"label"') < number:
            received += sock.recv(65536)
    sock.sendall(b"0\r\n\r\n")
    while not received.endswith(b"0\r\n\r\n"):
        received += sock.recv(65536)
    sock.close()


def test_clients_that_go_in_the_middle(remote: Remote, client: Any) -> None:
    for sent in (
        b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
        b"POST /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"tex",
        b"POST /v1/cl",
    ):  # fmt: skip
        with socket.create_connection(("127.0.0.1", remote.port), timeout=10) as connection:
            connection.sendall(sent)
    assert client.get("/healthz").status_code == 200
    assert classified(client, input=TEXT)[0]["label"]


def test_deadlines_in_a_header(client: Any) -> None:
    for value in ("0", "-1", "soon", "nan"):
        response = client.post(
            "/v1/classify", json={"input": TEXT}, headers={"X-Timeout-Ms": value}
        )
        assert response.status_code == 400 and response.json()["field"] == "x-timeout-ms"
    headers = {"X-Timeout-Ms": "60000"}
    response = client.post("/v1/classify", json={"input": TEXT, "threshold": 1}, headers=headers)
    assert "deadline" not in response.json()["data"][0]
    headers = {"X-Timeout-Ms": "0.001"}
    response = client.post("/v1/classify", json={"input": TEXT, "threshold": 1}, headers=headers)
    assert response.json()["data"][0]["exit_layer"] == 0


def test_info_tells_what_is_served(client: Any) -> None:
    content = client.get("/info").json()
    (model,) = content["models"]
    assert model["name"] == "tiny" and model["exit_layers"] == [0, 2, 3]
    assert model["settings"]["threshold"] == {
        "value": pytest.approx(0.9), "low": 0.0, "high": 1.0, "whole": False
    }  # fmt: skip


def test_metrics_count_texts_and_requests(client: Any) -> None:
    parser = pytest.importorskip("prometheus_client.parser")

    def values() -> Dict[Any, float]:
        families = parser.text_string_to_metric_families(client.get("/metrics").text)
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families for sample in family.samples
        }  # fmt: skip

    before = values()
    label = classified(client, input=[TEXT] * 3, **FAST)[0]["label"]
    after = values()

    def grown(*name: str) -> float:
        return after[name] - before.get(name, 0.0)  # type: ignore[index]

    assert grown("sledgehammer_texts_total", *sorted(["tiny", "0", label])) == 3
    assert grown("sledgehammer_requests_total", "200", "classify") == 1
    assert grown("sledgehammer_confidence_count", "0", "tiny") == 3
    assert grown("sledgehammer_batch_rows_sum", "tiny") == 3
    for stage, times in (("queue", 3), ("tokenise", 1), ("exit_0", 1)):
        assert grown("sledgehammer_stage_seconds_count", *sorted([stage, "tiny"])) == times
    assert after["sledgehammer_queue_texts", "tiny"] == 0
    assert after["sledgehammer_unanswered_texts", ""] == 0
