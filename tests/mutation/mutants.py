"""Would the tests notice? Change the code in one small way at a time, and show what no test fails on.

Run by hand at the root of the checkout, on a system that can fork: ``python tests/mutation/mutants.py``
for every module of :data:`TESTS`, or with ``--help``. It works on a copy in the temporary folder, and
a seed chooses the sample, so a run can be repeated. A first run without a mutant loads every library
and times the tests; each mutant then gets a fork of that process, where the tests that noticed most
come first, then the quick ones. A mutant that cannot be imported does not count, and a test that takes
much more CPU time than before has noticed. What no program sees stays as it is.

Survivors that change nothing a test could see are listed, with the reason, in ``survivors.tsv`` beside
this file: module, line before, line after, reason. The exit code is 1 if one survives that is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gc
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import HealthCheck, Phase, settings
from mutations import mutants

REWRITE = "test_rewrite.py test_rewrite_properties.py"
REWRITING = {
    **dict.fromkeys(("proof", "rewrite", "template"), REWRITE),
    "scan": f"{REWRITE} test_scan.py",
}
BODIES = "bodies links placeholders services review links_worth_tracking options text"
TESTS = {
    "tokens": ["tests/test_tokens.py", "tests/test_golden.py"],
    "destination": ["tests/test_destination.py"],
    "syntax": [f"tests/outgoing/rewriting/{k}" for k in REWRITING["scan"].split()],
    **{
        f"outgoing/rewriting/{name}": [f"tests/outgoing/rewriting/{k}" for k in tests.split()]
        for name, tests in REWRITING.items()
    },
    "outgoing/bodies": [f"tests/outgoing/test_{k}.py" for k in BODIES.split()],
    "outgoing/text": ["tests/outgoing/test_text_links.py", "tests/outgoing/test_text.py"],
}
"""Which tests a module has to answer to."""

EXAMPLES = 80
"""Of a property at most; what they hold by chance is no test that one can rely on."""
HYPOTHESIS = "_hypothesis_internal_use_settings"
CLOCKS = {"cpu_seconds", "process_time", "perf_counter"}
PYTEST = [
    "-xq",
    "--tb=no",
    "-pno:randomly",
    "-pno:cacheprovider",
    "--hypothesis-profile=quick",
    "-Wignore:Module already imported",
]


class Mutant(SourceFileLoader):
    """Finds and loads one module, from another text than its file's."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(path.removesuffix(".py").replace("/", "."), path)
        self.text = text

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Answer for that module, and for no other."""
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """Compile the text, and look at no file."""
        return compile(self.text, self.path, "exec")


class Order:
    """A plugin for pytest: the tests that noticed most come first, and none has all the time in the world."""

    def __init__(self, seconds: Counter[str] | None = None) -> None:
        self._patient = seconds is None
        self.seconds = seconds or Counter()
        self.kills: Counter[str] = Counter()
        self.noticed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests, without those that hold a clock: they need a quiet machine, and slow is not wrong."""
        items[:] = [item for item in items if not CLOCKS & set(item.obj.__code__.co_names)]  # type: ignore[attr-defined]
        for item in items:
            if use := getattr(item.obj, HYPOTHESIS, None):  # type: ignore[attr-defined]
                few = settings(use, max_examples=min(use.max_examples, EXAMPLES))
                setattr(item.obj, HYPOTHESIS, few)  # type: ignore[attr-defined]
        items.sort(key=lambda item: (-self.kills[item.nodeid], self.seconds[item.nodeid]))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Let a test of a mutant have ten times its time of the first run, and two seconds; the signal ends it all."""
        if not self._patient:
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 + 10 * self.seconds[nodeid])
        self.noticed = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up what a test takes."""
        self.seconds[report.nodeid] += report.duration


class Trial:
    """The mutants of one module before its tests."""

    def __init__(self, path: str, tests: list[str]) -> None:
        self.path = path
        self.source = Path(path).read_text(encoding="utf-8")
        self.mutants = list(mutants(self.source))
        self._tests = tests
        first = Order()
        assert pytest.main([*PYTEST, *tests], [first]) == 0, "the tests fail without a mutant"
        self._order = Order(first.seconds)
        here = os.getcwd()
        for name, module in list(sys.modules.items()):  # ours are to be loaded anew for each mutant
            if str(getattr(module, "__file__", None)).startswith(here):
                del sys.modules[name]
        gc.freeze()

    def results(self, chosen: list[tuple[int, str]], jobs: int) -> Iterator[tuple[int, str, bool | None, str]]:
        """Try mutants, some at a time; with each, whether it survived, and else the test that noticed."""
        running: dict[int, tuple[int, str, int]] = {}
        waiting = chosen[::-1]
        while waiting or running:
            while waiting and len(running) < jobs:
                line, text = waiting.pop()
                reader, writer = os.pipe()
                if not (child := os.fork()):
                    self._try(text, writer)
                os.close(writer)
                running[child] = (line, text, reader)
            child, status = os.wait()
            line, text, reader = running.pop(child)
            with open(reader, encoding="utf-8") as said:
                test = said.read().rpartition("\n")[2]
            code = os.waitstatus_to_exitcode(status)
            if code not in (0, 99):
                self._order.kills[test] += 1
            yield line, text, None if code == 99 else code == 0, test

    def _try(self, text: str, writer: int) -> None:
        """Run the tests in a child process, and tell the parent which was the last; 99 is no code of pytest's."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        signal.setitimer(signal.ITIMER_VIRTUAL, 5)
        mutant = Mutant(self.path, text)
        sys.meta_path.insert(0, mutant)  # type: ignore[arg-type]
        with contextlib.suppress(Exception):
            importlib.import_module(mutant.name)
            gc.disable()
            code = int(pytest.main([*PYTEST, f"--basetemp=../{os.getpid()}", *self._tests], [self._order]))
            os.write(writer, self._order.noticed.encode())
            os._exit(code)
        os._exit(99)


def excused() -> set[tuple[str, str, str]]:
    """Read which survivors are known: module, and its line before and after."""
    with Path(__file__).with_name("survivors.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(module, before, after) for module, before, after, _ in rows}


def examine(path: str, tests: list[str], options: argparse.Namespace) -> int:
    """Try a sample of a module's mutants, print what is to be known, and return how many survive without an excuse."""
    trial, known = Trial(path, tests), excused()
    chosen = trial.mutants
    if options.sample and len(chosen) > options.sample:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    counts: Counter[bool | None] = Counter()
    unexpected = 0
    for line, mutant, result, test in trial.results(chosen, options.jobs):
        counts[result] += 1
        before, after = (text.splitlines()[line - 1].strip() for text in (trial.source, mutant))
        if result and (path, before, after) not in known:
            unexpected += 1
            print(f"{path}\t{before}\t{after}\tline {line}", flush=True)
        elif options.verbose:
            print(f"# {line}: {after}\t{'excused' if result else test}", flush=True)
    tried = counts[False] + counts[True]
    print(
        f"# {path}: of {len(trial.mutants)} mutants tried {tried}, noticed {counts[False]},"
        f" excused {counts[True] - unexpected}, unexpected {unexpected}",
        flush=True,
    )
    return unexpected


def main() -> int:
    """Try mutants of each module; return whether one survives without an excuse."""
    parser = argparse.ArgumentParser(description="Change the code in one small way at a time; would the tests notice?")
    parser.add_argument("modules", nargs="*", help="such as flask_mailtrack/tokens.py; all of TESTS if none is given")
    parser.add_argument("--sample", type=int, default=150, help="mutants of a module, 0 for all (default: 150)")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("--verbose", action="store_true", help="show every mutant, with the test that noticed it")
    options, unexpected = parser.parse_args(), 0
    os.nice(19)
    sys.dont_write_bytecode = False  # what the first run compiles, the others read
    settings.register_profile(
        "quick", deadline=None, derandomize=True, database=None, max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(shutil.copytree(".", f"{folder}/copy", ignore=shutil.ignore_patterns(".*", "__pycache__")))
        sys.path.insert(0, f"{folder}/copy")
        for name, tests in TESTS.items():
            path = f"flask_mailtrack/{name}.py"
            if path in options.modules or not options.modules:
                unexpected += examine(path, tests, options)
    return int(unexpected > 0)


if __name__ == "__main__":
    sys.exit(main())
