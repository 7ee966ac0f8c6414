"""Runs commands in forks of a process that has imported everything, and kills them in between.

`python -m tests.killing FOLDER COMMAND MOMENTS SEED` prepares an archive in FOLDER, kills the
command at MOMENTS random moments, each time looks at what is there and runs it again, and prints
what was wrong, a line each.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from tests.conftest import FIXTURES, ROOT

DEV, TRAIN = str(FIXTURES / "sst/dev.txt"), str(FIXTURES / "sst/train.txt")


class Case(NamedTuple):
    """A command that writes `target`."""

    arguments: List[str]
    again: List[str]
    """More arguments for the second try, when there is a target already."""

    target: Path


def cases(folder: Path, archive: Path) -> Dict[str, Case]:
    run, new, engine = folder / "run", folder / "new.tar.gz", folder / "engine"
    source = str(archive)
    return {
        "train": Case(["train", "fixtures/tiny.jsonnet", "-s", str(run)], [], run / "model.tar.gz"),
        "calibrate": Case(["calibrate", source, DEV, "-o", str(new), "--few-rows"], ["--force"], new),
        "prune": Case(
            ["prune", source, TRAIN, "-o", str(new), "--width", "0.5", "--validation", DEV],
            ["--force"], new,
        ),
        "tradeoff": Case(
            ["tradeoff", source, DEV, "--min-speedup", "1", "--write", str(new)], ["--force"], new
        ),
        "export": Case(["export", source, str(engine)], ["--force"], engine),
    }  # fmt: skip


def run(arguments: List[str], log: Path, seconds: Optional[float] = None) -> Optional[int]:
    """Run `allennlp ARGUMENTS` in a fork; kill it after so long, and return its exit code if not."""
    child = os.fork()
    if child == 0:
        _become(arguments, log)
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _become(arguments: List[str], log: Path) -> None:
    from allennlp.commands import main

    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["allennlp", *arguments]
        main(prog="allennlp")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def problems(
    case: Case, folder: Path, moments: int, seed: int, is_whole: Callable[[Path], None]
) -> Iterator[str]:
    """Yield what is wrong after each kill, and after the run that follows it."""
    log, generator = folder / "log", random.Random(seed)
    start = time.monotonic()
    if code := run(case.arguments, log):
        yield f"undisturbed: exit code {code}: {log.read_text()[-500:]}"
        return
    duration = time.monotonic() - start
    for number in range(moments):
        # Much is computed for long and then written at the end.
        share = generator.uniform(0.7 if number % 2 else 0.0, 1.0)
        if case.arguments[0] == "train":
            _remove(case.target.parent)
        again = case.again if case.target.exists() else []
        run(case.arguments + again, log, share * duration)
        where = f"killed after {share:.0%} of {duration:.1f} s"
        if case.target.exists():
            yield from (f"{where}: {problem}" for problem in _broken(case.target, is_whole))
        elif again:
            yield f"{where}: the old target is gone"
        code = run(case.arguments + _again(case), log)
        if code:
            yield f"{where}, then again: exit code {code}: {log.read_text()[-800:]}"
        yield from (f"{where}, then again: {p}" for p in _broken(case.target, is_whole))
        left = [*folder.rglob("*.part"), *folder.rglob("*.old")]
        if left:
            yield f"{where}, then again: {left} are left"


def _again(case: Case) -> List[str]:
    if case.arguments[0] != "train":
        return case.again if case.target.exists() else []
    states = list(case.target.parent.glob("training_state_*"))
    return ["--recover"] if states or case.target.exists() else []


def _broken(target: Path, is_whole: Callable[[Path], None]) -> Iterator[str]:
    try:
        is_whole(target)
    except Exception as error:
        yield f"{target.name} is not whole: {error}"


def _remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _check(target: Path) -> None:
    from sledgehammer.engine import manifest
    from sledgehammer.support import tars

    if target.is_dir():
        manifest.read(target)
        return
    names = set(tars.read_files(target, lambda name: True))
    assert {"config.json", "weights.th"} <= names, names


def main(folder: Path, command: str, moments: int, seed: int) -> Tuple[int, List[str]]:
    import torch
    from allennlp.common.plugins import import_plugins

    import sledgehammer.plugin  # noqa: F401

    os.chdir(ROOT)
    torch.set_num_threads(1)
    import_plugins()
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    base = folder / "base"
    if code := run(["train", "fixtures/tiny.jsonnet", "-s", str(base)], folder / "log"):
        return moments, [f"train: exit code {code}: {(folder / 'log').read_text()[-500:]}"]
    case = cases(folder, base / "model.tar.gz")[command]
    return moments, list(problems(case, folder, moments, seed, _check))


if __name__ == "__main__":
    tried, wrong = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    print("\n".join(wrong) or f"{tried} moments: nothing wrong")
    sys.exit(bool(wrong))
