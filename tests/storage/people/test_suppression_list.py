"""Files of suppressions: of any service, of any length, with any damage."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.storage.people import suppression_list
from flask_mailtrack.storage.people.suppression_list import Row, SuppressionFile

FILES = {
    "sendgrid": 'status,reason,email,ip,created\n,"550 5.1.1 no such user",ada@example.com,1.2.3.4,1700000000\n',
    "mailgun": 'address,code,error,created_at\nada@example.com,550,no,"Tue, 14 Nov 2023 22:13:20 UTC"\n',
    "postmark": "EmailAddress,SuppressionReason,CreatedAt\nada@example.com,HardBounce,2023-11-14T22:13:20Z\n",
    "ses": "EmailAddress,Reason,LastUpdateTime\nada@example.com,COMPLAINT,2023-11-14T22:13:20+00:00\n",
    "mailchimp": '"Email Address",UNSUB_TIME,UNSUB_REASON\nada@example.com,"2023-11-14 22:13:20",NORMAL\n',
    "sparkpost": "recipient,type,created\nada@example.com,transactional,2023-11-14T22:13:20.000Z\n",
    "excel": "E-Mail;Reason;Date\nAda <ADA@example.com>;gone;2023-11-14 22:13:20 UTC\n",
    "tabs": "subscriber\ttimestamp\nada@example.com\t1700000000000\n",
    "ours": "email,list_id,kind,method,reason,created\nada@example.com,,unsubscribe,page,x,2023-11-14 22:13:20+00:00\n",
}


def run(site: Site, *args: str) -> Any:
    return site.app.test_cli_runner().invoke(args=["mailtrack", "suppress", *args])


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "suppressions.csv"


@pytest.mark.parametrize("service", FILES)
def test_the_headers_of_the_services_are_known(file: Path, service: str) -> None:
    """Address and time are found in the file of each service, as it writes them."""
    file.write_text(FILES[service])
    (row,) = SuppressionFile(file).rows()
    assert isinstance(row, Row)
    assert row.address == "ada@example.com"
    assert row.created_at is not None
    assert row.created_at.isoformat() == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize(
    "when", ["", "never", "2099-01-01", "1970-01-01", "99999999999999999999", "-1", "inf", "1e400"]
)
def test_a_time_that_cannot_be_true_costs_no_row(file: Path, when: str) -> None:
    """What counts is the address; without a good time it is suppressed as of now."""
    file.write_text(f"email,created\nada@example.com,{when}\n")
    (row,) = SuppressionFile(file).rows()
    assert isinstance(row, Row)
    assert row.created_at is None


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("email,reason\nada@example.com,schön\n".encode(), "utf-8"),
        ("email,reason\nada@example.com,schön\n".encode("utf-8-sig"), "utf-8-sig"),
        ("email,reason\nada@example.com,schön\n".encode("latin-1"), "latin-1"),
        ("email,reason\nada@example.com,schön\n".encode("utf-16"), "utf-16"),
        ("email,reason\r\nada@example.com,schön\r\n".encode(), "utf-8"),
    ],
)
def test_encodings_are_told(site: Site, file: Path, data: bytes, encoding: str) -> None:
    """The file is read as what it is, and the command says what it was taken for."""
    file.write_bytes(data)
    output = run(site, "import", str(file)).output
    assert f"read as {encoding.upper()}" in output
    assert [(o.recipient, o.reason) for o in site.rows("OptOut")] == [("ada@example.com", "schön")]


def test_a_file_is_imported_once(database_url: str, make_site: MakeSite, file: Path) -> None:
    """A second run adds nothing, what stood before stays as it was, and each new row has its proof."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.mailtrack.suppress("a1@example.com", "news", reason="complaint")
    rows = "\n".join(f"A{n}@example.com,gone" for n in (1, 2, 3, 2))
    file.write_text(f"email,reason\n{rows}\n")
    assert "2 added, 2 stood already, 0 rejected" in run(site, "import", str(file), "--list", "news").output
    assert "0 added, 4 stood already, 0 rejected" in run(site, "import", str(file), "--list", "news").output
    assert [(o.recipient, o.list_id, o.method, o.reason) for o in site.rows("OptOut")] == [
        ("a1@example.com", "news", "api", "complaint"),
        ("a2@example.com", "news", "import", "gone"),
        ("a3@example.com", "news", "import", "gone"),
    ]
    assert sorted(a.source for a in site.rows("Audit")) == [
        "api",
        "import:suppressions.csv:3",
        "import:suppressions.csv:4",
    ]
    assert not Path(f"{file}.rejected.csv").exists()
    assert site.send("<p>x</p>", ["a2@example.com"], list_id="news") == []


def test_bad_rows_are_kept_with_their_numbers(site: Site, file: Path) -> None:
    """Each is named with its line, and written to a file that can be mended and imported itself."""
    lines = [
        "email,reason",
        "ada@example.com,x",
        "not an address,y",
        "",
        ",z",
        "bob@example.com,v",
        '"carl',
        "dora@example.com,w",
    ]
    file.write_text("\n".join(lines) + "\n" + "eve@example.com,x\n" * 30)
    output = run(site, "import", str(file)).output
    assert "4 added, 29 stood already, 3 rejected" in output
    for line in (3, 5, 7):
        assert f"line {line} " in output
    rejected = Path(f"{file}.rejected.csv")
    with rejected.open(newline="") as text:
        found = list(csv.DictReader(text))
    assert [row["line"] for row in found] == ["3", "5", "7"]
    assert {o.recipient for o in site.rows("OptOut")} == {f"{n}@example.com" for n in ("ada", "bob", "dora", "eve")}
    rejected.write_text(rejected.read_text().replace("not an address", "fay@example.com"))
    assert "1 added" in run(site, "import", str(rejected)).output


def test_a_file_without_addresses_is_refused(site: Site, file: Path) -> None:
    """The mistake is named, and nothing is written."""
    for text in ("", "name,city\nAda,London\n"):
        file.write_text(text)
        result = run(site, "import", str(file))
        assert result.exit_code == 1
        assert "column with addresses" in result.output
    assert site.rows("OptOut") == []


def test_bare_addresses_are_enough(site: Site, file: Path) -> None:
    """A file without header, one address in a line."""
    file.write_text("ada@example.com\nx\nbob@example.com\n")
    assert "2 added, 0 stood already, 1 rejected" in run(site, "import", str(file)).output
    assert Path(f"{file}.rejected.csv").read_text() == "x\n"


def test_an_import_that_stops_can_go_on(site: Site, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed stays, the command says where to go on, and nothing is lost or doubled."""
    monkeypatch.setattr(suppression_list, "BATCH", 10)
    file.write_text("email\n" + "".join(f"a{n}@example.com\n" for n in range(50)) + "bad\n")
    write, calls = suppression_list.register.write, []

    def failing(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise sa.exc.OperationalError("", {}, Exception("gone"))
        return write(*args, **options)

    monkeypatch.setattr(suppression_list.register, "write", failing)
    assert "--from-line 22" in run(site, "import", str(file)).output
    assert len(site.rows("OptOut")) == 20
    assert "30 added, 0 stood already, 1 rejected" in run(site, "import", str(file), "--from-line", "22").output
    assert len(site.rows("OptOut")) == 50


def test_what_is_exported_can_be_imported(
    database_url: str, make_site: MakeSite, tmp_path: Path, monkeypatch: Any
) -> None:
    """Our own file goes round with list, kind and reason, page by page, and holds no formula."""
    monkeypatch.setattr("flask_mailtrack.storage.tables.register._PAGE", 3)
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    for name in ("ada", "bob", "=carl", "+dora", "eve"):
        site.mailtrack.suppress(f"{name}@example.com", "news", reason="bounce")
    site.mailtrack.suppress("bob@example.com")
    site.mailtrack.suppress("eve@example.com", tracking=True)
    file = tmp_path / "out.csv"
    assert run(site, "export", str(file)).exit_code == 0
    before = [(o.recipient, o.list_id, o.kind, o.reason) for o in site.rows("OptOut")]
    assert "'=carl@example.com" in file.read_text()
    with site.db.engine.begin() as connection:
        connection.execute(site.mailtrack.models.OptOut.__table__.delete())
    assert f"{len(before)} added, 0 stood already, 0 rejected" in run(site, "import", str(file)).output
    assert [(o.recipient, o.list_id, o.kind, o.reason) for o in site.rows("OptOut")] == before


def test_the_commands_for_one(site: Site) -> None:
    """Add, list, remove; bad input is answered without a traceback."""
    assert "from the list news" in run(site, "add", "Ada@example.com", "--list", "news", "--reason", "complaint").output
    assert "ada@example.com  news  unsubscribe  cli  complaint" in run(site, "list").output
    assert "ada@example.com" in run(site, "list", "ADA@example.com", "--list", "news").output
    assert "nothing stands" in run(site, "list", "--list", "offers").output
    assert "any more" in run(site, "remove", "ada@example.com", "--list", "news").output
    assert "nothing stands" in run(site, "list", "ada@example.com").output
    result = run(site, "add", "nobody")
    assert (result.exit_code, "not an address" in result.output) == (1, True)


@given(data=st.binary(max_size=400) | st.text("\",;\n\r\\'@a", max_size=60).map(str.encode))
def test_no_row_is_lost_to_another(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever bytes stand before it, quotes that do not end included, an address on its own line is found."""
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(b"email,reason\n" + data + b"\nada@example.com,x\n")
    assert any("ada@example.com" in repr(row) for row in SuppressionFile(file).rows())


def test_a_quote_that_does_not_end_costs_nobody(file: Path) -> None:
    """Neither the row in which it stands nor those that follow, whether it ends never or too late."""
    for end in ("", 'x",\n'):
        file.write_text('email,reason\nada@example.com,"no\nbob@example.com,no\ncarl@example.com,"no\n' + end)
        rows = [row.address for row in SuppressionFile(file).rows() if isinstance(row, Row)]
        assert rows == ["ada@example.com", "bob@example.com", "carl@example.com"]
    file.write_text('email,reason\nada@example.com,"two\nlines"\nbob@example.com,x\n')
    assert [(row.line, isinstance(row, Row)) for row in SuppressionFile(file).rows()] == [(2, True), (4, True)]


def test_an_import_takes_little_memory(tmp_path: Path) -> None:
    """Fifty thousand rows take no more memory than five thousand do, but for a few megabytes."""
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    peaks = {}
    for rows in (10_000, 50_000):
        done = subprocess.run([sys.executable, str(script), str(tmp_path), str(rows)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks[rows] = int(done.stdout)
    assert peaks[50_000] - peaks[10_000] < 12_000  # KiB; all the rows at once would be 60,000


LOAD = """
import resource, sys
from pathlib import Path
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack
from flask_mailtrack.storage.people.suppression_list import SuppressionFile
from flask_mailtrack.storage.people.suppression_list import load

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
file = folder / f"{rows}.csv"
with file.open("w") as out:
    out.write("email,reason,created\\n")
    out.writelines(f"person{n}@example.com,bounce,1700000000\\n" for n in range(rows))
app = Flask("load", instance_path=str(folder))
app.config.update(
    SECRET_KEY="x" * 40, TESTING=True, MAILTRACK_BASE_URL="https://x.example.com",
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/{rows}.sqlite3",
)
db, mail = SQLAlchemy(app), Mail(app)
mailtrack = Mailtrack(app, mail=mail, db=db)
with app.app_context():
    db.create_all()
    assert load(mailtrack._state().people, SuppressionFile(file)).added == rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
