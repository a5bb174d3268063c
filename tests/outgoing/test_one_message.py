"""Mail that carries nothing personal leaves as one message, as without us."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import MakeSite, Site
from flask import render_template_string

LINK = '<p><a href="https://example.com/">go</a></p>'
TWO = ["ada@example.com", "bob@example.com"]
EVERYBODY = {*TWO, "cy@example.com", "di@example.com"}


@pytest.mark.parametrize(
    ("html", "options"),
    [
        (None, {"body": "Hello https://example.com/"}),
        (LINK, {"opens": False, "clicks": False}),
        ("<p>Hello</p>", {"opens": False}),
        (LINK, {"opens": False, "transactional": True}),
        (LINK, {"opens": False, "clicks": False, "mode": "deliverability"}),
        (LINK, {"opens": False, "clicks": False, "list_id": "news", "unsubscribe": False}),
    ],
)
def test_what_carries_nothing_personal_leaves_as_one_message(
    site: Site, html: str | None, options: dict[str, Any]
) -> None:
    """One message goes to all whom the author wrote to, and each of them has a row."""
    (sent,) = site.send(html, TWO, cc=["cy@example.com"], bcc=["di@example.com"], **options)
    assert sent.send_to == EVERYBODY
    assert sent.html == html
    site.mailtrack.flush()
    assert {(row.recipient, row.status) for row in site.rows("Message")} == {(one, "sent") for one in EVERYBODY}


def test_people_who_are_not_measured_share_a_message(site: Site) -> None:
    """If none of them wants to be measured, nothing in the mail is anybody's."""
    assert len(site.send(LINK, TWO)) == 2
    for one in TWO:
        site.mailtrack.suppress(one, tracking=True)
    (sent,) = site.send(LINK, TWO)
    assert sent.html == LINK


@pytest.mark.parametrize(
    ("html", "options"),
    [
        ("<p>Hello</p>", {}),
        (LINK, {"opens": False}),
        (LINK, {"opens": False, "clicks": False, "list_id": "news"}),
        ('<a href="{{ preferences_url() }}">x</a>', {"opens": False, "clicks": False}),
        (None, {"body": "{{ unsubscribe_url() }}"}),
        (None, {"body": "Hi", "alts": {"x-amp-html": '<a href="{{ unsubscribe_url() }}">x</a>'}}),
    ],
)
def test_what_is_one_persons_is_in_one_persons_copy(site: Site, html: str | None, options: dict[str, Any]) -> None:
    """A pixel, a tracked link or a way out of a list makes a copy for each, wherever in the mail it stands."""
    with site.app.test_request_context():
        html = html and render_template_string(html)
        if "body" in options:
            options = options | {"body": render_template_string(options["body"])}
        if "alts" in options:
            options = options | {"alts": {k: render_template_string(part) for k, part in options["alts"].items()}}
    copies = site.send(html, TWO, **options)
    assert [copy.send_to for copy in copies] == [{one} for one in TWO]


def test_a_way_out_is_never_shared(make_site: MakeSite) -> None:
    """Without splitting, too, a link in any part by which one person leaves is in that person's copy alone."""
    site = make_site(MAILTRACK_SPLIT=False)
    with site.app.test_request_context():
        part = render_template_string('<a href="{{ unsubscribe_url() }}">x</a>')
    assert len(site.send(None, TWO, body="Hi", alts={"x-amp-html": part})) == 2
