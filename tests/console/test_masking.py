"""What a viewer without `addresses` reads: no page, no file and no mail below a click map has a whole address."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote, unquote, urlencode, urlsplit

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor
from written_rows import event, mail, message, summed

from flask_mailtrack.console.console import ROUTES
from flask_mailtrack.events import EventType, Status, now
from flask_mailtrack.testing import Reader
from flask_mailtrack.wording import drawn_without_addresses

SECRET = "mila.secret@hidden.example"
TAG = "tagged.secret@label.example"
HOLDER = ("view", "export")
OTHER_TAG = "spring"
SINGLE = "with one subject"
ABOUT_TAGS = [route.rule for route in ROUTES if route.rule.startswith("/campaign")] + ["/messages", "/unsubscribes"]


@pytest.fixture(name="seeded")
def _seeded(make_site: MakeSite) -> Site:
    """Mail in which an address stands wherever a host or a stranger may write one."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    body = f'<body><p title="{SECRET}">Write to {SECRET}</p><a href="https://example.com/?to={SECRET}">A</a></body>'
    for tag, list_id in ((TAG, "club"), (OTHER_TAG, "news")):
        for subject in (f"To {SECRET}", f"Again to {SECRET}"):
            sent = site.send(body, to=SECRET, subject=subject, tag=tag, list_id=list_id)
            Reader(site.client, sent).click("A")
        (link,) = re.findall(r"<(https://[^>]+)>", sent.extra_headers["List-Unsubscribe"])
        path = urlsplit(link).path
        for said in ({"action": "unsubscribe"}, {"action": "reason", "reason": "other", "comment": f"I am {SECRET}"}):
            assert site.client.post(path, data=said).status_code < 400
        mail(site, now() - timedelta(days=20), tag, 60, 30, 10, subject=f"Once to {SECRET}")
        mail(site, now() - timedelta(days=3), tag, 60, 30, 10, subject=f"Now to {SECRET}")
        for number in range(60):
            key = message(
                site,
                now() - timedelta(days=2, seconds=number),
                recipient=SECRET,
                sender=SECRET,
                subject=f"For {SECRET}",
                tag=tag,
                list_id="news",
                status=Status.SENT if number else Status.FAILED,
                error="" if number else f"550 no {SECRET} here",
                opened_at=now(),
                clicked_at=now(),
                unsubscribed_at=now(),
            )
            said = {"reason": "other", "comment": f"I am {SECRET}", "list_id": "news"}
            event(site, key, now() - timedelta(hours=1), EventType.UNSUBSCRIBED, **said)
            for at in (SECRET, quote(SECRET, safe="")):
                link = {"url": f"https://shop.example/?m={at}", "link": 1, "link_name": f"for {SECRET}", "part": "html"}
                event(site, key, now() - timedelta(hours=1), EventType.CLICKED, **link)
    mail(site, now() - timedelta(days=2), SINGLE, 2, 1, 1, subject=f"Only to {SECRET}")
    site.mailtrack.suppress(SECRET)
    summed(site)
    return site


def _addresses(site: Site) -> list[str]:
    """Return the address of every page that can be read, with each of what it can be about."""
    pages = [route.rule for route in ROUTES if "GET" in route.methods and "<" not in route.rule]
    keys = [row.id for row in site.rows("Message") if row.recipient == SECRET or row.status == Status.FAILED]
    of_one = [path for key in {*keys[:2], *keys[-2:], keys[len(keys) // 2]} for path in _of(key)]
    paths = [f"{page}?" for page in pages]
    paths += [f"{page}?{urlencode({'tag': tag})}" for page in ABOUT_TAGS for tag in (TAG, OTHER_TAG, SINGLE)]
    paths += [f"/campaign/links?tag={OTHER_TAG}&who=all&count=clicks", f"/messages?person={keys[0]}"]
    paths += [f"/campaign/links?{urlencode({'tag': OTHER_TAG, 'body': row.id})}" for row in site.rows("Body")]
    failed = next(row.id for row in site.rows("Message") if row.status == Status.FAILED)
    return [*paths, *(f"{path}?" for path in (*of_one, *_of(failed)))]


def _of(key: object) -> tuple[str, str]:
    return f"/messages/{key}", f"/people/{key}"


def _without_tags_in_addresses(page: str) -> str:
    """Return a page without what must name a tag as it is: addresses of pages, and fields that make some."""
    page = re.sub(r"([?&;]tag=)[^&\"]*", r"\1", page)
    return re.sub(r'(<input(?: type="hidden")? name="tag" value=")[^"]*', r"\1", page)


def test_who_may_not_see_addresses_reads_none_on_any_page(seeded: Site) -> None:
    """An address in a subject, link, tag, body, comment or answer of a server is masked in every answer."""
    seen = Visitor(seeded, HOLDER)
    read: dict[str, str] = {}
    for path in _addresses(seeded):
        for form in ("", "&format=csv"):
            if form and "format=csv" not in read.get(path, ""):
                continue
            answer = seen.client.get(f"/mt{path}{form}")
            if answer.status_code == 200:
                read[path + form] = answer.text
                text = unquote(unquote(_without_tags_in_addresses(answer.text))).replace("<wbr>", "")
                found = [text[max(0, text.find(each) - 300) :][:500] for each in (SECRET, TAG) if each in text]
                assert not found, (path + form, found)
    assert {"/?", "/campaigns?", "/messages?", "/unsubscribes?", "/suppressions?", "/live?"} <= read.keys()
    for page in ("campaign", "campaign/links", "campaign/clients", "campaign/map", "messages"):
        assert f"/{page}?tag={OTHER_TAG}" in read, page
    for page in ("/messages/", "/people/"):
        assert [path for path in read if path.startswith(page)], page
    for shown in (f"/campaign?{urlencode({'tag': SINGLE})}", f"/campaigns?{urlencode({'tag': SINGLE})}"):
        assert "Only to m•••@" in read[shown], shown
    masked = "m•••@h•••.example"
    assert masked in read["/live?"]
    assert masked in read["/?"].partition('id="h-todo"')[2].partition("</section>")[0]
    for shown in ("campaign", "campaign/links", "campaign/map", "unsubscribes", "messages"):
        assert masked in read[f"/{shown}?tag={OTHER_TAG}"].replace("<wbr>", ""), shown
    for file in ("campaign", "campaign/links", "messages", "unsubscribes", "campaigns"):
        assert "•••@" in read[f"/{file}?tag={quote(TAG, safe='')}&format=csv"], file
    seen.permissions = (*HOLDER, "addresses")
    for shown in ("campaign/links", "campaign/map", "campaign/links&format=csv"):
        page, _, form = shown.partition("&")
        assert SECRET in seen.get(f"/{page}?tag={OTHER_TAG}&{form}").replace("<wbr>", ""), shown


def test_a_drawn_mail_keeps_its_looks_and_loses_its_addresses() -> None:
    """Style rules stay; an address that is spelled so that a mask cannot find it takes the whole mail with it."""
    styled = "<style>p{color:red}@media print{p{color:blue}}</style><p>mila&#64;example.org<br>@brand</p>"
    drawn = drawn_without_addresses(styled)
    assert drawn == "<style>p{color:red} @media print{p{color:blue}}</style><p>m•••@e•••.org<br>@brand</p>"
    assert drawn_without_addresses(drawn) == drawn
    for hidden in ("mila<b>@</b>example.org", "mi<i class=x>la</i>@ex<wbr>ample.org<b>@example.org</b>"):
        assert drawn_without_addresses(f"<p>{hidden}</p>") is None, hidden
