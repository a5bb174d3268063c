"""One rule who counts as a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from sqlalchemy.orm import aliased

from flask_mailtrack.audience import by_a_person, by_people
from flask_mailtrack.events import EventType, Verdict, new_id


@pytest.mark.parametrize("provider", ["", "google", "apple", "yahoo"])
@pytest.mark.parametrize("verdict", Verdict)
def test_who_is_a_person_is_one_rule(site: Site, verdict: Verdict, provider: str) -> None:
    """A hit that is judged by itself, and one that is judged in the table, are a person's by the same rule."""
    event = sa.select(sa.literal(verdict.value).label("verdict"), sa.literal(provider).label("provider")).subquery()
    with site.db.engine.connect() as connection:
        in_the_table = bool(connection.execute(sa.select(by_people(event))).scalar())
    assert in_the_table == by_a_person(verdict, provider)
    assert by_a_person(Verdict.PROXY, "google")
    machines = set(Verdict) - {Verdict.HUMAN, Verdict.PROXY}
    assert not by_a_person(Verdict.PROXY, "apple")
    assert not any(by_a_person(each, "google") for each in machines)


def test_the_rule_is_on_the_model(database_url: str, make_site: MakeSite) -> None:
    """``Event.by_people`` is a condition on the model and on an alias of it, and says of a row whose it was."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    model = site.mailtrack.models.Event
    for verdict in Verdict:
        for provider in ("", "apple"):
            about = {"type": EventType.OPENED, "occurred_at": datetime(2026, 5, 1, tzinfo=UTC)}
            row = model(id=new_id(), message_id=new_id(), verdict=verdict, provider=provider, **about)
            site.db.session.add(row)
    site.db.session.commit()
    rows = site.rows("Event")
    theirs = {row.id for row in rows if row.by_people}
    assert {(row.verdict, row.provider) for row in rows if row.by_people} == {
        ("human", ""),
        ("human", "apple"),
        ("proxy", ""),
    }
    other = aliased(model)
    for entity, condition in ((model, model.by_people), (other, other.by_people), (model, by_people(model.__table__))):
        assert {row.id for row in site.db.session.scalars(sa.select(entity).where(condition))} == theirs
