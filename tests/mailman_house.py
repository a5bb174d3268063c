"""An app that sends by Flask-Mailman, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from conftest import BASE_URL, SECRET
from flask import Flask
from flask_mailman import Mail as Mailman
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack


class House:
    """An app with Flask-Mailman and Mailtrack."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.app = Flask("house", instance_path=str(folder))
        self.app.config.update(
            TESTING=True,
            SECRET_KEY=SECRET,
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder / 'house.sqlite3'}",
            MAILTRACK_BASE_URL=BASE_URL,
            MAIL_DEFAULT_SENDER="News <news@example.org>",
        )
        self.app.config.update(config)
        self.db, self.mail = SQLAlchemy(self.app), Mailman(self.app)
        self.mailtrack = Mailtrack(self.app, mail=self.mail, db=self.db)

    @property
    def outbox(self) -> list[Any]:
        return list(self.app.extensions["mailman"].outbox)

    def states(self) -> dict[str, str]:
        self.db.session.rollback()
        rows = self.db.session.execute(sa.select(self.mailtrack.models.Message)).scalars()
        return {row.recipient: row.status for row in rows}


@contextmanager
def open_house(folder: Path, **config: Any) -> Iterator[House]:
    """Yield a house with its tables, inside its app context."""
    house = House(folder, **config)
    with house.app.app_context():
        house.db.create_all()
        yield house
        house.db.session.remove()
        house.db.engine.dispose()
