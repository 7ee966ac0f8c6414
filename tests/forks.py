"""A stand-in for the `sledgehammer` command that starts at once: a fork of a process that has
imported everything.

Importing AllenNLP takes longer than most commands of the manual. `serve(folder)` starts the process
and puts an executable `sledgehammer` into the folder, which hands it arguments, working directory and
standard streams, and ends with the command's exit code. The command itself is
`sledgehammer.__main__.main`, as in the console script.
"""

import array
import json
import multiprocessing
import os
import socket
import sys
import traceback
from multiprocessing.connection import wait
from pathlib import Path
from typing import Callable

_CLIENT = """#!{python} -S
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    content = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    streams = array.array("i", [0, 1, 2])
    server.sendmsg([len(content).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    server.sendall(content)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
"""


def serve(folder: Path) -> Callable[[], None]:
    """Put a `sledgehammer` into `folder` that forks; return what stops the process behind it.

    That process also ends with this one, even if this one is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = str(folder / "socket")
    client = folder / "sledgehammer"
    Path(address).unlink(missing_ok=True)
    client.write_text(_CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(listener,))
    process.start()
    listener.close()

    def stop() -> None:
        process.terminate()
        process.join()

    return stop


def _serve(listener: socket.socket) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["OMP_NUM_THREADS"] = "1"  # is read when torch is imported; see `manual.environment`
    import sledgehammer.plugin  # noqa: F401

    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.sentinel not in wait([listener, parent.sentinel]):
        connection, _ = listener.accept()
        if os.fork() == 0:
            _run_as_child(connection)
        connection.close()


def _run_as_child(connection: socket.socket) -> None:
    """Run one command in a fork of its own, which tells the client how it ended."""
    streams = array.array("i")
    length, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * streams.itemsize))
    streams.frombytes(ancillary[0][2][: 3 * streams.itemsize])
    content = b""
    while len(content) < int.from_bytes(length, "big"):
        content += connection.recv(1 << 16)
    arguments, directory, environment = json.loads(content)
    pid = os.fork()
    if pid == 0:
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os._exit(_run(arguments, directory, environment))
    _, status = os.waitpid(pid, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    os._exit(0)


def _run(arguments: list, directory: str, environment: dict) -> int:
    # `multiprocessing` gives its processes another standard input.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["sledgehammer", *arguments]
    sys.path.insert(0, directory)  # where a reader of one's own is found
    from sledgehammer.__main__ import main

    try:
        main()
        return 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
