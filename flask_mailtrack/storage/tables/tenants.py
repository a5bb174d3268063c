"""The rows of one tenant: the only place that says, in SQL, what is inside a :class:`~flask_mailtrack.Scope`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_, select

from flask_mailtrack.scope import Scope

from .database import Database

_BY_COLUMN = {"list_id": "lists", "tag": "tags"}


def messages_inside(message: Any, scope: Scope | None) -> list[ColumnElement[bool]]:
    """Return the conditions for messages inside a scope.

    :param message: the table of messages, or an alias of it.
    """
    found = _named(message, scope)
    if scope is not None and scope.sender_domains is not None:
        found.append(or_(false(), *(from_domain(message.c.sender, each) for each in sorted(scope.sender_domains))))
    return found


def cohorts_inside(cohort: Any, scope: Scope | None) -> list[ColumnElement[bool]]:
    """Return the conditions for cohorts inside a scope, of those that tell apart what the scope names."""
    found = _named(cohort, scope)
    if scope is not None and scope.sender_domains is not None:
        found.append(cohort.c.sender_domain.in_(sorted(scope.sender_domains)))
    return found


def optouts_inside(database: Database, scope: Scope | None) -> list[ColumnElement[bool]]:
    """Return the conditions for opt-outs inside a scope.

    An opt-out from a list is inside if the scope has the list, or, if any list is in the scope, if mail inside names
    it: also one by a link of somebody else's mail, as it stops this mail, too. An opt-out from everything is inside
    only if a link of mail inside made it, as any other would tell that there is somebody else.
    """
    if scope is None:
        return []
    return [_of_scope(database, scope, database.optout.c.list_id, database.optout.c.message_id)]


def audit_inside(database: Database, scope: Scope | None) -> list[ColumnElement[bool]]:
    """Return the conditions for audit rows inside a scope: those of opt-outs that are, or were, inside."""
    if scope is None:
        return []
    audit = database.audit
    # A source names a message as text, which each database would write in a way of its own; so the events are asked.
    by_link = (
        select(database.event.c.message_id).where(database.event.c.id == audit.c.id).correlate(audit).scalar_subquery()
    )
    return [_of_scope(database, scope, audit.c.list_id, by_link)]


def lists_inside(database: Database, scope: Scope) -> Any:
    """Return the query for the names of lists that mail inside a scope names, also mail that is purged."""
    message, cohort = database.message, database.cohort
    summed = select(cohort.c.list_id).where(cohort.c.scope == "mail", *cohorts_inside(cohort, scope))
    # Mail of before there were sums has no cohort. As a rule there is none, which an index tells.
    early = select(message.c.list_id).where(message.c.cohort_id.is_(None), *messages_inside(message, scope))
    return summed.union_all(early)


def from_domain(sender: Any, domain: str) -> ColumnElement[bool]:
    """Return the condition that an address is of a domain.

    :param domain: in lower case.
    """
    lowered = func.lower(sender)
    return or_(lowered == domain, lowered.endswith(f"@{domain}", autoescape=True))


def _named(table: Any, scope: Scope | None) -> list[ColumnElement[bool]]:
    if scope is None:
        return []
    given = ((table.c[column], getattr(scope, name)) for column, name in _BY_COLUMN.items())
    return [column.in_(sorted(names)) for column, names in given if names is not None]


def _of_scope(database: Database, scope: Scope, list_id: Any, message_id: Any) -> ColumnElement[bool]:
    message = database.message
    # No EXISTS: PostgreSQL would look up all mail inside, and here there is at most one row.
    its = select(message.c.id).where(message.c.id == message_id, *messages_inside(message, scope)).scalar_subquery()
    # By a link one can leave a list of somebody else's, so the link alone lets nobody see the name of that list.
    about_list: list[Any] = [list_id != ""]
    if scope.lists is not None:
        about_list.append(list_id.in_(sorted(scope.lists)))
    if scope.lists is None or scope.sender_domains is not None or scope.tags is not None:
        about_list.append(list_id.in_(lists_inside(database, scope)))
    return or_(and_(list_id == "", its.is_not(None)), and_(*about_list))
