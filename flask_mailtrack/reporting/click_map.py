"""Where in a mail people clicked: the kept body of a campaign, drawn with a badge at each tracked link.

The drawn mail is a stranger's HTML. It belongs into a frame with ``sandbox``, under the headers that come with it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from flask_mailtrack.drawing import AuthoredBody, LinkPlace, Manner, draw
from flask_mailtrack.errors import ReportError
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import messages_inside

from .answers import LinkFigures, LinkLine
from .stats import Rated

MUCH = 0.3
"""A badge is dark from this share on."""
_UNKNOWN = "…"
_PERSONAL: dict[str, str] = dict.fromkeys(("unsubscribe", "preferences", "optout", "online", "foreign"), _UNKNOWN)


@dataclass(frozen=True, slots=True)
class BodyLine:
    """A kept body."""

    id: uuid.UUID
    tag: str
    subject: str
    messages: int
    """Copies that went out with it, as far as their rows are there."""
    first_at: datetime
    """When the first of them was sent."""


@dataclass(frozen=True, slots=True)
class MappedLink(Rated):
    """A link on the map."""

    number: int
    """As on its badges: the place in :meth:`.Reports.links`, from 1; links that nobody has clicked follow."""
    url: str
    name: str
    position: int
    """Place among the distinct links of the mail, from 0."""
    places: int
    """How often the link stands in the mail. Its badges share one figure."""
    total: int
    unique: int
    """Messages of which the audience followed this link."""
    of: int
    """Messages of which the audience followed any link."""


@dataclass(frozen=True, slots=True)
class ClickMap:
    """A mail with badges."""

    body: BodyLine
    links: tuple[MappedLink, ...]
    """By number."""
    html: str
    headers: tuple[tuple[str, str], ...]
    """What an answer with this HTML must say."""


def bodies_of(database: Database, within: Scope | None, *conditions: Any) -> tuple[BodyLine, ...]:
    """Return kept bodies, the newest first.

    :param within: the only mail that there is: a body that none of it has is not there.
    """
    body, message = database.body, database.message
    inside = messages_inside(message, within)
    mine = (message.c.body_id == body.c.id, *inside)
    told = [
        select(figure).where(*mine).correlate(body).scalar_subquery()
        for figure in (func.count(), func.min(message.c.created_at))
    ]
    query = select(body.c.id, body.c.tag, body.c.subject, body.c.created_at, *told).where(*conditions)
    return tuple(
        BodyLine(key, tag, subject, messages, first_at or created_at)
        for key, tag, subject, created_at, messages, first_at in database.rows(
            query.order_by(body.c.created_at.desc(), body.c.id)
        )
        if within is None or messages
    )


def body_of(database: Database, within: Scope | None, message_id: uuid.UUID | str) -> BodyLine | None:
    """Return the kept body of a message, if there is one.

    :raises ReportError: the id is none.
    """
    message = database.message
    wanted = (message.c.id == _id(message_id, "message_id"), *messages_inside(message, within))
    mine = select(message.c.body_id).where(*wanted)
    return next(iter(bodies_of(database, within, database.body.c.id.in_(mine))), None)


def map_of(
    database: Database,
    within: Scope | None,
    tag: str,
    body_id: uuid.UUID | str | None,
    figures: Callable[[], LinkFigures],
    pictures: Sequence[str],
) -> ClickMap | None:
    """Return the map of one body of a campaign; ``None`` if none is kept.

    :param body_id: default: the one that most messages have.
    :param figures: returns what was clicked.
    :param pictures: the sources from which pictures are shown: ``https://cdn.example.com``.
    :raises ReportError: the id, or a source, is none.
    """
    for source in pictures:
        if not source.startswith(("https://", "http://")) or any(sign in source for sign in " ;,'\"\\\r\n"):
            raise ReportError(f"pictures has {source!r}. Write a scheme and a host: 'https://cdn.example.com'.")
    body = database.body.c
    wanted = [] if body_id is None else [body.id == _id(body_id, "body_id")]
    lines = bodies_of(database, within, body.tag == tag, *wanted)
    if not lines:
        return None
    line = max(lines, key=lambda each: each.messages)
    rows = database.rows(select(body.content).where(body.id == line.id))
    if not rows:  # purged at this moment
        return None
    content = AuthoredBody.unpacked(rows[0][0])
    links = _mapped(content.links, figures())
    return ClickMap(line, tuple(links.values()), _drawn(content, links, pictures), _headers(pictures))


def _id(value: uuid.UUID | str, name: str) -> uuid.UUID:
    try:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ReportError(Phrase("%(name)s is %(value)s. Write an id.", name=name, value=repr(value))) from None


def _mapped(places: Iterable[LinkPlace], figures: LinkFigures) -> dict[int, MappedLink]:
    """Return the links of a body by their position, in the order of their numbers."""
    each = {place.position: place for place in places}
    often = Counter(place.position for place in places)
    clicked: dict[int, tuple[int, LinkLine]] = {}
    for number, row in enumerate(figures.rows, 1):
        place = each.get(-1 if row.position is None else row.position)
        if place and row.part == "html" and (row.url, row.name) in ((place.url, place.name), ("", "")):
            clicked.setdefault(place.position, (number, row))
    links = [
        _link(each[k], number, often[k], row.total, row.unique, figures.of) for k, (number, row) in clicked.items()
    ]
    for number, position in enumerate(sorted(each.keys() - clicked.keys()), len(figures.rows) + 1):
        links.append(_link(each[position], number, often[position], 0, 0, figures.of))
    return {link.position: link for link in sorted(links, key=lambda link: link.number)}


def _link(place: LinkPlace, number: int, places: int, total: int, unique: int, of: int) -> MappedLink:
    return MappedLink(number, place.url, place.name, place.position, places, total, unique, of)


def _drawn(content: AuthoredBody, links: dict[int, MappedLink], pictures: Sequence[str]) -> str:
    roots = tuple(f"{source.rstrip('/')}/" for source in pictures)
    manner = Manner(
        pictures=lambda url: url.startswith(roots) if roots else False,
        slots=_PERSONAL,
        before=lambda place: _badge(links[place.position]),
        head="<style>@media(max-width:480px){mt-badge i{display:none!important}}</style>",
    )
    return draw(content, manner)


# Inline and important, because a style sheet of the mail may say anything. Out of the flow, so that nothing moves:
# even an inline block without a size would open a line before a link that is a block.
_PLACE = "all:initial!important;position:absolute!important;width:0!important;height:0!important"
_LABEL = (
    "all:initial!important;position:absolute!important;left:-4px!important;top:-14px!important;z-index:9!important;"
    "font:700 11px/18px system-ui,sans-serif!important;white-space:nowrap!important;padding:0 7px!important;"
    "border-radius:9px!important;box-shadow:0 0 0 1.5px #0b5c68!important;"
)
_PALE, _DARK = (
    f"background:{back}!important;color:{fore}!important"
    for back, fore in (("#dfeef0", "#0b5c68"), ("#0b5c68", "#fff"))
)


def _badge(link: MappedLink) -> str:
    colours = _DARK if link.rate and link.rate > MUCH else _PALE
    share = f"{link.rate:.0%}" if link.of else "–"
    label = f'{link.number} · {share}<i style="all:unset"> · {link.unique}</i>'
    return f'<mt-badge style="{_PLACE}"><b style="{_LABEL}{colours}">{label}</b></mt-badge>'


def _headers(pictures: Sequence[str]) -> tuple[tuple[str, str], ...]:
    policy = (
        f"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {' '.join(('data:', *pictures))};"
        " form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    )
    return (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", policy),
        ("Cache-Control", "no-store, private"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Robots-Tag", "noindex"),
    )
