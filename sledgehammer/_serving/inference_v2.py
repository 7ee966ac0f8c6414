"""The Open Inference Protocol, version 2, as KServe and Triton have it."""

from typing import Any, Dict, List, Sequence

from starlette.requests import Request
from starlette.responses import Response

from sledgehammer import __version__
from sledgehammer._serving.encoding import encoded, json_response
from sledgehammer._serving.inputs import Service, parse_object, read_body, split_fields
from sledgehammer._serving.jobs import DEADLINE, Answer
from sledgehammer._serving.models import ServedModel
from sledgehammer._serving.problems import Problem
from sledgehammer._serving.tensors import (
    BINARY_HEADER,
    header_length,
    output,
    texts_of_tensor,
    to_binary,
)
from sledgehammer.engine.lines import TRUNCATED

EXTENSIONS = ["binary_tensor_data"]

IGNORED = ("binary_data_output", "sequence_id", "sequence_start", "sequence_end", "priority")
"""Parameters of a request that are not settings."""


async def server_metadata(service: Service, request: Request) -> Response:
    """Answer `GET /v2`."""
    return json_response({"name": "sledgehammer", "version": __version__, "extensions": EXTENSIONS})


async def model_metadata(service: Service, request: Request) -> Response:
    """Answer `GET /v2/models/NAME`."""
    model = _model(service, request)
    manifest = model.engine.manifest
    count = len(manifest.labels)
    return json_response(
        {
            "name": model.name,
            "versions": ["1"],
            "platform": f"sledgehammer_{manifest.runtime}",
            "inputs": [_described(name, "BYTES", [-1]) for name in manifest.fields],
            "outputs": [
                _described("label", "BYTES", [-1]),
                _described("probs", "FP32", [-1, count]),
                _described("confidence", "FP32", [-1]),
                _described("exit_layer", "INT64", [-1]),
                _described("layers_run", "INT64", [-1]),
                _described(TRUNCATED, "BOOL", [-1]),
                _described(DEADLINE, "BOOL", [-1]),
                _described("error", "BYTES", [-1]),
            ],
        }
    )


async def model_ready(service: Service, request: Request) -> Response:
    """Answer `GET /v2/models/NAME/ready`."""
    _model(service, request)
    return Response()


async def infer(service: Service, request: Request) -> Response:
    """Answer `POST /v2/models/NAME/infer`; a text that can't be answered has an `error`."""
    deadline = service.deadline(request)
    model = _model(service, request)
    body = await read_body(request, service.limits)
    length = header_length(request.headers.get(BINARY_HEADER), body)
    content = parse_object(body[:length])
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Problem(422, "parameters must be an object", "parameters")
    settings = split_fields(model, parameters, IGNORED)
    items = _texts(model, content, memoryview(body)[length:])
    answers = await service.answers(model, items, settings, deadline, "inputs[0].data")
    wanted = _wanted(content.get("outputs"))
    tensors = _outputs(model, answers)
    if wanted:
        names = [tensor["name"] for tensor in tensors]
        if unknown := [name for name in wanted if name not in names]:
            raise Problem(
                422, f"there is no output {unknown[0]!r:.80}; there are {names}", "outputs"
            )
        tensors = [tensor for tensor in tensors if tensor["name"] in wanted]
    binary = {
        t["name"]: wanted.get(t["name"], parameters.get("binary_data_output")) for t in tensors
    }
    head: Dict[str, Any] = {"model_name": model.name, "model_version": "1"}
    if "id" in content:
        head["id"] = content["id"]
    return _response(head, tensors, [bool(binary[t["name"]]) for t in tensors])


def _model(service: Service, request: Request) -> ServedModel:
    return service.models.get(request.path_params["name"], None)


def _texts(model: ServedModel, content: Dict[str, Any], binary: memoryview) -> List[Any]:
    """Return the texts, or pairs of them, of a request."""
    fields = model.engine.manifest.fields
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise Problem(422, "inputs must be a list of tensors", "inputs")
    columns: Dict[Any, List[Any]] = {}
    for number, tensor in enumerate(inputs):
        texts, size = texts_of_tensor(tensor, binary, f"inputs[{number}]")
        binary = binary[size:]
        columns[str(tensor.get("name"))] = texts
    if len(fields) == 1 and len(columns) == 1:  # whatever its name
        return next(iter(columns.values()))
    if set(columns) != set(fields):
        raise Problem(422, f"inputs must be {', '.join(fields)}", "inputs")
    if len({len(column) for column in columns.values()}) > 1:
        raise Problem(422, "inputs must have the same number of texts", "inputs")
    return [list(row) for row in zip(*(columns[name] for name in fields))]


def _wanted(outputs: Any) -> Dict[str, Any]:
    """Return the outputs that are asked for, and whether each is wanted in binary form."""
    if outputs is None:
        return {}
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise Problem(422, "outputs must be a list of objects with a name", "outputs")
    return {
        str(one.get("name")): (one.get("parameters") or {}).get("binary_data") for one in outputs
    }


def _outputs(model: ServedModel, answers: Sequence[Answer]) -> List[Dict[str, Any]]:
    """Return the output tensors; those of a text without an answer are empty, 0 or -1."""
    rows, labels = len(answers), model.labels
    probs = [
        p for a in answers for p in (a["probs"].values() if "probs" in a else [0.0] * len(labels))
    ]

    def column(name: str, datatype: str, missing: Any) -> Dict[str, Any]:
        return output(name, datatype, [rows], [answer.get(name, missing) for answer in answers])

    return [
        column("label", "BYTES", ""),
        output("probs", "FP32", [rows, len(labels)], probs),
        column("confidence", "FP32", 0.0),
        column("exit_layer", "INT64", -1),
        column("layers_run", "INT64", 0),
        column(TRUNCATED, "BOOL", False),
        column(DEADLINE, "BOOL", False),
        column("error", "BYTES", ""),
    ]


def _response(
    head: Dict[str, Any], tensors: List[Dict[str, Any]], binary: Sequence[bool]
) -> Response:
    parts = []
    for number, (tensor, is_binary) in enumerate(zip(tensors, binary)):
        if is_binary:
            tensors[number], data = to_binary(tensor)
            parts.append(data)
    header = encoded({**head, "outputs": tensors})
    if not parts:
        return Response(header, media_type="application/json")
    return Response(
        b"".join([header, *parts]),
        headers={BINARY_HEADER: str(len(header))},
        media_type="application/octet-stream",
    )


def _described(name: str, datatype: str, shape: List[int]) -> Dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
