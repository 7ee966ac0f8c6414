"""`POST /predict`, as Hugging Face's Text Embeddings Inference has it."""

import math
from typing import Any, Dict, List, Tuple

from starlette.requests import Request
from starlette.responses import Response

from sledgehammer._serving.encoding import json_response
from sledgehammer._serving.inputs import Service, read_object, split_fields
from sledgehammer._serving.jobs import Answer
from sledgehammer._serving.models import ServedModel
from sledgehammer._serving.problems import Problem
from sledgehammer.engine.lines import TRUNCATED

FIELDS = ("model", "inputs", "raw_scores", "truncate", "truncation_direction", "parameters")

SMALLEST = 1e-38
"""Stands for probabilities that are 0 in single precision, so that their logarithm is a number."""


async def predict(service: Service, request: Request) -> Response:
    """Answer a request of the form `{"inputs": TEXT, PAIR or BATCH}`.

    Labels come with their scores, the highest first; `raw_scores` are logarithms of the calibrated
    probabilities, which are the calibrated logits but for a constant. `truncate: false` refuses
    texts that are too long.
    """
    deadline = service.deadline(request)
    content = await read_object(request, service.limits)
    model = service.models.get(content.get("model"))
    for name in ("raw_scores", "truncate"):
        if not isinstance(content.get(name, False), bool):
            raise Problem(422, f"{name} must be true or false", name)
    settings = split_fields(model, content, FIELDS)
    items, is_batch = texts_in(model, content)
    answers = await service.answers(model, items, settings, deadline, "inputs")
    raw, truncate = content.get("raw_scores", False), content.get("truncate", True)
    results = [_scores(model, answer, raw, truncate) for answer in answers]
    if not is_batch and isinstance(results[0], dict):
        raise Problem(413, results[0]["error"], "inputs")
    return json_response(results if is_batch else results[0])


def texts_in(model: ServedModel, content: Dict[str, Any]) -> Tuple[List[Any], bool]:
    """Return the texts of a request, and whether they are a batch.

    A list of two strings is a pair for a model of pairs, and a batch for others. Texts of a batch
    may stand in lists of their own.

    # Raises

    `Problem` 422 if there are none.
    """
    given = content.get("inputs")
    pairs = len(model.engine.manifest.fields) == 2
    if isinstance(given, (str, dict)):
        return [given], False
    if not isinstance(given, list) or not given:
        raise Problem(422, "inputs must be a text, a pair of texts, or a list of them", "inputs")
    if pairs and len(given) == 2 and all(isinstance(text, str) for text in given):
        return [given], False
    return [x[0] if isinstance(x, list) and len(x) == 1 else x for x in given], True


def _scores(model: ServedModel, answer: Answer, raw: bool, truncate: bool) -> Any:
    if "error" in answer:
        return {"error": answer["error"]}
    if TRUNCATED in answer and not truncate:
        longest = model.engine.manifest.max_length
        return {"error": f"the text has more than {longest} word pieces; send truncate: true"}
    ordered = sorted(answer["probs"].items(), key=lambda item: -item[1])
    return [
        {"label": label, "score": math.log(max(p, SMALLEST)) if raw else p} for label, p in ordered
    ]
