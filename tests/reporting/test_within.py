"""Two tenants share an app, and each sees an app of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from figures_oracle import NOON, Oracle, Row, mails, store
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flask_mailtrack import Scope
from flask_mailtrack.errors import ReportError
from flask_mailtrack.reporting import exports
from flask_mailtrack.reporting.growth import Sending
from flask_mailtrack.reporting.reports import Reports

PEOPLE = ("ada@gmail.com", "bob@own.example")
ASKED: dict[str, Callable[[Reports], Any]] = {
    "totals": lambda reports: [
        reports.totals(),
        reports.totals(tag="a"),
        reports.totals(basis="happened", status="sent"),
    ],
    "stats": lambda reports: reports.stats(tag=None, list_id=None, since=None, until=None),
    "series": lambda reports: [
        reports.series(by="day"),
        reports.series(by="hour", basis="happened", since=NOON, until=NOON + timedelta(days=1)),
    ],
    "campaigns": Reports.campaigns,
    "lists": Reports.lists,
    "sender_domains": Reports.sender_domains,
    "subjects": Reports.subjects,
    "clients": Reports.clients,
    "systems": Reports.systems,
    "devices": Reports.devices,
    "countries": Reports.countries,
    "shares": lambda reports: reports.shares(dimension="os", kind="clicked", basis="happened"),
    "several_shares": Reports.several_shares,
    "verdicts": Reports.verdicts,
    "domains": Reports.domains,
    "links": lambda reports: [reports.links(tag) for tag in ("a", "b")],
    "unsubscribe_reasons": Reports.unsubscribe_reasons,
    "click_to_open": Reports.click_to_open,
    "compare": lambda reports: reports.compare(since=NOON, until=NOON + timedelta(days=5)).now,
    "messages": lambda reports: [
        reports.messages(),
        reports.messages(tag="a"),
        reports.messages(search="hello"),
        reports.messages(search=PEOPLE[0]),
    ],
    "person": lambda reports: [reports.person(each) for each in PEOPLE],
    "attention": lambda reports: [
        replace(each, selection=None) for each in reports.attention(since=NOON - timedelta(days=60))
    ],
    "departures": lambda reports: [reports.departures(size=2), reports.departures(basis="happened", since=NOON)],
    "departure_reasons": lambda reports: [reports.departure_reasons(), reports.departure_reasons(tag="a")],
    "suppressions": lambda reports: [
        reports.suppressions(own=True, size=3),
        reports.suppressions(search="ada@gmail.com"),
    ],
    "latest": lambda reports: [reports.latest(), reports.latest(1)],
    "handle_of": lambda reports: [
        (handle := reports.handle_of(each)) and reports.address_of(handle) for each in PEOPLE
    ],
    "usual": lambda reports: reports.usual(tag="a").count,
    "count": lambda reports: [reports.count(), reports.count(search="hello"), reports.count(tag="a")],
    "figures": lambda reports: [
        dict(reports.figures(reports.selection(), groups)) for groups in (("tag", "sender_domain"), ("subject",))
    ],
    "subjects_of_tags": lambda reports: {
        tag: sorted(set(told)) for tag, told in reports.subjects_of_tags(reports.selection()).items()
    },
    "growth": lambda reports: reports.growth([Sending(reports.selection(tag=tag), NOON, 5) for tag in ("a", "b")]),
    "conditions": lambda reports: [
        sorted(map(repr, rows))
        for rows in (list(make(reports, reports.selection(audience="all"))[1]) for make in exports.EXPORTS.values())
    ],
}
ELSEWHERE = {"within", "briefly", "selection", "timeline", "address_of", "known", "bodies", "body", "click_map"}
"""What gives no figures, what is asked for each message, and what test_click_map.py asks."""
PATIENT = settings(
    max_examples=4, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), deadline=None
)


DIMENSIONS = {"sender_domains": "sender", "lists": "list_id", "tags": "tag"}


@st.composite
def scopes(draw: st.DrawFn, messages: list[Row]) -> Scope:
    """The scope of whoever sent one of the messages, by one or two of its words, and perhaps of others."""
    theirs, given = (
        draw(st.sampled_from(messages)),
        draw(st.sets(st.sampled_from(list(DIMENSIONS)), min_size=1, max_size=2)),
    )
    words = {
        name: theirs[DIMENSIONS[name]].rpartition("@")[2].lower()
        if name == "sender_domains"
        else theirs[DIMENSIONS[name]]
        for name in given
    }
    return Scope(
        **{
            name: draw(
                st.sampled_from([{word}, {word}, {word, "offers"}, set[str]()]) if len(given) == 1 else st.just({word})
            )
            for name, word in words.items()
        }
    )


@st.composite
def optouts(draw: st.DrawFn, messages: list[Row]) -> list[Row]:
    """Opt-outs of both people, by links or by the operator."""
    links = st.sampled_from([None, *(message["id"] for message in messages)])
    keys = draw(
        st.sets(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["", "news", "offers", "secret"])), max_size=6)
    )
    return [
        {"recipient": who, "list_id": name, "created_at": NOON + timedelta(seconds=at), "message_id": draw(links)}
        | {"kind": "unsubscribe", "method": "page", "ref": f"aaaa{who[0] * 12}"}
        for at, (who, name) in enumerate(sorted(keys))
    ]


def inside(scope: Scope, message: Row) -> bool:
    """The definition, in plain Python."""
    values = (message["sender"].rpartition("@")[2].lower(), message["list_id"], message["tag"])
    return all(
        given is None or value in given
        for given, value in zip((scope.sender_domains, scope.lists, scope.tags), values, strict=True)
    )


def stands_inside(scope: Scope, optout: Row, messages: list[Row]) -> bool:
    """Whether a tenant may hear of an opt-out: by a link of its own mail, or from a list of its own mail."""
    mine = [message for message in messages if inside(scope, message)]
    if not optout["list_id"]:
        return optout["message_id"] in {message["id"] for message in mine}
    named = optout["list_id"] in {message["list_id"] for message in mine}
    alone = scope.sender_domains is None and scope.tags is None and scope.lists is not None
    return (scope.lists is None or optout["list_id"] in scope.lists) and (named or alone)


class World:
    """One database, filled anew with each world."""

    def __init__(self, site: Site) -> None:
        state = site.mailtrack._state_of(site.app)
        self.reports, self.signer, self.engine, self.models = (
            state.reports,
            state.signer,
            state.database.engine,
            site.mailtrack.models,
        )

    def fill(self, messages: list[Row], events: list[Row], stands: list[Row]) -> None:
        """Have these rows, and their sums, in place of all others."""
        oracle = Oracle(lambda text: self.signer.subject_refs(text)[0], lambda *link: self.signer.link_refs(*link)[0])
        table = self.models.OptOut.__table__
        with self.engine.begin() as connection:
            store(connection, self.models, messages, events)
            oracle.write(connection, self.models, messages, events)
            connection.execute(sa.delete(table))
            for row in stands:
                connection.execute(sa.insert(table).values(**row))
            audit = self.models.Audit.__table__
            connection.execute(sa.delete(audit))
            for each in events:
                if each["type"] == "unsubscribed":
                    said = {"ref": "", "change": "unsubscribed", "source": "message:", "wording": ""}
                    row = said | {"id": each["id"], "occurred_at": each["occurred_at"]}
                    connection.execute(sa.insert(audit).values(row))

    def forget_sums(self) -> None:
        """Take the sums away, as they are before the first rebuild."""
        with self.engine.begin() as connection:
            for model in (self.models.Cohort, self.models.Figure, self.models.Breakdown):
                connection.execute(sa.delete(model.__table__))
            connection.execute(sa.update(self.models.Message.__table__).values(cohort_id=None))


@pytest.fixture(name="world")
def _world(database_url: str, make_site: MakeSite) -> World:
    return World(make_site(SQLALCHEMY_DATABASE_URI=database_url))


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
@PATIENT
@given(mail=mails(), data=st.data(), summed=st.sampled_from([True, True, False]))
def test_a_tenant_sees_what_there_would_be_without_the_others(
    world: World, mail: tuple[list[Row], list[Row]], data: st.DataObject, summed: bool
) -> None:
    """Whatever is asked, the answer inside a scope is that of a database with nothing but the tenant's own rows."""
    messages, events = mail
    scope, stands = data.draw(scopes(messages)), data.draw(optouts(messages))
    world.fill(messages, events, stands)
    if not summed:
        world.forget_sums()
    narrowed = world.reports.within(scope)
    found = {name: ask(narrowed) for name, ask in ASKED.items()}
    mine = [message for message in messages if inside(scope, message)]
    ids = {message["id"] for message in mine}
    timelines = {key: (narrowed.timeline(key), narrowed.address_of(key)) for key in ids}
    assert narrowed.known([message["id"] for message in messages]).keys() == ids
    for message in messages:
        if message["id"] not in ids:
            with pytest.raises(ReportError, match=f"There is no message {message['id']}, or its row is purged"):
                narrowed.timeline(message["id"])
            assert narrowed.address_of(message["id"]) is None
    world.fill(
        mine,
        [event for event in events if event["message_id"] in ids],
        [each for each in stands if stands_inside(scope, each, messages)],
    )
    if not summed:
        world.forget_sums()
    for name, ask in ASKED.items():
        # Without sums, these read what the drain keeps on each message, or are silent.
        if name in ("stats", "growth", "subjects_of_tags") and not summed:
            continue
        assert found[name] == ask(world.reports), name
    assert timelines == {key: (world.reports.timeline(key), world.reports.address_of(key)) for key in ids}


def test_no_report_is_left_out() -> None:
    """A report that is added is compared, too."""
    assert {name for name in dir(Reports) if not name.startswith("_")} == {*ASKED, *ELSEWHERE}


def test_a_scope_can_only_narrow(site: Site) -> None:
    """Neither a selection with another scope, nor a second scope, nor a filter lets anybody out of the first one."""
    mine, other = Scope(tags={"a"}), Scope(tags={"b"})
    for tag in ("a", "b"):
        site.send(tag=tag)
    reports = site.mailtrack.reports
    assert reports.within(None).totals().sent == 2
    narrowed = reports.within(mine)
    for asked in (narrowed.totals(), narrowed.totals(reports.selection()), narrowed.within(None).totals()):
        assert asked.sent == 1
    for asked in (
        narrowed.within(other).totals(),
        narrowed.totals(reports.selection(within=other)),
        narrowed.totals(within=other),
    ):
        assert asked.sent == 0
    assert len(list(exports.messages(narrowed, reports.selection())[1])) == 1
    with pytest.raises(TypeError, match="within"):
        reports.within("a")  # type: ignore[arg-type]
    with pytest.raises(ReportError, match="within"):
        reports.totals(within="a")  # type: ignore[arg-type]
