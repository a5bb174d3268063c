"""The documentation is true: its code runs, and each key, command, signal, column, code and name has its place."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from blinker import NamedSignal
from conftest import MakeSite, free_port
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack, signals
from flask_mailtrack.commands import mailtrack as commands
from flask_mailtrack.config import keys
from flask_mailtrack.reporting.timeline import _SIGNS, _WHY
from flask_mailtrack.testing import BROWSER

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```|^<!-- python\n(.*?)^-->", re.DOTALL | re.MULTILINE)
PACKAGE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "flask_mailtrack").rglob("*.py"))


def called(path: Path) -> str:
    return str(path.relative_to(DOCS))


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python of a page, shown or hidden, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        code = match[3] or re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE)
        found.append((text.count("\n", 0, match.start()) + 1, code))
    return found


@pytest.fixture(name="generated", scope="module")
def _generated() -> Iterator[ModuleType]:
    """The module that writes the generated parts."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generated")
    sys.path.remove(str(DOCS))


def text_of(page: str, generated: ModuleType) -> str:
    """A page with its generated parts."""
    source = (DOCS / page).read_text(encoding="utf-8")
    return re.sub(r"^<!-- generated: (\w+) -->$", lambda m: str(getattr(generated, m[1])()), source, flags=re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=called)
def test_the_python_of_a_page_runs(page: Path, make_site: MakeSite) -> None:
    """Whoever copies the blocks of a page, one after the other, into an app has code that runs."""
    site = make_site()
    message = Message("Hello", recipients=["ada@example.com"], html='<a href="https://example.com/">Read on</a>')
    names = {"app": site.app, "db": site.db, "mail": site.mail, "mailtrack": site.mailtrack, "message": message}
    names |= {"page": site, "Mailtrack": Mailtrack, "Message": Message, "Mail": Mail, "SQLAlchemy": SQLAlchemy}
    names["__name__"] = "a_page"
    for line, code in blocks(page):
        padded = "\n" * line + code  # so that a traceback has the line of the page
        exec(compile(padded, str(page), "exec"), names)  # noqa: S102 - our own documentation


def test_every_page_is_reached() -> None:
    """Each page stands in the table of contents of its section."""
    for page in PAGES:
        index = page.parent / "index.md" if page.name != "index.md" else page.parent.parent / "index.md"
        if page != DOCS / "index.md":
            name = page.stem if page.name != "index.md" else f"{page.parent.name}/index"
            assert re.search(rf"^{name}$", index.read_text(encoding="utf-8"), re.MULTILINE), page


def test_every_key_has_its_section(generated: ModuleType) -> None:
    """Each configuration key has a heading, its default and its meaning."""
    text = text_of("reference/configuration.md", generated)
    for name, default, doc in keys():
        assert f"## `{name}`\n\nDefault: `{default!r}`\n\n{doc}" in text


def test_every_command_has_its_section(generated: ModuleType) -> None:
    """Each command, at each level, has a heading and its help."""
    text = text_of("reference/commands.md", generated)
    names = [f"flask mailtrack {name}" for name in commands.list_commands(None)]  # type: ignore[arg-type]
    names += ["flask mailtrack settings set", "flask mailtrack domains add", "flask mailtrack suppress import"]
    assert [name for name in names if f"## `{name}`\n\n```text\nUsage: {name} " not in text] == []


def test_every_column_has_its_line(generated: ModuleType, make_site: MakeSite) -> None:
    """Each column of each table stands below its table, with its meaning."""
    text = text_of("reference/tables.md", generated)
    tables = make_site(tables=False).db.metadatas[None].tables.values()
    assert len(tables) > 10
    for table in tables:
        section = text.split(f"## `{table.name}`\n")[1].split("\n## ")[0]
        lost = [c.name for c in table.columns if not (c.doc and re.search(rf"^\| `{c.name}` \| `\w", section, re.M))]
        assert lost == [], table.name


def test_every_word_of_the_events_has_its_meaning(generated: ModuleType) -> None:
    """Types, statuses, kinds and verdicts are listed, each of the statuses with a sentence."""
    from flask_mailtrack.events import EventType, OptOutKind, Status, Verdict

    text = text_of("reference/events.md", generated)
    lines = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert {each.value for kind in (EventType, Status, OptOutKind) for each in kind} <= set(lines)
    assert all(lines[status] for status in Status)
    verdicts = re.findall(r"^\| `(\w+)` \| ", text_of("reference/verdicts.md", generated), re.MULTILINE)
    assert {verdict.value for verdict in Verdict} <= set(verdicts)


def test_every_rule_of_a_verdict_has_its_source(generated: ModuleType) -> None:
    """Each reason that a verdict may have stands in the tables of rules, and no other reason does."""
    text = text_of("reference/verdicts.md", generated).split("## Rules for one request")[1]
    assert set(re.findall(r"^\| `(\w+)` \| ", text, re.MULTILINE)) == {*_WHY, *_SIGNS}


def test_every_error_code_has_cause_and_cure(generated: ModuleType) -> None:
    """Each code that stops a start has a section, and no section is about a code that is gone."""
    text = text_of("reference/errors.md", generated)
    found = re.findall(r"^## (E\d{3})\n\nCause: .{15,}\.\n\nCure: .{8,}\.$", text, re.MULTILINE)
    raised = re.findall(r'(?:ConfigError|bad)\(\s*"(E\d{3})"|\("\w+", "(E\d{3})"', PACKAGE)
    assert found == sorted({one or other for one, other in raised})


def test_every_finding_has_its_section(generated: ModuleType) -> None:
    """Each finding of a check has a section with its meaning and its cure, and no section is about one that is gone."""
    text = text_of("reference/findings.md", generated)
    found = re.findall(r"^## (C\d\d): .+\n\n.{10,}\n\nCure: .{8,}$", text, re.MULTILINE)
    assert found == sorted(set(re.findall(r'(?:Finding|_guarded)\("(C\d\d)"', PACKAGE)))


def test_every_endpoint_has_its_line(make_site: MakeSite, generated: ModuleType) -> None:
    """The table of URLs names each route of the package, and no other."""
    rules = [rule.endpoint for rule in make_site(tables=False).app.url_map.iter_rules()]
    text = text_of("reference/urls.md", generated)
    assert set(re.findall(r"`(mailtrack\.\w+)`", text)) == {each for each in rules if each.startswith("mailtrack.")}


def test_every_function_and_template_has_its_line(make_site: MakeSite, generated: ModuleType) -> None:
    """The page of templates names each function for mails, and each template of a page."""
    text = text_of("reference/templates.md", generated)
    names = [
        each for each in make_site(tables=False).app.jinja_env.globals if re.search("unsub|pref|track|online", each)
    ]
    assert len(names) == 6
    assert [name for name in names if f"`{name}(" not in text] == []
    folder = ROOT / "flask_mailtrack" / "templates" / "mailtrack"
    files = [path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("_")]
    assert [name for name in files if f"`mailtrack/{name}`" not in text] == []


def test_every_public_name_is_documented_by_autodoc(generated: ModuleType) -> None:
    """Each public module has its place on a page of the reference, by which autodoc lists all of its names."""
    pages = [page for page in PAGES if page.parent.name == "reference"]
    given = "".join(page.read_text(encoding="utf-8") for page in pages)
    for name in generated.PUBLIC:
        module = importlib.import_module(f"flask_mailtrack{name}")
        whole = re.search(rf"automodule:: flask_mailtrack{re.escape(name)}\n(?!   :no-members)", given)
        lost = [n for n in module.__all__ if not re.search(rf"auto\w+:: flask_mailtrack[\w.]*\.{n}\n", given)]
        assert whole or not lost, (name, lost)


def test_every_signal_is_there(generated: ModuleType) -> None:
    """Each signal is a public name of its module, so the page of signals has it."""
    assert {name for name, each in vars(signals).items() if isinstance(each, NamedSignal)} <= set(signals.__all__)
    assert "automodule:: flask_mailtrack.signals" in text_of("reference/signals.md", generated)


def test_troubleshooting_ends_at_commands() -> None:
    """Each symptom ends at a command that finds its cause, and the commands exist."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    sections = text.split("\n## ")[1:]
    assert len(sections) >= 13
    for section in sections:
        command = re.search(r"```sh\nflask mailtrack ([\w-]+).*\n```\n?$", section.rstrip() + "\n")
        assert command, section[:60]
        assert command[1] in commands.list_commands(None)  # type: ignore[arg-type]


STEP = re.compile(r"^```(?:\{code-block\} )?(\S+)\n(?::(\w+): (\S+)\n\n)?(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_tutorial_leads_to_a_click(tmp_path: Path) -> None:
    """From an empty folder, the steps of the tutorial lead to a tracked click, and to a reader who has left."""
    port = str(free_port())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    steps = [(m[1], m[3] or "", m[4]) for m in STEP.finditer((DOCS / "tutorial.md").read_text(encoding="utf-8"))]
    assert steps.pop(0)[2] == "python3 -m venv .venv\n.venv/bin/pip install flask-mailtrack\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLASK_RUN_PORT": port}
    said, server, sent = "", None, 0
    try:
        for kind, about, text in steps:
            text = text.replace("127.0.0.1:5000", f"127.0.0.1:{port}")
            if kind in ("python", "html+jinja"):
                (tmp_path / about).parent.mkdir(exist_ok=True)
                (tmp_path / about).write_text(text, encoding="utf-8")
            elif about == "background":
                server = subprocess.Popen(
                    text.split(), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
                )
                assert server.stderr
                while "Running on" not in (line := server.stderr.readline()):
                    assert line
            elif kind == "text":
                assert text in said
            else:
                if "stats" in text:
                    ada(tmp_path)
                sent += "send-news" in text
                if sent == 2 and "send-news" in text:
                    bob(tmp_path)
                done = subprocess.run(
                    ["bash", "-ec", text], cwd=tmp_path, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr + done.stdout
                said = done.stdout
        assert "bob@example.com" in said
    finally:
        if server:
            server.terminate()
            server.communicate()
    with sa.create_engine(f"sqlite:///{tmp_path / 'instance' / 'letters.sqlite3'}").connect() as connection:
        rows = connection.execute(sa.text("SELECT recipient, status, click_count FROM mailtrack_message")).fetchall()
    assert sorted((r, s) for r, s, _ in rows) == [
        ("ada@example.com", "sent"),
        ("ada@example.com", "sent"),
        ("bob@example.com", "sent"),
        ("bob@example.com", "suppressed"),
    ]
    assert sorted(row[2] for row in rows) == [0, 0, 0, 1]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Do not follow: the shop does not exist."""


def fetch(url: str, data: bytes | None = None) -> tuple[int, str]:
    """Ask as a browser does; return status and place of the redirect."""
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(urllib.request.Request(url, data, BROWSER), timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location", "")


def ada(folder: Path) -> None:
    """Read the mail as the tutorial's step for Ada says."""
    html = (folder / "outbox" / "ada@example.com.html").read_text(encoding="utf-8")
    (pixel,) = re.findall(r'src="([^"]+\.gif)"', html)
    assert fetch(pixel) == (200, "")
    assert fetch(re.findall(r'href="([^"]+/c/[^"]+)"', html)[0]) == (302, "https://example.com/tea")


def bob(folder: Path) -> None:
    """Leave the list as the tutorial's step for Bob says."""
    html = (folder / "outbox" / "bob@example.com.html").read_text(encoding="utf-8")
    (page,) = re.findall(r'href="([^"]+/u/[^"]+)"', html)
    assert fetch(page) == (200, "")
    assert fetch(page, b"List-Unsubscribe=One-Click")[0] == 200
