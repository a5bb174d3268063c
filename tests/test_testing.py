"""What we give hosts for their own tests: a reader of one mail."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import BASE_URL, MakeSite, Site
from flask_mail import Message

from flask_mailtrack.testing import BROWSER, FoundLink, Reader

HTML = """
<p>Hello, <a href="https://shop.example/offer">our  <b>offer</b></a>, see
<a href="https://shop.example/picture"><img src="https://shop.example/p.png" alt="A picture"></a>
<a href="mailto:us@shop.example">write</a> <a name="here">no link</a></p>
"""


@pytest.fixture(name="reader")
def _reader(site: Site) -> Reader:
    """The reader of a list mail with three links."""
    return Reader(site.client, site.send(HTML, list_id="news"))


def test_links_are_what_a_reader_sees(reader: Reader) -> None:
    """Each link has its address, and its text without line breaks; an image speaks by its alternative text."""
    texts = [link.text for link in reader.links]
    assert texts == ["our offer", "A picture", "write", "Unsubscribe"]
    assert reader.links[0].url.startswith(f"{BASE_URL}/m/c/")
    assert reader.links[2] == FoundLink("mailto:us@shop.example", "write")


def test_a_link_is_clicked_by_its_text_or_place(reader: Reader) -> None:
    """The answer is our redirect, which is not followed."""
    assert reader.click("our offer").location == "https://shop.example/offer"
    assert reader.click("A picture").location == "https://shop.example/picture"
    assert reader.click().location == "https://shop.example/offer"
    assert reader.click(1).location == "https://shop.example/picture"
    assert reader.click(-1).status_code == 200


@pytest.mark.parametrize("which", ["nothing like it", 4, 99, -5])
def test_a_link_that_is_not_there(reader: Reader, which: int | str) -> None:
    """Asking for a link that the mail does not have names what there is."""
    with pytest.raises(LookupError, match=r"there are (4|\['our offer')") as caught:
        reader.click(which)
    assert type(caught.value) is LookupError


def test_an_open_is_a_persons(site: Site, reader: Reader) -> None:
    """A reader uses a browser, and each step is a row at once."""
    assert reader.open().mimetype == "image/gif"
    assert [(event.type, event.verdict) for event in site.rows("Event")] == [("opened", "human")]
    assert [event.user_agent for event in site.rows("Event")] == [BROWSER["User-Agent"]]


def test_a_reader_may_be_a_machine(site: Site) -> None:
    """With other headers the same steps are a machine's."""
    Reader(site.client, site.send(HTML), {"User-Agent": "curl/8"}).click()
    assert [event.verdict for event in site.rows("Event")] == ["bot"]


def test_the_mail_clients_button_unsubscribes(site: Site, reader: Reader) -> None:
    """``unsubscribe`` is the one-click POST of a mail provider."""
    assert reader.unsubscribe().data == b"You are unsubscribed.\n"
    assert [(row.list_id, row.method) for row in site.rows("OptOut")] == [("news", "one_click")]


def test_the_button_is_found_among_other_addresses(site: Site, reader: Reader) -> None:
    """A List-Unsubscribe header with a mailto address, in any spelling, still has its https one."""
    url = str(reader.message.extra_headers["List-Unsubscribe"])
    headers = {"list-unsubscribe": f"<mailto:a@b.example>, {url}", "LIST-UNSUBSCRIBE-POST": "x"}
    mixed = Message("Hello", extra_headers=headers)
    assert Reader(site.client, mixed).unsubscribe().status_code == 200


WITHOUT: list[dict[str, Any] | None] = [
    None,
    {},
    {"List-Unsubscribe": "<https://a.example/>"},
    {"List-Unsubscribe": "<mailto:a@b.example>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
    {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
]


@pytest.mark.parametrize("headers", WITHOUT, ids=repr)
def test_a_mail_without_the_button(site: Site, headers: dict[str, Any] | None) -> None:
    """Where a mail client would show no button, there is none to press."""
    with pytest.raises(LookupError, match="one-click"):
        Reader(site.client, Message("Hello", extra_headers=headers)).unsubscribe()


def test_a_mail_without_a_pixel(site: Site) -> None:
    """An untracked mail, or one without HTML, cannot be opened."""
    for sent in (site.send(HTML, opens=False), site.send(None, body="Hello")):
        with pytest.raises(LookupError, match="pixel"):
            Reader(site.client, sent).open()


def test_a_reader_follows_any_prefix_and_host(make_site: MakeSite) -> None:
    """The reader takes addresses as they are in the mail."""
    site = make_site(MAILTRACK_BASE_URL="http://localhost:5000", MAILTRACK_URL_PREFIX="/mail")
    reader = Reader(site.client, site.send(HTML))
    assert reader.open().status_code == 200
    assert reader.click("our offer").request.base_url.startswith("http://localhost:5000/mail/c/")
