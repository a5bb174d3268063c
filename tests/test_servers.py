"""Real servers: whatever way a worker comes into being, and goes, what it took is in the database once."""

from __future__ import annotations

import getpass
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest
import sqlalchemy as sa
from conftest import free_port, missing
from waitress.server import create_server

from flask_mailtrack.destination import MAX_CARRIED, MAX_LOCATION
from flask_mailtrack.testing import BROWSER

HOST = '''
"""A host app, as a server loads it."""

import os
import threading
from flask import Flask, request
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack
from flask_mailtrack.events import Kind, new_id

folder = os.environ.get("HOST_FOLDER", {folder!r})
app = Flask("host", instance_path=folder)
app.config.update(
    SECRET_KEY="k" * 40,
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{{folder}}/host.sqlite3",
    SQLALCHEMY_ENGINE_OPTIONS={{"connect_args": {{"timeout": 30}}}},
    MAILTRACK_BASE_URL="https://links.example.com",
    MAIL_DEFAULT_SENDER="news@example.com",
    MAIL_SUPPRESS_SEND=True,
    MAILTRACK_DRAIN_SECONDS=0.05,
    MAILTRACK_FRONT_DOOR=not os.environ.get("HOST_WITHOUT_DOOR"),
)
db, mail = SQLAlchemy(app), Mail(app)
mailtrack = Mailtrack(app, mail=mail, db=db)
sent = []
with app.app_context():
    if os.environ.get("HOST_CREATES"):
        db.create_all()
    with mail.record_messages() as outbox:  # sent before any fork: the thread and the segment are the parent's
        mail.send_message("Hello", recipients=["ada@example.com"], html='<a href="https://example.com/">go</a>')
    sent.append(outbox[0].html.split('"')[1])
    db.engine.dispose()
loaded = threading.active_count()


@app.get("/threads")
def threads():
    return str(loaded)


@app.get("/link")
def link():
    return sent[0]


@app.post("/send")
def send():
    with mail.record_messages() as outbox:
        mail.send_message("Hello", recipients=["ada@example.com"], html='<a href="' + request.form["url"] + '">go</a>')
    return outbox[0].html.split('"')[1]


@app.get("/pid")
def pid():
    return str(os.getpid())


@app.get("/links")
def links():
    signer = mailtrack._state().signer
    tokens = signer.message(new_id())
    ref = signer.recipient_refs("ada@example.com")[0]
    return {{
        "o": tokens.open() + ".gif",
        "c": tokens.click(signer.stamp(0, "https://example.com/a?b=c")),
        "h": tokens.honeypot(),
        "u": tokens.recipient(Kind.UNSUBSCRIBE, ref),
        "p": tokens.recipient(Kind.PREFERENCES, ref),
    }}
'''

ASGI = """
from asgiref.wsgi import WsgiToAsgi
from host_app import app as host

app = WsgiToAsgi(host)
"""

TASKS = """
import os
from celery import Celery
from flask_mailtrack.testing import BROWSER
from host_app import app, mail, sent

tasks = Celery("tasks", broker="filesystem://")
tasks.conf.broker_transport_options = {name: os.environ["QUEUE"] for name in ("data_folder_in", "data_folder_out")}
tasks.conf.broker_transport_options["control_folder"] = os.environ["QUEUE"] + "-control"


@tasks.task
def write(number):
    with app.app_context():
        mail.send_message(str(number), recipients=["ada@example.com"], html='<a href="https://example.com/">go</a>')
    assert app.test_client().get("/" + sent[0].split("/", 3)[3], headers=BROWSER).status_code == 302
"""


class _Stay(HTTPRedirectHandler):
    """A browser that does not follow."""

    def redirect_request(self, *_: Any) -> None:
        return None

    def http_error_302(self, request: Any, answer: Any, *_: Any) -> Any:
        return answer


OPENER = build_opener(_Stay)


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and body of an answer."""
    request = Request(f"http://127.0.0.1:{port}{path}", headers={"Connection": "close", "User-Agent": "Mozilla/5.0"})
    with OPENER.open(request, timeout=30) as answer:
        return answer.status, answer.read().decode()


def rows(folder: Path, query: str) -> Any:
    """What the database of the host says."""
    # On a busy machine a drain may hold its transaction longer than the five seconds that SQLite waits by default.
    engine = sa.create_engine(f"sqlite:///{folder}/host.sqlite3", connect_args={"timeout": 60})
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query).scalar()
    engine.dispose()
    return found


def until(what: Any) -> Any:
    """Wait for *what* to be true, as long as a busy machine may take."""
    deadline = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < deadline, "nothing happened"
        threading.Event().wait(0.05)
    return found


def reachable(port: int) -> str:
    """The link of the mail, once the server answers."""
    try:
        return fetch(port, "/link")[1]
    except (URLError, ConnectionError):
        return ""


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the host app in it as ``host_app.py``."""
    (tmp_path / "host_app.py").write_text(HOST.format(folder=str(tmp_path)))
    monkeypatch.setenv("HOST_CREATES", "1")
    return tmp_path


@contextmanager
def running(host: Path, *command: str, log: str = "log", **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running server, which finds the host app; ended by SIGTERM."""
    path = os.pathsep.join([str(host), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path, "HOME": str(host)} | settings
    with (host / log).open("wb") as said:
        server = subprocess.Popen(command, env=environment, cwd=host, stdout=said, stderr=said)
        try:
            yield server
        finally:
            server.terminate()
            server.wait(60)


def gunicorn(host: Path, port: int, *options: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A running gunicorn."""
    return running(host, sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", *options, "host_app:app")


def test_two_preloaded_workers_lose_nothing(host: Path) -> None:
    """Gunicorn --preload with two workers, one of them killed: every answered click is a row, once."""
    port = free_port()
    with gunicorn(host, port, "--preload", "-w", "2"):
        path = urlsplit(until(lambda: reachable(port))).path
        pids = {fetch(port, "/pid")[1] for _ in range(20)}
        for _ in range(30):
            assert fetch(port, path)[0] == 302
        os.kill(int(min(pids)), signal.SIGKILL)
        answered = 30
        for _ in range(20):
            try:
                answered += fetch(port, path)[0] == 302
            except (URLError, ConnectionError):  # it was in the worker that was killed
                continue
        until(lambda: rows(host, "SELECT count(*) FROM mailtrack_event") >= answered)
    assert rows(host, "SELECT count(*) FROM mailtrack_event") == answered
    assert rows(host, "SELECT count(*) FROM mailtrack_message") == 1
    assert not [path for path in host.glob("mailtrack-*/events-*") if path.stat().st_size]


def load(host: Path) -> ModuleType:
    """The host app, in this process."""
    module = ModuleType("host_app")
    exec((host / "host_app.py").read_text(), vars(module))  # noqa: S102 - a server loads it no differently
    return module


def _work(app: Any, path: str) -> None:
    for _ in range(10):
        assert app.test_client().get(path, headers=BROWSER).status_code == 302


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_workers_lose_nothing(host: Path) -> None:
    """A process that multiprocessing, or Celery's prefork pool, forks off has spool and thread of its own."""
    module = load(host)
    path = urlsplit(module.sent[0]).path
    _work(module.app, path)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(module.app, path)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with module.app.app_context():
        module.mailtrack.flush()
        until(lambda: rows(host, "SELECT count(*) FROM mailtrack_event") == 40)
        assert rows(host, "SELECT click_count + machine_count FROM mailtrack_message") == 40
        module.db.engine.dispose()


@pytest.mark.parametrize("options", [["--enable-threads"], []], ids=["threads", "no threads"])
def test_uwsgi_loses_nothing(host: Path, options: list[str]) -> None:
    """UWSGI loads the app, forks two workers in C, and may hold Python's threads back: each click is a row, once."""
    port, program = free_port(), str(Path(sys.executable).with_name("uwsgi"))
    where = ["--http-socket", f"127.0.0.1:{port}", "--module", "host_app:app", "--virtualenv", sys.prefix]
    with running(host, program, *where, "--master", "--processes", "2", "--die-on-term", *options):
        path = urlsplit(until(lambda: reachable(port))).path
        readers = [threading.Thread(target=lambda: [fetch(port, path) for _ in range(25)]) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert fetch(port, "/threads")[1] == "1"  # a worker that is forked beside another thread may hang
    module = load(host)
    with module.app.app_context():  # whatever a worker had no time for
        module.mailtrack.flush()
        module.db.engine.dispose()
    assert rows(host, "SELECT count(*) FROM mailtrack_event") == 100
    assert not [path for path in host.glob("mailtrack-*/*") if "bad" in path.name]


def test_celerys_prefork_pool_loses_nothing(host: Path) -> None:
    """A worker of two processes that sends mails and is told of clicks: each of them is a row, once."""
    (host / "host_tasks.py").write_text(TASKS)
    for name in ("queue", "queue-control"):
        (host / name).mkdir()
    told = {"QUEUE": str(host / "queue")}
    worker = [sys.executable, "-m", "celery", "-A", "host_tasks:tasks", "worker", "--pool=prefork", "--concurrency=2"]
    send = "import host_tasks\nfor number in range(40): host_tasks.write.delay(number)"
    with running(host, sys.executable, "-c", send, **told, HOST_CREATES="1") as sender:
        assert sender.wait(60) == 0
    with running(host, *worker, **told):
        until(lambda: rows(host, "SELECT count(*) FROM mailtrack_event") == 40)
        # one by the sender, one by the worker before it forks
        until(lambda: rows(host, "SELECT count(*) FROM mailtrack_message WHERE status = 'sent'") == 42)
    assert rows(host, "SELECT sum(click_count + machine_count) FROM mailtrack_message") == 40


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_threads_of_waitress_lose_nothing(host: Path) -> None:
    """One process with many threads: each click that was answered is a row, once."""
    module = load(host)
    server: Any = create_server(module.app, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        path = urlsplit(module.sent[0]).path
        readers = [
            threading.Thread(target=lambda: [fetch(server.effective_port, path) for _ in range(10)]) for _ in range(4)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        until(lambda: rows(host, "SELECT count(*) FROM mailtrack_event") == 40)
    finally:
        server.close()
        thread.join(10)
        with module.app.app_context():
            module.db.engine.dispose()


MODULES = {
    "gunicorn sync": ["gunicorn", "-b", "{where}", "host_app:app"],
    "gunicorn gthread": ["gunicorn", "-k", "gthread", "--threads", "4", "-b", "{where}", "host_app:app"],
    "gunicorn gevent": ["gunicorn", "-k", "gevent", "-b", "{where}", "host_app:app"],
    "waitress": ["waitress", "--listen={where}", "host_app:app"],
    "hypercorn": ["hypercorn", "-b", "{where}", "wsgi:host_app:app"],
    "hypercorn, WsgiToAsgi": ["hypercorn", "-b", "{where}", "asgi:host_asgi:app"],
    "granian": ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "host_app:app"],
}
UWSGI = [
    "--http-socket",
    "{where}",
    "--module",
    "host_app:app",
    "--virtualenv",
    sys.prefix,
    "--master",
    "--die-on-term",
]
EXPRESS = Path(sys.executable).with_name("mod_wsgi-express")
"""Not in the ``test`` extra: pip builds it, for which it needs Apache's headers."""
APACHE = (
    "start-server host_app --application-type module --callable-object app --server-root {folder}/apache "
    "--host 127.0.0.1 --port {port} --processes 2 --threads 4 --log-to-terminal --python-path {folder}"
)
HITS = [
    ("GET", "o", 200),
    ("HEAD", "o", 200),
    ("GET", "c", 302),
    ("HEAD", "c", 302),
    ("GET", "h", 204),
    ("GET", "u", 200),
    ("HEAD", "u", 200),
    ("POST", "u", 200),
    ("GET", "p", 200),
]


def command(server: str, port: int, folder: Path) -> list[str]:
    """How a server is started."""
    if server == "mod_wsgi":
        if not EXPRESS.exists() or os.getuid() == 0:
            pytest.skip("pip install mod_wsgi, with apache2-dev, and run this as another user than root")
        start = [str(EXPRESS), *APACHE.split()]
    elif server == "uWSGI":
        start = [str(Path(sys.executable).with_name("uwsgi")), *UWSGI, "--enable-threads"]
    else:
        start = [sys.executable, "-m", *MODULES[server]]
    return [word.format(where=f"127.0.0.1:{port}", port=port, folder=folder) for word in start]


def ask(port: int, method: str, path: str) -> tuple[int, str | None, bytes]:
    """Status, Location and body of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    form = {"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
    body = "List-Unsubscribe=One-Click" if method == "POST" else None
    connection.request(method, path, body, {"User-Agent": "Mozilla/5.0", "Connection": "close", **form})
    answer = connection.getresponse()
    try:
        return answer.status, answer.getheader("Location"), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("door", ["", "without"], ids=["front door", "without"])
@pytest.mark.parametrize("server", [*MODULES, "uWSGI", "mod_wsgi"])
def test_every_server_carries_every_answer(host: Path, server: str, door: str) -> None:
    """Each route, good and bad, by GET, HEAD and POST: status and body are right, and each hit is a row, once."""
    (host / "host_asgi.py").write_text(ASGI)
    port = free_port()
    with running(host, *command(server, port, host), HOST_WITHOUT_DOOR=door):
        until(lambda: reachable(port))
        links = json.loads(fetch(port, "/links")[1])
        for method, letter, status in HITS:
            found = ask(port, method, f"/m/{letter}/{links[letter]}")
            assert found[:2] == (status, "https://example.com/a?b=c" if letter == "c" else None), (method, letter)
            assert bool(found[2]) == (method != "HEAD" and letter not in "ch"), (method, letter)
        assert ask(port, "GET", "/m/c/bad")[0] == 404
        assert b"h1" in ask(port, "GET", "/m/static/mailtrack.css")[2]
        until(lambda: rows(host, "SELECT count(*) FROM mailtrack_event") >= 4)
    query = "SELECT group_concat(type) FROM (SELECT type FROM mailtrack_event ORDER BY type)"
    assert rows(host, query) == "clicked,opened,trapped,unsubscribed"


NGINX = """
daemon off;
user {user};
error_log stderr;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    uwsgi_temp_path {folder}/answers;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fast;
    scgi_temp_path {folder}/simple;
    server {{
        listen 127.0.0.1:{port};
        location / {{ include /etc/nginx/uwsgi_params; uwsgi_pass 127.0.0.1:{behind}; }}
    }}
}}
"""
CHROME = {
    "sec-ch-ua": '"Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Windows"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7",
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-User": "?1",
    "Sec-Fetch-Dest": "document",
    "Referer": "https://mail.example.com/",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "Cookie": "_ga=GA1.1.1234567890.1764230400; session=" + "e" * 500,
}
"""A click in a web mail, by somebody who is logged in at the host."""


def follow(port: int, path: str) -> tuple[int, str | None]:
    """Status and Location of what Chrome gets."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=CHROME)
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.getheader("Location")


def written(port: int, url: str) -> str:
    """The path of our link to *url* in a mail that the host sends."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/send", urlencode({"url": url}), form)
    link = connection.getresponse().read().decode()
    connection.close()
    assert link.startswith("https://links.example.com/m/c/"), link
    return urlsplit(link).path


def test_no_link_is_too_long_for_nginx_and_uwsgi_as_they_come(host: Path) -> None:
    """With uwsgi_pass and uWSGI's 4,096 bytes, Chrome gets through with destinations of any length that we track."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None or not Path("/etc/nginx/uwsgi_params").exists():
        missing("nginx")
    port, behind = free_port(), free_port()
    (host / "nginx.conf").write_text(NGINX.format(folder=host, port=port, behind=behind, user=getpass.getuser()))
    front = [str(nginx), "-p", str(host), "-e", "stderr", "-c", str(host / "nginx.conf")]
    served = [f"127.0.0.1:{behind}" if word == "{where}" else word for word in UWSGI]
    served[served.index("--http-socket")] = "--socket"
    program = str(Path(sys.executable).with_name("uwsgi"))
    with running(host, program, *served, "--enable-threads"), running(host, *front, log="nginx.log"):
        until(lambda: reachable(port))
        for length in (599, MAX_CARRIED, MAX_CARRIED + 1, 900, 1_400, 2_000, MAX_LOCATION):
            url = "https://example.com/".ljust(length, "a")
            path = written(port, url)
            assert follow(port, path) == (302, url), (length, len(path))
        # The limit is there: a link that carried all of its destination would be lost.
        assert follow(port, "/m/c/" + "a" * 1_900)[0] == 502


HANGING = """
import os, threading
from flask_mailtrack.storage.drain import drain_thread
from flask_mailtrack.storage.tables.writer import Writer

begun = threading.Event()

def hang(self, bodies, refuse, *, patient=True):
    begun.set()
    threading.Event().wait()  # as libpq does, when a server has been stopped in the middle

Writer.store = hang
drain_thread.LAST_SECONDS = 0.5
os.environ["HOST_CREATES"] = "1"
import host_app
assert begun.wait(60)
client = host_app.app.test_client()
path = "/" + host_app.sent[0].split("/", 3)[3]
assert client.get(path).status_code == 302
print("answered", flush=True)
"""


def test_a_database_that_hangs_holds_up_neither_readers_nor_the_end(host: Path) -> None:
    """While the drain waits for ever inside the driver, clicks are answered, and the process can end."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(host), *filter(None, sys.path)])}
    command = [sys.executable, "-c", HANGING]
    done = subprocess.run(command, env=environment, cwd=host, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("answered\n", 0), done.stderr
