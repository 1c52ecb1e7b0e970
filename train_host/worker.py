"""A process that is measured: it answers questions, one line each."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from device.errors import ExportError

ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """A Python module in a process of its own.

    Each line that it reads is a word, and it answers each with a number in a line.
    """

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        """`name`: what it measures, for the user."""
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: str) -> float:
        """The answer in its unit. Raises ExportError when the process has ended."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        with contextlib.suppress(BrokenPipeError):
            print(question, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            said = self._process.stderr.read().strip().splitlines() or ["no reason given"]
            raise ExportError(f"{self._name} cannot be measured: {said[-1]}")
        return float(answer)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def count_instructions(question: str, name: str, module: str, *arguments: str) -> int:
    """The instructions that such a module takes to answer a question, counted by valgrind.

    No other work on the machine disturbs them. What the module does before it
    answers is left out: the question is put once, and twice in another
    process. Raises ExportError without valgrind or when the process fails.
    """
    if shutil.which("valgrind") is None:
        raise ExportError("valgrind counts the instructions; install it: apt-get install valgrind")
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    totals = []
    for times in (1, 2):
        done = subprocess.run(
            [*command, sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            # Both begin alike: neither compiles modules for the other.
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            input=f"{question}\n" * times,
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not found:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise ExportError(f"{name} cannot be run under valgrind: {said[-1]}")
        totals.append(int(found[1]))
    return totals[1] - totals[0]
