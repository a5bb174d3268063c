"""Flask-Admin: its views over our models, as a host makes them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import html5lib
import pytest
from conftest import MakeSite, Site
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_admin.form import BaseForm
from flask_babel import Babel
from werkzeug.datastructures import MultiDict

from flask_mailtrack.testing import Reader

NAMES = ("Message", "Event", "OptOut", "Link", "Audit", "Setting", "Domain")
# Flask-Admin leaves keys out of its forms, unless they are named; a key that is no UUID has to be written.
BY_HAND = {"OptOut": ("recipient", "list_id", "kind"), "Link": ("ref",), "Domain": ("host",)}
MOMENT = "2026-11-27 09:00:00"
PERSON = str(uuid.UUID(int=7 << 76))
FILLED = {
    "Message": {"recipient": "bob@example.com", "created_at": MOMENT, "details": '{"order": 7}', "tracks_opens": "y"},
    "Event": {"message_id": PERSON, "type": "clicked", "occurred_at": MOMENT, "verdict_reasons": '["ua_browser"]'},
    "OptOut": {"recipient": "bob@example.com", "list_id": "news", "kind": "unsubscribe", "created_at": MOMENT},
    "Link": {"ref": "abcdefghijklmnop", "url": "https://example.com/"},
    "Audit": {"ref": "abcdefghijklmnop", "change": "unsubscribed", "occurred_at": MOMENT},
    "Setting": {"scope": "account", "key": "opens", "value": "off", "changed_at": MOMENT},
    "Domain": {"host": "links.example.net", "status_since": MOMENT, "created_at": MOMENT, "findings": "[]"},
}
CHANGED = {
    "Message": ("tag", "welcome"),
    "Event": ("message_id", str(uuid.UUID(int=8 << 76))),
    "OptOut": ("comment", "Too many mails."),
    "Link": ("name", "hero"),
    "Audit": ("source", "by phone"),
    "Setting": ("value", "on"),
    "Domain": ("target", "links.example.com"),
}


class View(ModelView):
    """As a host has it that shows its rows one by one, too."""

    can_view_details = True


@dataclass
class Host:
    """A host with an admin over all of our models."""

    site: Site
    views: dict[str, View]

    def get(self, path: str, **query: str) -> str:
        """A page of the admin, which has to be there."""
        answer = self.site.client.get(path, query_string=query)
        assert answer.status_code == 200, (path, query, answer.location)
        return answer.text

    def save(self, path: str, values: dict[str, str]) -> None:
        """Press a form's button; what is saved leads back to the list, and what is not shows the form again."""
        answer = self.site.client.post(path, data=MultiDict(values))
        assert answer.status_code == 302, answer.text

    def fields(self, path: str, **query: str) -> Iterator[tuple[str, str]]:
        """What a browser would send if somebody pressed the button of a form at once."""
        form = html5lib.parse(self.get(path, **query), namespaceHTMLElements=False).find(".//form[@method='POST']")
        for each in form.iter():
            name, shown = each.get("name"), each.get("type") != "checkbox" or each.get("checked") is not None
            if name and shown:
                yield name, each.get("value") or (each.text or "").removeprefix("\r\n")

    def key(self, name: str, row: Any) -> str:
        """What stands for a row in an address of the admin."""
        return str(self.views[name].get_pk_value(row))


@pytest.fixture(name="host")
def _host(database_url: str, make_site: MakeSite) -> Host:
    """On each database: an admin as its documentation makes one, with the natural keys named."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    Babel(site.app)  # which Flask-Admin wants where it is installed
    admin = Admin(site.app, name="host")
    views: dict[str, View] = {}
    for name in NAMES:
        model = getattr(site.mailtrack.models, name)
        columns = [*BY_HAND.get(name, ()), *(c.name for c in model.__table__.columns if not c.primary_key)]
        own = type(name, (View,), {"form_columns": columns}) if name in BY_HAND else View
        views[name] = own(model, site.db, endpoint=name.lower())
        admin.add_view(views[name])
    return Host(site, views)


def test_every_model_can_be_made_changed_and_shown(host: Host) -> None:
    """Lists, forms and details of all our models work as they come, on each database."""
    for name in NAMES:
        root = f"/admin/{name.lower()}"
        host.get(f"{root}/new/")
        host.save(f"{root}/new/", FILLED[name])
        (row,) = host.site.rows(name)
        key = host.key(name, row)
        assert "list-checkbox" in host.get(f"{root}/")
        column, value = CHANGED[name]
        shown = host.get(f"{root}/edit/", id=key)
        assert f'name="{column}"' in shown
        host.save(f"{root}/edit/?id={key}", FILLED[name] | {column: value})
        (row,) = host.site.rows(name)
        assert str(getattr(row, column)) == value
        assert value in host.get(f"{root}/details/", id=key)
        host.save(f"{root}/delete/", {"id": key})
        assert host.site.rows(name) == []


def test_a_form_that_is_saved_as_it_is_changes_nothing(host: Host) -> None:
    """Ids, JSON and texts come back as they were; only Flask-Admin drops fractions of seconds, and writes {} for []."""
    site = host.site
    html = '<a href="https://example.com/" data-mailtrack-name="hero">go</a>'
    reader = Reader(site.client, site.send(html, tag="t", metadata={"order": [7, "ö"]}, list_id="news"))
    reader.click()
    reader.unsubscribe()
    site.mailtrack.flush()
    for name in ("Message", "Event", "OptOut", "Link", "Audit"):
        before = [values(row) for row in site.rows(name)]
        assert before, name
        for row in site.rows(name):
            root, key = f"/admin/{name.lower()}/edit/", host.key(name, row)
            host.save(f"{root}?id={key}", dict(host.fields(root, id=key)))
        assert [values(row) for row in site.rows(name)] == before


def values(row: Any) -> dict[str, Any]:
    """What a row holds, by the names of its columns."""
    held = {column.name: getattr(row, column.name) for column in row.__table__.columns}
    whole = {name: value.replace(microsecond=0) for name, value in held.items() if hasattr(value, "microsecond")}
    return held | whole | {name: None for name, value in held.items() if value in ({}, [])}


def test_an_opt_out_that_was_written_by_hand_holds(host: Host) -> None:
    """Whom an operator has put into the table, with the form as it comes, gets no mail of the list; others do."""
    host.save("/admin/optout/new/", dict(host.fields("/admin/optout/new/")) | FILLED["OptOut"])
    assert host.site.send(to=["ada@example.com"], list_id="news")
    assert not host.site.send(to=["bob@example.com"], list_id="news")
    host.site.mailtrack.unsuppress("bob@example.com", "news")
    assert host.site.send(to=["bob@example.com"], list_id="news")


def test_text_that_is_no_uuid_is_refused_at_its_field(host: Host) -> None:
    """A mistyped id shows the form again, with the mistake named, and stores nothing."""
    answer = host.site.client.post("/admin/event/new/", data=FILLED["Event"] | {"message_id": "seven"})
    assert answer.status_code == 200
    assert "Invalid UUID" in answer.text
    assert host.site.rows("Event") == []


@pytest.mark.parametrize("name", NAMES)
def test_no_column_has_the_name_of_something_in_a_form(site: Site, name: str) -> None:
    """WTForms makes a field of each column, and a field called ``meta`` or ``data`` would take a form's own place."""
    model = getattr(site.mailtrack.models, name)
    assert [column.name for column in model.__table__.columns if hasattr(BaseForm, column.name)] == []
