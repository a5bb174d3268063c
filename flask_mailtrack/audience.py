"""The one rule who counts as a person: in figures, counts, exports and the host's own queries."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property

from .events import Verdict


def by_people(event: Any) -> sa.ColumnElement[bool]:
    """Return the condition that an event was a person's: theirs, or a proxy that fetched it for them.

    Apple's proxy is left out: it fetches every image whether or not somebody reads the mail.

    :param event: the model, an alias of it, or its table: ``select(Event).where(by_people(Event))``.
    """
    columns = event.c if isinstance(event, sa.FromClause) else event
    through_proxy = sa.and_(columns.verdict == Verdict.PROXY, columns.provider != "apple")
    return sa.or_(columns.verdict == Verdict.HUMAN, through_proxy)


def by_a_person(verdict: str, provider: str) -> bool:
    """Say of one hit what :func:`by_people` asks of events in the table."""
    return verdict == Verdict.HUMAN or (verdict == Verdict.PROXY and provider != "apple")


class Judged:
    """What has a verdict, and so is a person's or not."""

    verdict: Any
    provider: Any

    @hybrid_property
    def by_people(self) -> bool:
        """Whether it was a person's; on the class, the condition: ``select(Event).where(Event.by_people)``."""
        return by_a_person(self.verdict, self.provider)

    @by_people.inplace.expression
    @classmethod
    def _by_people(cls) -> sa.ColumnElement[bool]:
        return by_people(cls)


# Annotated names become columns under some bases.
Judged.__annotations__ = {}
