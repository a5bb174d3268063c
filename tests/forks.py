"""Two ways in which a server makes its workers: one that tells Python, and one that does not."""

from __future__ import annotations

import subprocess
import sys

FORKS = {"os.fork": "os.fork", "fork in C": "ctypes.PyDLL(None).fork"}
"""The second is what uWSGI does, unless it is told to call Python's hooks."""


def run_with_fork(fork: str, script: str, *arguments: str) -> list[str]:
    """Run *script*, which calls ``fork()``, and return the words that it prints.

    In an interpreter of its own: a child that is forked in C beside another thread may wait for that thread for ever.

    :param fork: a key of :data:`FORKS`.
    """
    program = f"import ctypes, os, signal, sys\nfork = {FORKS[fork]}\n{script}"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
