"""The file in which the processes of a machine keep long links."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from flask_mailtrack.storage.tables.references import Shelf

WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error, end="")
"""


def test_a_second_writer_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """A thread that adds links while another writes lets no other process write into the same file."""
    shelf = Shelf(tmp_path / "spool")
    shelf.add({"a": "https://example.com/a"})
    path = tmp_path / "spool" / "links.sqlite3"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    shelf.add({"b": "https://example.com/b"})
    said = subprocess.run([sys.executable, "-c", WRITE, path], capture_output=True, text=True, check=True).stdout
    writer.close()
    assert said == "database is locked"
