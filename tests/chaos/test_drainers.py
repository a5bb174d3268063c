"""Drainers that die at the worst moment, and drainers that work at the same time: each hit is one row all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site

from flask_mailtrack.testing import Reader

pytestmark = pytest.mark.skipif(
    not os.environ.get("MAILTRACK_CHAOS"), reason="a hundred killed drainers: set MAILTRACK_CHAOS=1 to run it"
)

HTML = '<a href="https://example.com/">go</a>'


def environment(url: str, folder: Path) -> dict[str, str]:
    """Return what :mod:`chaos.host` reads, for a process of its own."""
    paths = os.pathsep.join(sys.path)
    given = {"DATABASE": url, "FOLDER": str(folder), "SYNC": "off", "DRAIN": "manual"}
    return os.environ | {"PYTHONPATH": paths} | {f"CHAOS_{name}": value for name, value in given.items()}


def counts(site: Site) -> tuple[int, int]:
    """Return the number of events, and what the messages themselves count."""
    message, event = (getattr(site.mailtrack.models, name).__table__ for name in ("Message", "Event"))
    told = sa.func.sum(message.c.open_count + message.c.click_count + message.c.machine_count)
    with site.app.app_context(), site.db.engine.connect() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(event)).scalar_one()
        return rows, int(connection.execute(sa.select(told)).scalar_one())


def machine(make_site: MakeSite, url: str, folder: Path) -> Site:
    """Return an app with a spool of its own, which leaves the draining to others."""
    return make_site(SQLALCHEMY_DATABASE_URI=url, MAILTRACK_SPOOL_DIR=str(folder / "spool"), MAILTRACK_DRAIN="manual")


def read(readers: list[Reader], times: int) -> int:
    """Have everybody open and click, and return the number of hits."""
    for _ in range(times):
        for reader in readers:
            reader.open()
            reader.click("go")
    return 2 * times * len(readers)


@contextmanager
def drainers(url: str, *folders: Path) -> Iterator[None]:
    """Run ``flask mailtrack drain --watch``, a process for each of *folders*, until all are empty."""
    command = [sys.executable, "-m", "flask", "--app", "chaos.host", "mailtrack", "drain", "--watch"]
    processes: list[subprocess.Popen[Any]] = [
        subprocess.Popen(command, env=environment(url, folder), stdout=subprocess.DEVNULL) for folder in folders
    ]
    try:
        yield
        end = time.monotonic() + 20
        while any(path for folder in folders for path in folder.rglob("*s-*.jsonl")):
            assert time.monotonic() < end, "the drainers do not come to an end"
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_killed_drainers_double_nothing(database_url: str, make_site: MakeSite, tmp_path: Path) -> None:
    """A drainer that dies between commit and delete, a hundred times over, leaves no row twice and none out."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    kills = 100 if database_url.startswith("postgresql") else 25
    command = [sys.executable, "-m", "chaos.drainers", str(kills)]
    process = environment(database_url, tmp_path)
    done = subprocess.run(command, env=process, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == [str(kills), "0", str(4 * kills)], done.stderr
    assert counts(site) == (4 * kills, 4 * kills)
    assert list(tmp_path.rglob("*s-*.jsonl")) == []


def test_two_drainers_of_one_spool_share_the_work(database_url: str, make_site: MakeSite, tmp_path: Path) -> None:
    """Two drainers that watch the same spool while it is written to store each hit once, and count it once."""
    site = machine(make_site, database_url, tmp_path)
    readers = [Reader(site.client, site.send(HTML)) for _ in range(10)]
    with drainers(database_url, tmp_path, tmp_path):
        hits = sum(read(readers, 5) for _ in range(10))
    assert counts(site) == (hits, hits) == (1000, 1000)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_machines_into_one_database(database_url: str, make_site: MakeSite, tmp_path: Path) -> None:
    """Hits on the same mails from two machines, some of them delivered by both, are each one row and one count."""
    folders = tmp_path / "one", tmp_path / "two"
    one, two = (machine(make_site, database_url, folder) for folder in folders)
    letters = [one.send(HTML) for _ in range(10)]
    hits = read([Reader(one.client, letter) for letter in letters], 20)
    shutil.copytree(folders[0] / "spool", folders[1] / "spool", dirs_exist_ok=True)
    hits += read([Reader(two.client, letter) for letter in letters], 20)
    with drainers(database_url, *folders):
        hits += read([Reader(one.client, letter) for letter in letters], 5)
        hits += read([Reader(two.client, letter) for letter in letters], 5)
    assert counts(one) == (hits, hits) == (1000, 1000)
