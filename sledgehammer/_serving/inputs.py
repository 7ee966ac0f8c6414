"""Read requests: their bodies, texts, settings and deadlines."""

import asyncio
import difflib
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from starlette.requests import ClientDisconnect, Request

from sledgehammer._serving.dispatcher import Dispatcher
from sledgehammer._serving.encoding import decoded
from sledgehammer._serving.jobs import Answer, Gathering, Job
from sledgehammer._serving.models import Models, ServedModel
from sledgehammer._serving.options import Limits
from sledgehammer._serving.problems import Problem
from sledgehammer.policies import ExitPolicy, RowSettings
from sledgehammer.support.jsonl import described, present_name, text_or_pair, texts_of

TIMEOUT = "x-timeout-ms"
"""The header with a deadline of the request's own, in milliseconds."""


@dataclass
class Service:
    """Hold what all protocols share.

    # Parameters

    models : `Models`
    dispatcher : `Dispatcher`
    limits : `Limits`
    timeout : `float`, optional
        Seconds until the deadline of requests that have none of their own.
    """

    models: Models
    dispatcher: Dispatcher
    limits: Limits
    timeout: Optional[float] = None

    async def answers(
        self,
        model: ServedModel,
        items: Sequence[Any],
        settings: Mapping[str, Any],
        deadline: Optional[float],
        field: str,
        traced: bool = False,
    ) -> List[Answer]:
        """Return an answer, or `{"error": ...}`, for each text.

        # Parameters

        items : `Sequence[Any]`
            Strings, pairs of them, or objects with the texts and settings of their own.
        settings : `Mapping[str, Any]`
            The policy's settings for all texts, or a list with one a text.
        field : `str`
            What errors call the texts.
        traced : `bool`, optional (default = `False`)
            Whether answers tell what each exit said.

        # Raises

        `Problem` if no text can be answered, a setting is invalid, or there is no room.
        """
        if len(items) > self.limits.texts:
            raise Problem(
                413, f"at most {self.limits.texts} texts a request, got {len(items)}", field
            )
        shared = checked_settings(model, settings, len(items))
        gathering, jobs = Gathering(len(items)), []
        for index, item in enumerate(items):
            try:
                own = shared.of([index])
                jobs.append(self.job(model, item, own, deadline, gathering.done, index))
            except ValueError as error:
                gathering.known(index, {"error": str(error)})
        if items and not jobs:
            where = field if len(items) == 1 else f"{field}[0]"
            raise Problem(422, gathering.answers[0]["error"], where)
        for job in jobs if traced else ():
            job.traced = True
        self.dispatcher.submit(model, jobs)
        return await gathering.wait()

    def job(
        self,
        model: ServedModel,
        item: Any,
        shared: RowSettings,
        deadline: Optional[float],
        done: Any,
        number: int = 0,
    ) -> Job:
        """Return the job of a text, which errors call by its number.

        # Raises

        `ValueError` if it is not one, or has an unknown field or an invalid setting.
        """
        settings = shared
        if isinstance(item, dict):
            item, own = split_item(model, item)
            if own:
                settings = model.engine.policy.settings_for(own, base=shared)
        text = model.engine.tokenizer.checked(item, number)
        for part in (text,) if isinstance(text, str) else text:
            if len(part) > self.limits.characters:
                raise ValueError(
                    f"a text has {len(part)} characters; at most {self.limits.characters} can be "
                    "answered"
                )
        return Job(text, settings, deadline, done, number)

    def deadline(self, request: Request) -> Optional[float]:
        """Return when a request must be answered, in `time.monotonic()`, if at some time.

        # Raises

        `Problem` 400 for a header that is not a positive number.
        """
        header = request.headers.get(TIMEOUT)
        if header is None:
            return None if self.timeout is None else time.monotonic() + self.timeout
        try:
            milliseconds = float(header)
        except ValueError:
            milliseconds = -1.0
        if not 0 < milliseconds < 1e9:
            raise Problem(400, f"{TIMEOUT} must be a positive number, got {header!r:.80}", TIMEOUT)
        return time.monotonic() + milliseconds / 1000


def split_item(model: ServedModel, item: Dict[str, Any]) -> "tuple[Any, Dict[str, Any]]":
    """Return the text or texts of an object, and the settings in it.

    # Raises

    `ValueError` for a missing text or a field that nothing uses.
    """
    fields = model.engine.manifest.fields
    texts = texts_of(item, fields)
    names = {present_name(item, name) for name in fields}
    own = {name: value for name, value in item.items() if name not in names}
    for name in own:
        if name not in model.engine.policy.settings:
            raise ValueError(unknown_field(name, [*model.engine.policy.settings, *fields]))
    return text_or_pair(texts), own


def unknown_field(name: str, known: Sequence[str]) -> str:
    """Return the error about a field that nothing uses."""
    similar = difflib.get_close_matches(name[:80], known, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else "leave it out"
    return f"unknown field {described(name)}: {hint}"


def checked_settings(model: ServedModel, given: Mapping[str, Any], texts: int) -> RowSettings:
    """Return the settings of a request's texts.

    # Raises

    `Problem` 422 that names the setting for an unknown one or an invalid value.
    """
    if not given:
        return model.defaults
    policy = model.engine.policy
    try:
        return policy.settings_for(given, texts)
    except ValueError as error:
        raise Problem(422, str(error), _wrong_setting(policy, given, texts)) from error


def _wrong_setting(policy: ExitPolicy, given: Mapping[str, Any], texts: int) -> Optional[str]:
    """Return the name of the first setting that is wrong by itself."""
    for name, value in given.items():
        try:
            policy.settings_for({name: value}, texts)
        except ValueError:
            return name
    return None


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    # Raises

    `Problem` 413 if it is too large, 408 if it takes too long to arrive.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = loop.call_later(limits.body_seconds, give_up)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limits.body:
                raise Problem(413, f"the body must have at most {limits.body} bytes")
            parts.append(part)
    except asyncio.CancelledError:
        if late:
            raise Problem(408, f"the body did not arrive in {limits.body_seconds:g} s") from None
        raise
    except ClientDisconnect as error:
        raise Problem(400, "the connection was closed in the middle of the body") from error
    finally:
        timer.cancel()
    return b"".join(parts)


async def read_object(request: Request, limits: Limits) -> Dict[str, Any]:
    """Return the JSON object that is a request's body.

    # Raises

    `Problem` 400 if it is not one; and see `read_body`.
    """
    return parse_object(await read_body(request, limits))


def parse_object(body: bytes) -> Dict[str, Any]:
    """Return the JSON object of a body, or raise a `Problem` 400."""
    try:
        content = decoded(body)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error!s:.200}") from error
    if not isinstance(content, dict):
        raise Problem(400, f"the body must be a JSON object, got {described(content)}")
    return content


def split_fields(
    model: ServedModel, content: Dict[str, Any], known: Sequence[str]
) -> Dict[str, Any]:
    """Return the settings among the fields of a request.

    # Parameters

    known : `Sequence[str]`
        The fields that the protocol has.

    # Raises

    `Problem` 422 for a field that is neither known nor a setting.
    """
    settings = model.engine.policy.settings
    given = {name: value for name, value in content.items() if name not in known}
    for name in given:
        if name not in settings:
            raise Problem(422, unknown_field(name, [*settings, *known]), name)
    return given
