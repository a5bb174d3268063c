"""A MariaDB server of our own, on a free port, for tests that change how it is set."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

START_SECONDS = 60


def is_there() -> bool:
    """Whether its programs are."""
    return all(
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("mariadbd", "mariadb-install-db")
    )


@contextmanager
def mariadb_server(*options: str) -> Iterator[str]:
    """Yield the URL of a database on a running server, which is gone afterwards.

    :param options: of the server, such as ``--max-allowed-packet=262144``.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not under pytest's tmp_path, which only its owner can enter.
    place = Path(tempfile.mkdtemp(prefix="mailtrack-mariadb-"))
    user = _ordinary_user()
    shutil.chown(place, user)
    common = ["--no-defaults", f"--datadir={place / 'data'}", f"--user={user}"]
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    install = ["mariadb-install-db", *common, "--skip-test-db", "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True, env=environment, timeout=START_SECONDS)
    log = place / "log"
    serve = ["mariadbd", *common, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={place / 'socket'}"]
    process = subprocess.Popen([*serve, f"--log-error={log}", f"--pid-file={place / 'pid'}", *options], env=environment)
    try:
        _wait_for(port, process)
        url = f"mysql+pymysql://root@127.0.0.1:{port}"
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text("CREATE DATABASE host"))
        engine.dispose()
        yield f"{url}/host?charset=utf8mb4"
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        shutil.rmtree(place)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the server takes connections: it says so by its socket, which a client may ask at any time."""
    engine = sa.create_engine(f"mysql+pymysql://root@127.0.0.1:{port}?connect_timeout=1")
    for _ in range(START_SECONDS * 10):
        try:
            with engine.connect():
                break
        except sa.exc.OperationalError:
            if process.poll() is not None:
                raise
            _pause(process)
    engine.dispose()


def _pause(process: subprocess.Popen[bytes]) -> None:
    """Give the server a tenth of a second, or less if it ends."""
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return


def _ordinary_user() -> str:
    """Whom the server runs as: it refuses root."""
    me = pwd.getpwuid(os.getuid()).pw_name
    known = {entry.pw_name for entry in pwd.getpwall()}
    return me if os.getuid() else "mysql" if "mysql" in known else "nobody"
