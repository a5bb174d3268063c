"""A real nginx that ends TLS: console and mailbox work behind it, whatever it passes on of where the reader is."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

import lxml.html
import pytest
from conftest import MakeSite, free_port, missing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server

CONF = """
daemon off; user {user}; error_log stderr; pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
    uwsgi_temp_path {folder}/uwsgi; fastcgi_temp_path {folder}/fast; scgi_temp_path {folder}/simple;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/both.pem;
        ssl_certificate_key {folder}/both.pem;
        {location}
    }}
}}
"""
FORWARDED = """proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;"""
WAYS = {
    # What nginx does, whether the app has ProxyFix, and the prefix at which a reader finds the app.
    "host": ("location / { proxy_pass http://127.0.0.1:BEHIND; proxy_set_header Host $host; }", False, ""),
    "fix": (f"location / {{ proxy_pass http://127.0.0.1:BEHIND; {FORWARDED} }}", True, ""),
    "prefix": (
        "location /shop/ { proxy_pass http://127.0.0.1:BEHIND/; proxy_set_header X-Forwarded-Prefix /shop;"
        f" {FORWARDED} }}",
        True,
        "/shop",
    ),
}


class Answer(NamedTuple):
    """What a browser got."""

    status: int
    headers: dict[str, str]
    text: str
    url: str


class Browser:
    """A browser that sends ``Origin``, and no Fetch Metadata, as older ones do."""

    def __init__(self, port: int, trusted: Path) -> None:
        self.home = f"https://ops.example.com:{port}"
        self._port = port
        self._trust = ssl.create_default_context(cafile=trusted)
        self._trust.check_hostname = False  # no name server knows the host

    def ask(self, url: str, form: list[tuple[str, str]] | None = None, at: str = "") -> Answer:
        """Ask, and follow where the answer leads, as long as it leads to the same place."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == self.home, url
        headers = {"Host": parts.netloc, "Accept-Language": "en"}
        if form is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.home, "Referer": at}
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        body = None if form is None else urlencode(form)
        with closing(HTTPSConnection("127.0.0.1", self._port, timeout=60, context=self._trust)) as connection:
            connection.request("GET" if form is None else "POST", path, body, headers)
            with connection.getresponse() as answer:
                found = {name.lower(): value for name, value in answer.getheaders()}
                got = Answer(answer.status, found, answer.read().decode("utf-8", "replace"), url)
        return self.ask(urljoin(url, found["location"])) if got.status in (301, 302, 303, 308) else got


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Yield the port of a server for a WSGI application."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def certificate(path: Path) -> None:
    """Write a key and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ops.example.com")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime.now(UTC) - timedelta(days=1))
    signed = made.not_valid_after(datetime.now(UTC) + timedelta(days=1)).sign(key, hashes.SHA256())
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem))


@contextmanager
def nginx(folder: Path, location: str) -> Iterator[Browser]:
    """Yield a browser before a running nginx."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("nginx")
    port = free_port()
    certificate(folder / "both.pem")
    conf = folder / "nginx.conf"
    conf.write_text(CONF.format(folder=folder, port=port, user=getpass.getuser(), location=location))
    command = [str(program), "-p", str(folder), "-e", "stderr", "-c", str(conf)]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        browser = Browser(port, folder / "both.pem")
        for _ in range(600):
            try:
                browser.ask(f"{browser.home}/nothing")
                break
            except ConnectionError:
                threading.Event().wait(0.05)
        yield browser
    finally:
        running.terminate()
        running.wait(30)


def sent_by(page: Answer, ending: str, **fields: str) -> tuple[str, list[tuple[str, str]]]:
    """Return where a form leads, and what it sends."""
    forms = [form for form in lxml.html.fromstring(page.text).forms if (form.action or "").endswith(ending)]
    given = {**dict(forms[0].form_values()), **fields}
    return urljoin(page.url, forms[0].action), list(given.items())


@pytest.mark.parametrize("way", WAYS)
def test_console_and_mailbox_work_behind_a_proxy_that_ends_tls(make_site: MakeSite, tmp_path: Path, way: str) -> None:
    """Each link, file, form and redirect leads to where the reader is, and so does the pixel of a mail in its frame."""
    location, fixed, prefix = WAYS[way]
    site = make_site()
    site.app.register_blueprint(site.mailtrack.console(access=lambda: {"view", "export", "manage"}), url_prefix="/mt")
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/box")
    site.send('<p>Hello <a href="https://example.com/">x</a></p>', tag="welcome")
    app = ProxyFix(site.app, x_for=1, x_proto=1, x_host=1, x_prefix=1) if fixed else site.app
    with served(app) as behind, nginx(tmp_path, location.replace("BEHIND", str(behind))) as browser:
        root = f"{browser.home}{prefix}"
        for page in ("/mt/", "/mt/messages", "/mt/settings", "/box/"):
            answer = browser.ask(root + page)
            assert answer.status == 200
            assert "set-cookie" not in answer.headers
            for target in re.findall(r'(?:href|src|action)="(?!data:|#)([^"]+)"', answer.text):
                assert urljoin(answer.url, target.partition("#")[0]).startswith(root + page[:3]), target
        assert browser.ask(f"{root}/mt/static/console.css").headers["content-type"].startswith("text/css")
        assert browser.ask(f"{root}/mt/messages?format=csv").headers["content-type"].startswith("text/csv")
        settings = browser.ask(f"{root}/mt/settings")
        there, form = sent_by(settings, "/settings/tags", tag="spring")
        done = browser.ask(there, form, at=settings.url)
        assert (done.status, done.url.partition("?")[0]) == (200, settings.url)
        assert [tag.name for tag in site.mailtrack.tags.list()] == ["spring"]
        key = re.search(r"/box/([0-9a-f-]{36})", browser.ask(f"{root}/box/").text)[1]  # type: ignore[index]
        mail = browser.ask(f"{root}/box/{key}")
        there, form = sent_by(mail, "/act", what="person")
        assert "done=person" in browser.ask(there, form, at=mail.url).url
        frame = browser.ask(f"{mail.url}/body?images=1")
        pixel = urljoin(frame.url, re.search(r'src="([^"]*/m/o/[^"]+)"', frame.text)[1])  # type: ignore[index]
        assert browser.ask(pixel).headers["content-type"] == "image/gif"
