"""The journal on every machine: macOS, Windows, containers and their volumes."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import pytest
from conftest import MakeSite, Site

from flask_mailtrack.errors import ConfigError
from flask_mailtrack.storage.drain.recovery import forget, recover_quarantine
from flask_mailtrack.storage.journal import segment
from flask_mailtrack.storage.journal.backlog import Progress
from flask_mailtrack.storage.journal.directory import Tenant, make, move_in, open_safely, tenant_of
from flask_mailtrack.storage.journal.segment import Segment, election, quarantine, seal
from flask_mailtrack.storage.journal.signatures import MANY, Signatures
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import encode
from flask_mailtrack.storage.tables.references import Shelf
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'


@pytest.fixture(name="lasting")
def _lasting(make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make apps as they run in production, with a temporary folder of their own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    given = {"TESTING": False, "MAIL_SUPPRESS_SEND": True, "MAILTRACK_DRAIN": "manual"}
    return lambda **config: make_site(**(given | config))


def first(site: Site) -> Path:
    """Where the journal of an app is."""
    return site.mailtrack._state_of(site.app).journals[0].directory


def stored(site: Site) -> bool:
    """Whether a mail, its click and its unsubscribe become rows."""
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    assert reader.click("go").status_code == 302
    assert reader.unsubscribe().status_code == 200
    site.mailtrack.flush()
    return [len(site.rows(name)) for name in ("Message", "Event", "OptOut")] == [1, 2, 1]


def test_a_system_without_fdatasync_stores_everything(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS, a mail, a click and a one-click unsubscribe become rows as on Linux."""
    monkeypatch.delattr(os, "fdatasync")
    assert stored(make_site(MAILTRACK_DRAIN="manual", MAILTRACK_SPOOL_SYNC="each"))


@pytest.mark.parametrize("known", [True, False])
def test_macos_empties_the_memory_of_the_drive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool) -> None:
    """F_FULLFSYNC is asked for where there is one, and fsync where the file system does not know it."""
    asked: list[str] = []

    def control(fd: int, command: int) -> int:
        asked.append(f"fcntl {command}")
        if not known:
            raise OSError(25, "Inappropriate ioctl for device")
        return 0

    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", lambda fd: asked.append("fsync"))
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    segment.to_disk(0)
    assert asked == ["fcntl 51"] + ["fsync"] * (not known)


def test_windows_is_told_what_is_supported() -> None:
    """Where Python has no fcntl, the import says what to do, not that some module is missing."""
    code = "import sys; sys.modules['fcntl'] = None; import flask_mailtrack"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: flask_mailtrack runs on Linux, macOS and other POSIX systems")
    assert "On Windows, run the app in WSL 2 or in a container." in last


def test_a_directory_that_the_platform_opens_to_our_group_is_used(lasting: Any, tmp_path: Path) -> None:
    """Kubernetes makes everything 2770 at each mount by ``fsGroup``; that neither stops the start nor a record."""
    spool = tmp_path / "volume"
    site = lasting(MAILTRACK_SPOOL_DIR=spool)
    assert stat.S_IMODE(first(site).stat().st_mode) == 0o700
    for directory in (spool, first(site)):
        directory.chmod(0o2770)
    again = lasting(MAILTRACK_SPOOL_DIR=spool, SQLALCHEMY_DATABASE_URI=site.app.config["SQLALCHEMY_DATABASE_URI"])
    assert stored(again)
    first(site).chmod(0o2772)
    with pytest.raises(ConfigError, match=r"\[E130\] MAILTRACK_SPOOL_DIR: .*others can write"):
        lasting(MAILTRACK_SPOOL_DIR=spool)


def test_a_group_that_is_not_ours_is_an_intruder(lasting: Any, tmp_path: Path) -> None:
    """A directory of our own that is open to another group stops the start, with a cure."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a directory to a group")
    spool = tmp_path / "volume"
    spool.mkdir()
    os.chown(spool, -1, 54321)
    spool.chmod(0o2770)
    with pytest.raises(ConfigError, match=r"\[E130\] MAILTRACK_SPOOL_DIR: .*chmod 700"):
        lasting(MAILTRACK_SPOOL_DIR=spool)


def test_a_mount_point_of_root_is_used(tmp_path: Path) -> None:
    """A volume that belongs to root, and is open to our group, holds our own folder, which is private."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    volume = Path(tempfile.mkdtemp())
    volume.chmod(0o2777)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            from flask_mailtrack.storage.journal.directory import make, require_around

            require_around("MAILTRACK_SPOOL_DIR", volume)
            make(volume / "ours")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert stat.S_IMODE((volume / "ours").stat().st_mode) & 0o777 == 0o700


def test_a_named_directory_is_enough_on_a_read_only_system(
    lasting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a temporary folder, a good MAILTRACK_SPOOL_DIR alone suffices."""
    monkeypatch.setattr(tempfile, "gettempdir", _nowhere)
    site = lasting(MAILTRACK_SPOOL_DIR=tmp_path / "spool")
    assert stored(site)
    assert "not ours" not in site.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output


def test_a_read_only_system_without_a_directory_is_a_mistake_with_a_key(
    lasting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start stops with the key to set, not with a FileNotFoundError; so it does under TESTING."""
    monkeypatch.setattr(tempfile, "gettempdir", _nowhere)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_: _nowhere())
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[E177\] MAILTRACK_SPOOL_DIR: there is no place for the journal"):
        lasting(MAILTRACK_SPOOL_DIR=tmp_path / "file" / "spool")
    with pytest.raises(ConfigError, match=r"\[E177\] MAILTRACK_SPOOL_DIR: .*Set it to a directory on a volume"):
        lasting(TESTING=True)


def test_a_command_of_root_does_not_lock_the_app_out(
    lasting: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Root's command does not make the folder that the app's user will need, and says whom to run it as."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    os.chown(tmp_path, 12345, -1)
    spool.rmdir()
    try:
        with click.Context(click.Command("upgrade"), info_name="upgrade"):
            site = lasting(MAILTRACK_SPOOL_DIR=spool)
        assert not spool.exists()
        assert "made by this command it would be root's, and stop the app of user 12345" in caplog.text
        assert "sudo -u '#12345' flask" in caplog.text
        assert stored(site)
        assert not spool.exists()
        with click.Context(click.Command("run"), info_name="run"):
            assert first(lasting(MAILTRACK_SPOOL_DIR=tmp_path / "served")).exists()
    finally:
        os.chown(tmp_path, 0, -1)


def _nowhere() -> Any:
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")


def _elected_in(folder: Path) -> bool:
    with election(folder, wait=False) as elected, (folder.parent / "outside").open() as outside:
        fcntl.flock(outside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return elected


def _counted_in(folder: Path) -> int:
    signatures = Signatures(folder)
    for _ in range(MANY):
        signatures.bad()
    return signatures.read()


def _erased_in(folder: Path) -> int:
    quarantine(folder, "events", {b"ada@example.com": "y"})
    spools = [Spool(folder, stream) for stream in ("events", "optouts")]
    return forget(spools, ["ada@example.com"], lambda record: None)


HELD = {"app": "theirs", "database": "theirs", "keys": [], "count": 99, "error": "theirs"}
LINKED: dict[str, tuple[Callable[[Path], object], object]] = {
    "drain.lock": (_elected_in, True),
    "tenant.lock": (lambda folder: move_in(folder, Tenant("a", "b")), OSError),
    "tenant.json": (tenant_of, None),
    "drain.json": (lambda folder: Progress(folder).read().error, ""),
    "signatures.json": (lambda folder: Signatures(folder).read(), 0),
    "links.sqlite3": (lambda folder: (Shelf(folder).add({"ref": "url"}), Shelf(folder).url("ref"))[1], None),
    "events-1-1.jsonl": (lambda folder: seal(folder / "events-1-1.jsonl", sync=True, until=0), OSError),
    "events-2-2.jsonl": (lambda folder: list(Segment(folder / "events-2-2.jsonl", "events").records()), []),
    "bad-events.jsonl": (lambda folder: quarantine(folder, "events", {b"x": "y"}), None),
    "bad-optouts.jsonl": (lambda folder: recover_quarantine(Mock(), folder / "bad-optouts.jsonl", Mock()), OSError),
    "bad-events.new": (_erased_in, OSError),
    ".drain.json-OURS": (lambda folder: Progress(folder).moved(0), None),
    ".signatures.json-OURS": (_counted_in, 20),
}
"""Each kind of file, what is done with it, and what comes of that where a symbolic link stands in its place."""


@pytest.mark.parametrize("name", LINKED)
def test_a_symlink_in_place_of_any_file_is_refused(tmp_path: Path, name: str) -> None:
    """A file of the host's, to which somebody has linked one of ours, is neither read nor written."""
    outside, folder = tmp_path / "outside", tmp_path / "spool"
    make(folder)
    held = json.dumps(HELD | {"at": time.time(), "succeeded_at": 0, "lag_seconds": 0}).encode()
    outside.write_bytes(encode(HELD) if name.startswith(("events-", "bad-")) else b"" if "sqlite" in name else held)
    outside.chmod(0o640)
    before = outside.read_bytes()
    (folder / name.replace("OURS", f"{os.getpid()}-{threading.get_ident()}")).symlink_to(outside)
    use, expected = LINKED[name]
    if expected is OSError:
        with pytest.raises(OSError, match="symbolic links"):
            use(folder)
    else:
        assert use(folder) == expected
    assert (outside.read_bytes(), stat.S_IMODE(outside.stat().st_mode)) == (before, 0o640)


def test_a_directory_is_opened_under_its_own_name_only(tmp_path: Path) -> None:
    """A link to a directory is refused as a link to a file is."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"directory|symbolic links"):
        open_safely(tmp_path / "link", os.O_RDONLY | os.O_DIRECTORY)


def test_a_new_file_is_for_its_owner_and_this_process_alone(tmp_path: Path) -> None:
    """Others cannot read it, and a program that the host starts does not inherit it."""
    fd = open_safely(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    assert (stat.S_IMODE(os.fstat(fd).st_mode), os.get_inheritable(fd)) == (0o600, False)
    os.close(fd)
