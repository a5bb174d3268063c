"""What we give hosts for their own tests: a reader of one mail."""

from __future__ import annotations

import email
from typing import Any

import pytest
from conftest import BASE_URL, Inbox, MakeSite, Site
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
    assert reader.links[2] == FoundLink("mailto:us@shop.example", "write", "mailto:us@shop.example")


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


def test_the_authors_addresses_come_back(reader: Reader) -> None:
    """A link says where its author has it lead, and whether the link is tracked."""
    found = [(link.destination, link.tracked) for link in reader.links[:3]]
    assert found == [
        ("https://shop.example/offer", True),
        ("https://shop.example/picture", True),
        ("mailto:us@shop.example", False),
    ]
    assert reader.click("https://shop.example/picture").location == "https://shop.example/picture"


def test_a_link_that_is_not_tracked_cannot_be_clicked(site: Site) -> None:
    """A test that expects a click fails, and says that the link leads past the app."""
    sent = site.send('<a href="https://shop.example/" data-mailtrack="off">shop</a><a href="https://a.example/">a</a>')
    with pytest.raises(LookupError, match=r"'shop' is not tracked: .* https://shop\.example/"):
        Reader(site.client, sent).click("shop")


def test_links_of_plain_text(make_site: MakeSite) -> None:
    """Links in the plain-text part are clicked by the address that the author wrote."""
    site = make_site(MAILTRACK_TEXT_CLICKS=True)
    reader = Reader(site.client, site.send(None, body="See https://shop.example/offer."))
    assert [(link.destination, link.tracked) for link in reader.text_links] == [("https://shop.example/offer", True)]
    assert reader.click("https://shop.example/offer").location == "https://shop.example/offer"


def test_an_area_of_an_image_map_is_a_link(site: Site) -> None:
    """An area speaks by its alternative text."""
    html = '<map name="m"><area href="https://shop.example/area" alt="Here"></map><p>Hello</p>'
    assert Reader(site.client, site.send(html)).click("Here").location == "https://shop.example/area"


def test_two_links_of_one_text_are_named(site: Site) -> None:
    """A test says which of two links it means, unless both lead to one place."""
    html = "".join(f'<a href="https://shop.example/{n}">Read</a> ' for n in "ab")
    with pytest.raises(LookupError, match=r"0 to https://shop\.example/a, 1 to https://shop\.example/b"):
        Reader(site.client, site.send(html)).click("Read")
    twice = '<a href="https://shop.example/a">Read</a> ' * 2
    assert Reader(site.client, site.send(twice)).click("Read").location == "https://shop.example/a"


def test_a_reader_is_found_by_address(site: Site) -> None:
    """Of several copies, a person's own is found."""
    html = '<a href="https://shop.example/">go</a>'
    outbox = site.send(html, to=["a@example.com", "Bea <b@example.com>"])
    assert Reader.of(outbox, "B@example.com").message is outbox[1]
    assert Reader.of(outbox, "a@example.com", site.client).message is outbox[0]
    with pytest.raises(LookupError, match=r"there is mail to \['a@example.com', 'b@example.com'\]"):
        Reader.of(outbox, "c@example.com")


def test_the_bytes_that_a_server_gets_are_read_too(make_site: MakeSite, smtp: Inbox) -> None:
    """A parsed mail from an SMTP server is read as the recorded one is."""
    site = make_site(TESTING=False, MAIL_PORT=smtp.port, MAIL_SUPPRESS_SEND=False, MAILTRACK_DRAIN="inline")
    message = Message("Hi", recipients=["ada@example.com"], html='<a href="https://shop.example/ü">go</a>', body="Hi")
    site.mail.send(site.mailtrack.track(message, list_id="news"))
    reader = Reader.of([email.message_from_bytes(smtp.envelopes[0].content)], "ada@example.com")
    assert reader.open().status_code == 200
    assert reader.click("go").status_code == 302
    assert reader.unsubscribe().status_code == 200


def test_a_reader_may_be_a_known_machine(site: Site) -> None:
    """The same mail is fetched as Apple, Gmail or a security gateway would."""
    reader = Reader(site.client, site.send('<a href="https://shop.example/">go</a>'))
    reader.as_apple().open()
    reader.as_gmail().open()
    reader.as_scanner().click()
    assert [(event.verdict, event.provider) for event in site.rows("Event")] == [
        ("proxy", "apple"),
        ("proxy", "google"),
        ("scanner", "barracuda"),
    ]
