"""Runs commands as the program does, each in a process of its own, which is forked from one that has loaded all modules before.

A start of the interpreter and its imports cost a second of CPU, a hundred times as much as what most commands do. That the
program starts without any help is what the tests see that start servers, and those of `tests/platform` that say `PROGRAM`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

TIMEOUT_S = 60
"""After which a command is ended; none takes more than seconds."""

_one_at_a_time = threading.Lock()


def headwater(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `headwater` with these arguments and nothing on its standard input; environ: by default that of the tests."""
    asked = {"arguments": arguments, "environ": dict(os.environ if environ is None else environ), "folder": str(Path.cwd())}
    with _one_at_a_time:
        server = _fork_server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
    assert answer, "the process from which commands are forked has died"
    return subprocess.CompletedProcess(["headwater", *arguments], **json.loads(answer))


@functools.cache
def _fork_server() -> subprocess.Popen[str]:
    """It ends when its standard input does, with the test process at the latest."""
    command = [sys.executable, "-P", __file__]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    """Answer each line on standard input, one after the other."""
    import gc
    import importlib

    from headwater.cli import main

    for module in ("alembic.command", "alembic.config", "aiosqlite", "headwater.observe.log", "headwater.platform"):
        importlib.import_module(module)
    for arguments in (["version"], ["up", "--help"]):  # what reads the command line loads the rest of itself when it does
        sys.argv = ["headwater", *arguments]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            main()
    gc.freeze()
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _run(json.loads(line), out, err)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(json.dumps({"returncode": code, "stdout": _text(out), "stderr": _text(err)}), flush=True)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _run(asked: dict[str, object], out: IO[bytes], err: IO[bytes]) -> None:
    """Be the program, and end with its exit code."""
    import signal
    import traceback

    from headwater.cli import main

    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (out.fileno(), 1), (err.fileno(), 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(asked["environ"])  # type: ignore[call-overload]
        os.chdir(str(asked["folder"]))
        sys.argv = ["headwater", *asked["arguments"]]  # type: ignore[misc]
        signal.alarm(TIMEOUT_S)
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
