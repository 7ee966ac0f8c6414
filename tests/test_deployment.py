"""The container and its composition, as far as they can be checked without building them."""

import json
import re
import shlex
from typing import Any, Dict, List, Tuple

import pytest

from tests.conftest import ROOT

yaml = pytest.importorskip("yaml")


def instructions() -> List[Tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def composition() -> Dict[str, Any]:
    loaded: Dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_the_last_stage_runs_as_nobody_in_particular() -> None:
    names = [name for name, _ in instructions()]
    last = instructions()[len(names) - 1 - names[::-1].index("FROM") :]
    order = [name for name, _ in last]
    user = dict(last)["USER"]
    assert user.isdigit() and int(user) > 0, "a number, so that an orchestrator can check it"
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert "/readyz" in dict(last)["HEALTHCHECK"]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for name, arguments in instructions():
        if name != "COPY" or "--from" in arguments:
            continue
        for source in shlex.split(arguments)[:-1]:
            assert (ROOT / source).exists() and f"!{source}" in ignored


def test_it_installs_what_serving_needs_and_not_what_training_needs() -> None:
    (installed,) = [a for name, a in instructions() if name == "RUN" and "pip install" in a]
    packages = {word.strip('"').lower() for word in shlex.split(installed)}
    text = (ROOT / "setup.py").read_text()
    listed = re.search(r"^SERVE = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert listed is not None
    wanted = {re.split(r"[><=;\[]", s)[0] for s in re.findall(r'"([^"]+)"', listed[1])}
    assert {"numpy", "tokenizers", "${runtime}", *wanted} <= packages
    assert not packages & {"torch", "allennlp", "transformers"}


def test_the_entry_point_is_a_command_line_of_the_server() -> None:
    from sledgehammer._serving import cli  # which imports no library of the server

    lines = {name: json.loads(a) for name, a in instructions() if name in ("ENTRYPOINT", "CMD")}
    for command in (lines["CMD"], composition()["services"]["sledgehammer"]["command"]):
        program, subcommand, *arguments = [*lines["ENTRYPOINT"], *command]
        assert (program, subcommand) == ("sledgehammer", "serve")
        parsed = cli._parser().parse_args(arguments)
        assert parsed.host == "0.0.0.0" and cli._directories(parsed.models)


def test_services_are_published_on_this_machine_only_and_mounts_exist() -> None:
    content = composition()
    for service in content["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file()
            elif not source.startswith("${"):
                assert source in content["volumes"]


def test_prometheus_asks_the_server_where_it_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["sledgehammer:8000"]}]
    assert job.get("metrics_path", "/metrics") == "/metrics"
    exposed = [a for name, a in instructions() if name == "EXPOSE"]
    assert exposed == ["8000"] and "sledgehammer" in composition()["services"]
