"""What is in the wheel is enough: no file of the checkout helps it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WHEEL = os.environ.get("MAILTRACK_WHEEL", "")
PROGRAM = """
from importlib.resources import files
from flask import Flask
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
import flask_mailtrack
from flask_mailtrack.testing import Reader

app = Flask(__name__)
app.config.update(TESTING=True, SECRET_KEY="a key of the wheel's own test", SQLALCHEMY_DATABASE_URI="sqlite://",
                  MAILTRACK_BASE_URL="https://links.example.com", MAIL_DEFAULT_SENDER="me@example.com")
db, mail = SQLAlchemy(app), Mail(app)
mailtrack = flask_mailtrack.Mailtrack(app, mail=mail, db=db)
with app.app_context(), mail.record_messages() as outbox:
    db.create_all()
    message = Message("Hi", recipients=["ada@example.com"], html='<a href="https://example.com/">x</a>')
    mail.send(mailtrack.track(message, list_id="news"))
    client = app.test_client()
    reader = Reader(client, outbox[0])
    assert reader.open().status_code == 200
    assert reader.click("x").location == "https://example.com/"
    assert b"Unsubscribe" in reader.get(reader.links[1].url).data
    german = Reader(client, outbox[0], {"Accept-Language": "de"})
    assert b"Abmelden" in german.get(reader.links[1].url).data
    assert client.get("/m/static/mailtrack.css").status_code == 200
    assert mailtrack.stats().clicked.unique == 1
assert files(flask_mailtrack).joinpath("py.typed").is_file()
assert "site-packages" in flask_mailtrack.__file__
print("tracked")
"""


@pytest.mark.skipif(not WHEEL, reason="MAILTRACK_WHEEL names no wheel; .ci/run builds one")
def test_the_wheel_sends_a_tracked_mail(tmp_path: Path) -> None:
    """Installed from the wheel into a fresh environment, the package tracks a mail, shows its pages and is typed."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", WHEEL], check=True)
    done = subprocess.run([python, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "tracked\n", done.stderr
