"""`python -m tests`: every test file is in one group, and no failure goes unseen."""

from collections import Counter
from pathlib import Path

import pytest

from tests.__main__ import NO_TESTS, TESTS, groups, main, run

QUIET = ["-p", "no:cacheprovider"]


def test_every_file_is_in_one_group() -> None:
    files: Counter[Path] = Counter()
    for path in (Path(path) for group in groups() for path in group):
        files.update(path.rglob("test_*.py") if path.is_dir() else [path])
    assert files == Counter(TESTS.rglob("test_*.py"))


def test_longest_come_first(tmp_path: Path) -> None:
    for name in ("a", "commands"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    for name in ("test_a.py", "test_b.py", "test_manual.py"):
        (tmp_path / name).touch()
    named = [
        [str(Path(path).relative_to(tmp_path)) for path in group] for group in groups(tmp_path)
    ]
    assert named == [["test_manual.py"], ["commands"], ["a"], ["test_a.py"], ["test_b.py"]]


@pytest.mark.parametrize(
    "body, code, counts",
    [
        ("def test_a(): pass\ndef test_b(): assert 0", 1, {"passed": 1, "failures": 1}),
        ("import pytest\npytest.skip('none', allow_module_level=True)", NO_TESTS, {"skipped": 1}),
        ("import os\ndef test_a(): os._exit(3)", 3, {}),
    ],
    ids=["fails", "skipped", "dies"],
)
def test_outcome_of_a_group(body: str, code: int, counts: "dict[str, int]", tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(body)
    outcome = run([str(file)], [*QUIET, f"--rootdir={tmp_path}"])
    assert outcome.code == code
    assert +outcome.counts == Counter(counts)


def test_failures_of_all_groups_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "test_a.py").write_text("def test_one(): pass\ndef test_two(): assert 0")
    (tmp_path / "test_b.py").write_text(
        "import os\ndef test_one(): pass\ndef test_two(): os._exit(3)"
    )
    options = [*QUIET, f"--rootdir={tmp_path}"]
    assert main(["--processes", "2", *options], tmp_path) == 1
    told = capsys.readouterr().out
    assert "test_a.py (exit code 1)" in told and "test_b.py (exit code 3)" in told
    assert "1 failures" in told and "1 passed" in told  # what died could not report
    assert main(["--processes", "2", "-k", "one", *options], tmp_path) == 0
    assert main(["-k", "none_of_them", *options], tmp_path) == 1, "nothing ran"
