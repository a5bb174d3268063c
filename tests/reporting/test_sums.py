"""The sums and the rows are two ways to one answer."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from figures_oracle import NOON, OTHERS, Oracle, Row, mails, store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_mailtrack.figures import COPIES, OUT
from flask_mailtrack.reporting.buckets import STEPS, Buckets
from flask_mailtrack.reporting.links import resolved
from flask_mailtrack.reporting.rows import RowFigures, Table, merge
from flask_mailtrack.reporting.selection import Selection
from flask_mailtrack.reporting.sums import SumFigures

GROUPS = [(), ("tag",), ("list_id",), ("sender_domain",), ("subject",), ("tag", "list_id", "subject")]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]
SHARES = [
    *(
        (dimension, kind)
        for dimension in ("client", "os", "device", "country", "rule", "domain", "link")
        for kind in ("opened", "clicked")
        if (dimension, kind) != ("link", "opened")
    ),
    ("domain", "sent"),
    ("reason", "unsubscribed"),
    ("reason", "bounced"),
]
MOMENTS = st.one_of(
    st.none(),
    st.integers(-2, 2).map(lambda days: NOON.replace(hour=0) + timedelta(days=days)),
    st.integers(-24, 24).map(lambda hours: NOON + timedelta(minutes=30 * hours)),
    st.sampled_from([-13, -12, -1, 0, 1, 11, 12]).map(lambda hours: NOON + timedelta(hours=hours, seconds=400)),
    st.sampled_from([-13, -12, -1, 0, 1, 11, 12]).map(lambda hours: NOON + timedelta(hours=hours, seconds=-1)),
)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """Anything that can be asked about."""
    some: dict[str, Any] = {
        "tag": draw(st.sampled_from([None, None, "a", "A", "nothing"])),
        "list_id": draw(st.sampled_from([None, None, "", "News"])),
        "sender_domain": draw(st.sampled_from([None, None, "one.example", "nobody"])),
        "subject": draw(st.sampled_from([None, None, "", "Hello", "Spring 100 %", *OTHERS])),
        "status": draw(st.sampled_from([None, None, "sent", "failed"])),
    }
    since, until = draw(MOMENTS), draw(MOMENTS)
    if since and until and since > until:
        since, until = until, since
    basis, tz = draw(st.sampled_from(["sent", "happened"])), draw(st.sampled_from(ZONES))
    return Selection(**some, since=since, until=until, basis=basis, tz=tz)


class Two:
    """Both ways, on one database."""

    def __init__(self, site: Site) -> None:
        state = site.mailtrack._state_of(site.app)
        self.models, self.signer, self.database = site.mailtrack.models, state.signer, state.database
        self.rows = RowFigures(self.database)
        self.sums = SumFigures(self.database, self.rows, self.signer.subject_refs)

    def store(self, world: tuple[list[Row], list[Row]]) -> None:
        """Write rows, and the sums that belong to them."""
        oracle = Oracle(lambda text: self.signer.subject_refs(text)[0], lambda *link: self.signer.link_refs(*link)[0])
        with self.database.engine.begin() as connection:
            store(connection, self.models, *world)
            oracle.write(connection, self.models, *world)

    def shares(self, source: Any, about: Selection, dimension: str, kind: str) -> Any:
        found = source.shares(about, dimension, kind)
        if dimension == "link":
            found = resolved(self.database, self.signer.link_refs, about, found)
        told = {value: {name: n for name, n in numbers.items() if n} for value, numbers in found.items()}
        return {value: numbers for value, numbers in told.items() if numbers}


def told(table: Table) -> dict[Any, dict[str, Any]]:
    """Figures without those that are nothing; of statuses, only what answers tell apart."""
    found: dict[Any, dict[str, Any]] = defaultdict(dict)
    for (group, mode, status), values in table.items():
        about = found[group, mode]
        apart = () if status in OUT else COPIES[1:]
        merge(about, {name: value for name, value in values.items() if name not in ("copies", *apart)})
        merge(about, {f"copies {status}": values.get("copies", 0)})
    found = {key: {name: value for name, value in values.items() if value} for key, values in found.items()}
    return {key: values for key, values in found.items() if values}


@pytest.fixture(name="two")
def _two(database_url: str, make_site: MakeSite) -> Two:
    return Two(make_site(SQLALCHEMY_DATABASE_URI=database_url))


PATIENT = settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
QUESTIONS = st.lists(st.tuples(selections(), st.sampled_from([*GROUPS, *STEPS])), min_size=4, max_size=4)


@PATIENT
@given(world=mails(), questions=QUESTIONS)
def test_figures_agree(two: Two, world: tuple[list[Row], list[Row]], questions: list[tuple[Selection, Any]]) -> None:
    """Whatever was sent, and whatever is asked, the sums say what the rows say, in groups and over time."""
    two.store(world)
    for about, way in questions:
        cut = ((), Buckets(way, about.zone)) if way in STEPS else (way,)
        assert told(two.sums.figures(about, *cut)) == told(two.rows.figures(about, *cut)), (about, way)


@PATIENT
@given(world=mails(), questions=st.lists(st.tuples(selections(), st.sampled_from(SHARES)), min_size=4, max_size=4))
def test_shares_agree(two: Two, world: tuple[list[Row], list[Row]], questions: list[tuple[Selection, Any]]) -> None:
    """The same of clients, systems, devices, countries, rules, domains, links and reasons."""
    two.store(world)
    for about, (dimension, kind) in questions:
        asked = about.narrowed(status=None, **({"tag": "a"} if dimension == "link" else {}))
        ways = (two.shares(source, asked, dimension, kind) for source in (two.sums, two.rows))
        assert next(ways) == next(ways), (asked, dimension, kind)
