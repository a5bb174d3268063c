"""The inbox inside the app: it keeps what is sent, and acts as the machines that handle mail on its way."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_mail import Message, email_dispatched
from sqlalchemy import delete, select

from flask_mailtrack.testing import Reader

from .models import Letter, db, mailtrack

KEPT = 200

_GATEWAY = {"User-Agent": "Mozilla/5.0 (compatible; Barracuda Sentinel)"}
_APPLE = {"User-Agent": "Mozilla/5.0"}  # Apple's privacy proxy says no more than that
_PROVIDER = {"User-Agent": "ExampleMail one-click unsubscribe"}


def install(app: Flask) -> None:
    """Keep each mail that *app* sends, also where sending is suppressed."""
    email_dispatched.connect(keep, app)


def keep(app: Flask, message: Message) -> None:
    """Put what was just sent into the inbox, and drop what is too old."""
    for recipient in message.send_to:
        letter = Letter(recipient=str(recipient), header_message_id=message.msgId, raw=message.as_bytes())
        db.session.add(letter)
        db.session.flush()
        db.session.execute(delete(Letter).where(Letter.id <= letter.id - KEPT))
    db.session.commit()


def row_of(letter: Letter) -> Any:
    """Return the message row that mailtrack keeps of *letter*."""
    model = mailtrack.models.Message
    query = select(model).where(
        model.header_message_id == letter.header_message_id, model.recipient == letter.recipient
    )
    return db.session.scalars(query).first()


def scan(letter: Letter) -> None:
    """Do what a security gateway does on delivery: load the images, and open each link of the mail."""
    reader = Reader(current_app.test_client(), letter, _GATEWAY)
    if _has_pixel(letter):
        reader.open()
    for url in {link.url: None for link in reader.links if link.url.startswith(_base_url())}:
        reader.client.head(url, headers=_GATEWAY)
        reader.get(url)


def open_as_apple(letter: Letter) -> None:
    """Load the images through Apple's privacy proxy, which does so whether or not somebody reads the mail."""
    if _has_pixel(letter):
        Reader(current_app.test_client(), letter, _APPLE).open()


def unsubscribe(letter: Letter) -> None:
    """Do what a mail provider does when its user presses the button beside the sender (RFC 8058)."""
    if letter.unsubscribe_url.startswith(_base_url()):
        form = {"List-Unsubscribe": "One-Click"}
        current_app.test_client().post(letter.unsubscribe_url, data=form, headers=_PROVIDER)


ACTS = {"scan": scan, "apple": open_as_apple, "unsubscribe": unsubscribe}


def _has_pixel(letter: Letter) -> bool:
    row = row_of(letter)
    return row is not None and bool(row.tracks_opens)


def _base_url() -> str:
    return str(current_app.config["MAILTRACK_BASE_URL"])
