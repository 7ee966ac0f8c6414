"""What happens before AllenNLP is there."""

import subprocess
import sys

import pytest

from sledgehammer.__main__ import main
from sledgehammer.support import missing_allennlp as requirements
from tests.conftest import ROOT


def test_missing_allennlp_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install .*allennlp==2.10.1 allennlp-models==2"):
        requirements.require_allennlp()


def test_importing_the_package_loads_neither_allennlp_nor_torch() -> None:
    code = "import sys, sledgehammer; sys.exit(bool({'torch', 'allennlp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_console_script_ends_with_the_command_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["sledgehammer", "train", "config.jsonnet"])
    with pytest.raises(SystemExit, match=r"(?s)^sledgehammer: error: .*pip install"):
        main()
