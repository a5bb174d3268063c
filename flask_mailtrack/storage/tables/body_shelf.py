"""The kept bodies: written once, read for a click map or a reader, and deleted with the last mail that points to them.

A body that one person alone has got may be about that person. So it goes when the person is forgotten. So does one that
names the person, whoever else has got it.
"""

from __future__ import annotations

import re
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, select

from flask_mailtrack.drawing import AuthoredBody
from flask_mailtrack.events import MailBody

from .database import Database, chunked

_BATCH = 200


def rows(bodies: Iterable[MailBody]) -> list[dict[str, Any]]:
    """Return the rows of *bodies*, each once.

    :raises ValueError: the content of one is damaged.
    """
    every = {body.id: body for body in reversed([*bodies])}
    return [body._asdict() | {"content": b64decode(body.content, validate=True)} for body in every.values()]


@dataclass(frozen=True, slots=True)
class ReadersMail:
    """One mail, as far as its reader may see it again."""

    recipient: str
    sender: str
    created_at: datetime
    mode: str
    tracked: bool
    """Whether the copy went out with tracked links of its own."""
    subject: str
    body: AuthoredBody


def mail_of(database: Database, message_id: uuid.UUID) -> ReadersMail | None:
    """Return the mail behind a link of its reader, if its body is kept and the reader is not forgotten.

    :raises LookupError: the row of the mail is not there. It may be on its way, or purged.
    :raises ValueError: the kept body is damaged.
    :raises SQLAlchemyError: the database cannot be asked.
    """
    message, body = database.message.c, database.body.c
    names = (message.recipient, message.sender, message.created_at, message.mode, message.tracks_clicks, message.shared)
    query = select(*names, body.subject, body.content).select_from(
        database.message.outerjoin(database.body, message.body_id == body.id)
    )
    found = database.rows(query.where(message.id == message_id))
    if not found:
        raise LookupError("the mail has no row")
    recipient, sender, created_at, mode, tracked, shared, subject, content = found[0]
    if not recipient or content is None:
        return None
    own = bool(tracked) and not shared
    return ReadersMail(recipient, sender, created_at, mode or "", own, subject, AuthoredBody.unpacked(content))


def forget(
    database: Database,
    connection: Connection,
    message_ids: Sequence[uuid.UUID],
    named: re.Pattern[str],
    inside: Sequence[ColumnElement[bool]] = (),
) -> list[uuid.UUID]:
    """Delete the bodies that name a person, and those that no other message points to; return their ids.

    :param message_ids: of one person, whose messages are about to lose their bodies.
    :param named: finds the address of the person.
    :param inside: conditions for the messages of others that may lose a body that names the person; default: all may.
    """
    message, body = database.message, database.body
    mine: set[uuid.UUID] = set()
    for ids in chunked(message_ids):
        query = select(message.c.body_id).where(message.c.id.in_(ids), message.c.body_id.is_not(None))
        mine.update(connection.execute(query.distinct()).scalars())
        connection.execute(message.update().where(message.c.id.in_(ids)).values(body_id=None))
    gone = []
    for key in sorted(mine):
        others = select(message.c.id).where(message.c.body_id == key).limit(1)
        if connection.execute(others).first() is not None and _names(database, connection, key, named):
            connection.execute(message.update().where(message.c.body_id == key, *inside).values(body_id=None))
        if connection.execute(others).first() is None:
            connection.execute(body.delete().where(body.c.id == key))
            gone.append(key)
    return gone


def _names(database: Database, connection: Connection, key: uuid.UUID, named: re.Pattern[str]) -> bool:
    """Say whether a body names a person. One that is damaged does, because nobody can say what is in it."""
    body = database.body.c
    found = connection.execute(select(body.subject, body.content).where(body.id == key)).first()
    if found is None:
        return False
    try:
        kept = AuthoredBody.unpacked(found.content)
    except ValueError:
        return True
    texts = (
        found.subject,
        kept.html,
        unescape(kept.html),
        *(text for link in kept.links for text in (link.url, link.name)),
    )
    return any(map(named.search, texts))


def sweep(database: Database, before: datetime, between: Callable[[], object]) -> int:
    """Delete bodies without a message, and return how many there were.

    :param before: only bodies that were first sent earlier; the messages of a younger one may be on their way.
    :param between: called after each transaction.
    """
    message, body = database.message, database.body
    alone = ~exists().where(message.c.body_id == body.c.id)
    gone = 0
    while True:
        with database.transaction() as connection:
            query = select(body.c.id).where(body.c.created_at < before, alone).limit(_BATCH)
            ids = list(connection.execute(query).scalars())
            if not ids:
                return gone
            connection.execute(body.delete().where(body.c.id.in_(ids)))
        gone += len(ids)
        between()


def of_messages(database: Database, message_ids: Sequence[uuid.UUID]) -> list[dict[str, Any]]:
    """Return the bodies of some messages, ready for JSON."""
    message, body = database.message, database.body
    keys: set[uuid.UUID] = set()
    for ids in chunked(message_ids):
        query = select(message.c.body_id).where(message.c.id.in_(ids), message.c.body_id.is_not(None))
        keys.update(row[0] for row in database.rows(query.distinct()))
    found = []
    for some in chunked(keys):
        for key, subject, content in database.rows(
            select(body.c.id, body.c.subject, body.c.content).where(body.c.id.in_(some))
        ):
            found.append({"id": str(key), "subject": subject, "html": AuthoredBody.unpacked(content).html})
    return found
