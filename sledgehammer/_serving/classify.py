"""`POST /v1/classify`, as vLLM and SGLang have it."""

import time
import uuid
from typing import Any, Dict, List

from starlette.requests import Request
from starlette.responses import Response

from sledgehammer._serving.encoding import json_response
from sledgehammer._serving.inputs import Service, read_object, split_fields
from sledgehammer._serving.jobs import Answer
from sledgehammer._serving.models import ServedModel
from sledgehammer._serving.problems import Problem

FIELDS = (
    "model", "input", "trace", "user", "priority", "request_id", "truncate_prompt_tokens", "softmax",
    "activation", "use_activation", "add_special_tokens", "encoding_format", "dimensions",
)  # fmt: skip
"""The fields of a request. Those after `trace` are taken from other servers' clients and ignored."""


async def classify(service: Service, request: Request) -> Response:
    """Answer a request of the form `{"model": NAME, "input": TEXT or [TEXT, ...]}`.

    With `"trace": true` an answer also has `exits`, what each exit said on the way.
    """
    deadline = service.deadline(request)
    content = await read_object(request, service.limits)
    model = service.models.get(content.get("model"))
    settings = split_fields(model, content, FIELDS)
    items = texts_in(model, content)
    traced = content.get("trace", False)
    if not isinstance(traced, bool):
        raise Problem(422, "trace must be true or false", "trace")
    answers = await service.answers(model, items, settings, deadline, "input", traced)
    return json_response(_response(model, answers))


def texts_in(model: ServedModel, content: Dict[str, Any]) -> List[Any]:
    """Return the texts of a request; a lone one, or a lone pair, needs no list around it.

    # Raises

    `Problem` 422 if there are none.
    """
    if "input" not in content:
        raise Problem(422, "missing field 'input': a text or a list of them", "input")
    given = content["input"]
    if isinstance(given, (str, dict)):
        return [given]
    if not isinstance(given, list) or not given:
        raise Problem(422, "input must be a text or a list of them", "input")
    fields = model.engine.manifest.fields
    is_pair = len(fields) == 2 and len(given) == 2 and all(isinstance(x, str) for x in given)
    return [given] if is_pair else given


def _response(model: ServedModel, answers: List[Answer]) -> Dict[str, Any]:
    tokens = sum(answer.get("tokens", 0) for answer in answers)
    return {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": model.name,
        "data": [_datum(index, answer) for index, answer in enumerate(answers)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def _datum(index: int, answer: Answer) -> Dict[str, Any]:
    if "error" in answer:
        return {"index": index, "error": answer["error"]}
    rest = {name: value for name, value in answer.items() if name not in ("label", "probs")}
    probs = list(answer["probs"].values())
    return {
        "index": index, "label": answer["label"], "probs": probs, "num_classes": len(probs), **rest
    }  # fmt: skip
