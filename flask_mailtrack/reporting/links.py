"""What stands behind the references by which sums tell links apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from flask_mailtrack.events import EventType
from flask_mailtrack.figures import SHARES
from flask_mailtrack.storage.records import batched
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import messages_inside

from .rows import Values, merge
from .selection import Selection

LinkRefs = Callable[[str, str, str], Sequence[str]]
_AT_ONCE = 500
_LOOKED_AT = 500
"""Clicks that are read for a link that is in no table of links."""
Link = tuple[int | None, str, str, str]


def resolved(database: Database, link_refs: LinkRefs, selection: Selection, values: Values) -> Values:
    """Return shares by position, part, URL and name of a link.

    :param values: by the same, or by the word of position, part and reference that sums have.
    :param selection: of a tag.
    """
    words = {value: _read(value) for value in values if isinstance(value, str)}
    known = _known(database, {ref for _, _, ref in words.values()})
    missing = [word for word in words.values() if word[2] not in known]
    if missing:
        known |= _seen(database, link_refs, selection, missing)
    found: Values = defaultdict(lambda: dict.fromkeys(SHARES, 0))
    for value, numbers in values.items():
        if isinstance(value, str):
            position, part, ref = words[value]
            merge(found[(position, part, *known.get(ref, ("", "")))], numbers)
        else:
            merge(found[value], numbers)
    return dict(found)


def _read(word: str) -> tuple[int | None, str, str]:
    position, _, rest = word.partition(":")
    part, _, ref = rest.partition(":")
    return (int(position) if position else None), part, ref


def _known(database: Database, refs: Iterable[str]) -> dict[str, tuple[str, str]]:
    table = database.link.c
    found: dict[str, tuple[str, str]] = {}
    for some in batched(sorted(refs), _AT_ONCE):
        for ref, url, name in database.rows(select(table.ref, table.url, table.name).where(table.ref.in_(some))):
            found[ref] = url, name
    return found


def _seen(
    database: Database, link_refs: LinkRefs, selection: Selection, missing: Iterable[tuple[Any, ...]]
) -> Mapping[str, tuple[str, str]]:
    """Look for links in clicks of the campaign, which keep where they led."""
    event, message = database.event, database.message
    found: dict[str, tuple[str, str]] = {}
    inside = messages_inside(message, selection.within)
    for position, part, _ in sorted(set(missing), key=str):
        query = select(event.c.url, event.c.link_name).select_from(
            message.join(event, event.c.message_id == message.c.id)
        )
        mine = (message.c.tag == selection.tag, event.c.type == EventType.CLICKED)
        clicks = query.where(*mine, *inside, event.c.link == position, event.c.part == part).limit(_LOOKED_AT)
        for url, name in set(database.rows(clicks)):
            found |= dict.fromkeys(link_refs(url, name, part), (url, name))
    return found
