"""The documentation's way to ClickHouse, with chDB as the server: each event is there once, whatever comes twice."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import MakeSite
from redis_server import RedisServer, running

from flask_mailtrack.testing import Reader

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "clickhouse.md").read_text(encoding="utf-8")
CHDB = """
import sys, json
from chdb.session import Session
session = Session()
for line in sys.stdin:
    print(json.dumps(str(session.query(json.loads(line), "TSV"))), flush=True)
"""


class ClickHouse:
    """The engine in a process of its own, behind HTTP, as the server has it."""

    def __init__(self) -> None:
        self._engine = subprocess.Popen(
            [sys.executable, "-c", CHDB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.fails = 0
        clickhouse = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                (query,) = parse_qs(urlsplit(self.path).query)["query"]
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                clickhouse.ask(f"{query}\n{body}")
                clickhouse.fails -= 1
                self.send_response(500 if clickhouse.fails >= 0 else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, query: str) -> str:
        """Return the answer to a query, as text."""
        assert self._engine.stdin
        assert self._engine.stdout
        self._engine.stdin.write(json.dumps(query) + "\n")
        self._engine.stdin.flush()
        return str(json.loads(self._engine.stdout.readline())).strip()

    def close(self) -> None:
        """Stop both."""
        self.server.shutdown()
        self.server.server_close()
        self._engine.communicate()


@pytest.fixture(name="clickhouse")
def _clickhouse() -> Iterator[ClickHouse]:
    """An engine with the documentation's table."""
    pytest.importorskip("chdb", reason="chdb is not there: pip install chdb")
    clickhouse = ClickHouse()
    clickhouse.ask(next(sql for sql in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL) if "ReplacingMergeTree" in sql))
    yield clickhouse
    clickhouse.close()


@pytest.fixture(name="redis_server")
def _redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with running() as server:
        yield server


@pytest.fixture(name="way")
def _way(clickhouse: ClickHouse, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The documentation's module."""
    monkeypatch.setenv("CLICKHOUSE", f"http://127.0.0.1:{clickhouse.server.server_port}")
    monkeypatch.setenv("EVENTS_REDIS", redis_server.url)
    code = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "FORMAT JSONEachRow" in code)
    module = ModuleType("way")
    exec(code, vars(module))  # noqa: S102 - as the documentation has it
    yield module
    for signal in (module.signals.message_opened, module.signals.link_clicked, module.signals.recipient_unsubscribed):
        signal.disconnect(module.remember)
    module.store.close()


def test_events_are_in_clickhouse_once(make_site: MakeSite, clickhouse: ClickHouse, way: ModuleType) -> None:
    """What a reader did is there with its columns; a batch whose answer got lost is sent again, and counts once."""
    site = make_site()
    reader = Reader(site.client, site.send('<p><a href="https://example.com/ö">a</a></p>', list_id="news"))
    reader.open()
    reader.click()
    clickhouse.fails = 1
    with pytest.raises(OSError, match="500"):
        way.move()
    reader.unsubscribe()
    way.move()
    way.move()
    (opened, clicked, gone) = site.rows("Event")
    assert int(clickhouse.ask("SELECT count() FROM mailtrack_event")) >= 3
    columns = "type, toString(id), occurred_at, url, verdict_reasons, list_id"
    final = f"SELECT {columns} FROM mailtrack_event FINAL ORDER BY occurred_at"
    rows = [line.split("\t") for line in clickhouse.ask(final).splitlines()]
    assert [(row[0], row[1]) for row in rows] == [(event.type, str(event.id)) for event in (opened, clicked, gone)]
    assert rows[1][2] == f"{clicked.occurred_at:%Y-%m-%d %H:%M:%S.%f}"
    assert (rows[1][3], rows[1][4], rows[2][5]) == (clicked.url, "['ua_browser']", "news")
    assert way.store.xlen(way.STREAM) == 0
