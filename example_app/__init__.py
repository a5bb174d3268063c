"""A tea shop that mails its customers and watches what becomes of the mails.

.. code-block:: console

    $ flask --app example_app run

The first start makes ``instance/``: a signing key, and an SQLite database with thirteen weeks of made-up mail.
Delete that folder to start over. Nothing leaves this machine unless ``MAIL_SERVER`` is set: what is sent
lands in the mailbox at ``/mailbox``. What becomes of it is told by the console at ``/mailtrack``.

These environment variables are read:

``MAILTRACK_BASE_URL``
    Where links in mails lead; default ``http://127.0.0.1:5000``. Links are built from configuration only, never
    from a request, for a mail is often sent where there is no request, and a Host header may be forged. So
    on another port, say that port here too; each page tells you if you forgot.
``MAIL_SERVER``, ``MAIL_PORT``, ``MAIL_USERNAME``, ``MAIL_PASSWORD``, ``MAIL_USE_TLS``, ``MAIL_DEFAULT_SENDER``
    A real SMTP server. The mailbox still keeps a copy.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from flask_mailtrack.console.access import Viewer

from .models import db, mail, mailtrack
from .seed import seed, send_some
from .views import pages

LISTS = {
    "news": {"title": "News", "description": "What is new in the shop, about once a fortnight."},
    "offers": {"title": "Offers", "description": "Prices that will not last, at most once a week."},
}


def create_app(config: Mapping[str, Any] | None = None, *, instance_path: str | None = None) -> Flask:
    """Return the app, set up and seeded.

    :param config: stronger than the defaults and the environment.
    :param instance_path: an absolute path for key and database; default: ``instance/`` beside the package.
    """
    app = Flask(__name__, instance_path=instance_path)
    app.config.from_mapping(_settings(os.environ))
    app.config.from_mapping(config)
    with _alone(Path(app.instance_path)) as instance:
        if not app.config["SECRET_KEY"]:
            app.config["SECRET_KEY"] = _secret_key(instance / "secret_key")
        db.init_app(app)
        mail.init_app(app)
        mailtrack.init_app(app)
        with app.app_context():
            db.create_all()
            db.session.execute(text("PRAGMA journal_mode=WAL"))  # the live timeline reads while hits are written
            fresh = seed()
        app.register_blueprint(pages)
        # By force, because this shop runs without --debug. Yours should not: whoever gets there reads all mail.
        app.register_blueprint(mailtrack.mailbox(force=True), url_prefix="/mailbox")
        app.register_blueprint(mailtrack.console(access=access, name="Leaf & Kettle"), url_prefix="/mailtrack")
        if fresh and app.config["MAIL_SUPPRESS_SEND"]:
            send_some(app)
    return app


def access() -> Viewer:
    """Say who looks at the console: here everybody, with all permissions, because only you are on this machine.

    Yours must ask your own login, such as: ``return {"view", "addresses"} if current_user.is_admin else set()``.
    """
    return Viewer({"view", "addresses", "export", "manage"}, "You")


def _settings(environment: Mapping[str, str]) -> dict[str, Any]:
    server = environment.get("MAIL_SERVER", "")
    return {
        "SQLALCHEMY_DATABASE_URI": "sqlite:///example.sqlite3",
        "MAILTRACK_BASE_URL": environment.get("MAILTRACK_BASE_URL") or "http://127.0.0.1:5000",
        "MAILTRACK_DRAIN": "inline",  # events are there at once; a busy site leaves it to the thread
        # Whoever tries this out opens a mail sooner than any customer, and clicks faster.
        "MAILTRACK_THRESHOLDS": {"instant": 0.5, "burst": 1},
        "MAILTRACK_LISTS": LISTS,
        "MAILTRACK_KEEP_BODIES": True,  # for the click maps of the console
        "MAILTRACK_CNAME_TARGET": "mail.teashop.example",
        "MAILTRACK_DNS_SERVERS": ["127.0.0.1:9"],  # nobody answers there, so no check of a domain leaves this machine
        "MAIL_SUPPRESS_SEND": not server,
        "MAIL_SERVER": server or "127.0.0.1",
        "MAIL_PORT": int(environment.get("MAIL_PORT") or 25),
        "MAIL_USERNAME": environment.get("MAIL_USERNAME"),
        "MAIL_PASSWORD": environment.get("MAIL_PASSWORD"),
        "MAIL_USE_TLS": environment.get("MAIL_USE_TLS", "").lower() in ("1", "true", "yes", "on"),
        "MAIL_DEFAULT_SENDER": environment.get("MAIL_DEFAULT_SENDER") or "Leaf & Kettle <hello@teashop.example>",
    }


@contextmanager
def _alone(instance: Path) -> Iterator[Path]:
    """Let one process at a time set up: a server may start several at once."""
    instance.mkdir(parents=True, exist_ok=True)
    with (instance / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield instance


def _secret_key(path: Path) -> str:
    """Return the key of this copy of the example: links in its mails work as long as the key is kept."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex())
    return path.read_text()
