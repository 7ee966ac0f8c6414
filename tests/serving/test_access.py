"""Who may ask, from where, and how much."""

import asyncio
import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import pytest

from tests.serving.servers import ENGINE, TEXT, Local, Remote, httpx

from sledgehammer.engine import EngineError  # isort: skip
from sledgehammer._serving.access import Keys  # isort: skip
from sledgehammer._serving.options import Access, Limits  # isort: skip

ASKED = {"input": TEXT}


def request(local: Local, method: str, path: str, **options: Any) -> Any:
    """Send one request to a server in this process."""

    async def send() -> Any:
        async with local.client() as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text("# of the shop\nsecret-one\n\n  secret-two  \n")
    return file


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"Authorization": "Bearer secret-one"}, 200),
        ({"authorization": "bearer secret-two"}, 200),
        ({"X-API-Key": "secret-one"}, 200),
        ({"Authorization": "Bearer secret-three"}, 401),
        ({"Authorization": "Basic secret-one"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"X-API-Key": "# of the shop"}, 401),
    ],
)
def test_keys(
    local: Callable[..., Local], keys: Path, headers: Dict[str, str], status: int
) -> None:
    started = local(access=Access(key_file=keys))
    response = request(started, "POST", "/v1/classify", json=ASKED, headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["detail"].startswith("a valid API key is needed")
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/v2/health/live"):
        assert request(started, "GET", path).status_code == 200, "needs no key"
    for path in ("/metrics", "/info", "/v2/models/tiny"):
        assert request(started, "GET", path, headers=headers).status_code == status


def test_keys_are_read_anew_and_a_bad_file_changes_nothing(
    local: Callable[..., Local], keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = local(access=Access(key_file=keys))

    def status(key: str) -> int:
        return int(request(started, "GET", "/info", headers={"X-API-Key": key}).status_code)

    async def reload() -> None:
        await started.server.reload()

    keys.write_text("other\n")
    asyncio.run(reload())
    assert status("other") == 200 and status("secret-one") == 401
    keys.write_text("# nothing\n")
    asyncio.run(reload())
    assert status("other") == 200 and "the old keys stay valid" in caplog.text


def test_all_keys_are_compared_in_constant_time(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(given: bytes, key: bytes) -> bool:
        compared.append((len(given), len(key)))
        return given == key

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert Keys(keys).admit([(b"x-api-key", b"secret-one")])
    assert compared == [(32, 32)] * 2, "all of them, whatever the lengths of the keys"


def test_a_file_without_keys_would_let_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    with pytest.raises(EngineError, match="has no API key"):
        Keys(tmp_path / "keys")
    with pytest.raises(FileNotFoundError):
        Keys(tmp_path / "none")


@pytest.mark.parametrize(
    "host, status", [("localhost:8000", 200), ("[::1]:80", 200), ("evil.example", 421)]
)
def test_web_pages_under_another_name_are_refused(
    local: Callable[..., Local], host: str, status: int
) -> None:
    started = local(access=Access(hosts=("localhost", "127.0.0.1", "[::1]")))
    assert request(started, "GET", "/info", headers={"Host": host}).status_code == status


def test_scripts_of_other_pages_only_from_the_allowed_origin(local: Callable[..., Local]) -> None:
    def allowed(started: Local, origin: str) -> Optional[str]:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST",
                   "Access-Control-Request-Headers": "x-timeout-ms"}  # fmt: skip
        response = request(started, "OPTIONS", "/v1/classify", headers=headers)
        return response.headers.get("access-control-allow-origin")  # type: ignore[no-any-return]

    started = local(access=Access(origins=("https://shop.example",)))
    assert allowed(started, "https://shop.example") == "https://shop.example"
    assert allowed(started, "https://evil.example") is None
    assert allowed(local(), "https://shop.example") is None


def test_bodies_that_are_too_large(local: Callable[..., Local]) -> None:
    started = local(limits=Limits(body=100))

    async def parts() -> Any:
        for _ in range(20):
            yield b" " * 10

    said = request(started, "POST", "/v1/classify", json={"input": "x" * 200})
    unsaid = request(started, "POST", "/v1/classify", content=parts())
    for response in (said, unsaid):
        assert response.status_code == 413 and "at most 100 bytes" in response.json()["detail"]
    lines = b'{"text": "' + b"x" * 500 + b'"}\n{"text": "a"}'
    answers = request(started, "POST", "/v1/stream?ordered=1", content=lines).text.splitlines()
    assert "at most 100 bytes" in answers[0] and "label" in answers[1], "a limit for each line"


def test_a_body_that_does_not_come(local: Callable[..., Local]) -> None:
    started = local(limits=Limits(body_seconds=0.05))

    async def parts() -> Any:
        yield b'{"input"'
        await asyncio.sleep(30)

    response = request(started, "POST", "/v1/classify", content=parts())
    assert response.status_code == 408


def test_nothing_is_logged_of_a_text(
    local: Callable[..., Local], caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    started = local()
    request(started, "POST", "/v1/classify", json={"input": [TEXT, {"text": TEXT, "x": 1}]})
    started.server.service.models.get = None  # type: ignore[method-assign, assignment]
    assert request(started, "POST", "/v1/classify", json=ASKED).status_code == 500
    shown = capsys.readouterr()
    assert "bees" not in caplog.text + shown.out + shown.err
    assert "TypeError at" in caplog.text


def test_tls(serve: Callable[..., Remote], tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("needs openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    started = serve(f"tiny={ENGINE}", "--tls-cert", cert, "--tls-key", key)
    assert started.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(cert))
    with httpx.Client(base_url=started.url, verify=context) as client:
        assert client.post("/v1/classify", json=ASKED).status_code == 200
