"""The world outside, acted by the mailbox: who else touches a mail besides the person who gets it.

Each visitor asks this app, inside this process, as the real one would ask over the network; nobody outside is asked.
Their addresses are of the networks for documentation (RFC 5737), so that they differ from each other and from yours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import current_app
from flask.testing import FlaskClient

from flask_mailtrack.errors import MailtrackError
from flask_mailtrack.events import PATHS, Kind, OptOutKind
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.state import current_state
from flask_mailtrack.testing import APPLE, BROWSER, GMAIL, SCANNER

from .addresses import OwnAddresses
from .kept import KeptMail

log: logging.Logger = logging.getLogger("flask_mailtrack.mailbox")

MOST_LINKS = 100
"""Links that the gateway follows; a real one takes them all."""
_PIXEL = PATHS[Kind.OPEN]
_PROVIDER = {"User-Agent": "ExampleMail one-click unsubscribe"}
_PERSON_AT, _APPLE_AT, _GMAIL_AT, _GATEWAY_AT, _PROVIDER_AT = (
    "192.0.2.10",
    "203.0.113.17",
    "203.0.113.66",
    "198.51.100.25",
    "203.0.113.99",
)


class Outcome(NamedTuple):
    """What came of a visit."""

    done: str
    """A key of :data:`SAID`."""
    number: int = 0
    """Of the links that were followed."""


def _suppressed_by(reason: str) -> Phrase:
    return Phrase(
        "The address is suppressed, by %(call)s, as after such a report of a service. Lists send it nothing more.",
        call=f'mailtrack.suppress(address, reason="{reason}")',
    )


SAID = {
    "person": Phrase("A person has loaded the pictures, in Firefox on Linux: that is an open."),
    "apple": Phrase(
        "Apple’s privacy proxy has loaded the pictures. Nobody has read anything, so it counts as a machine’s."
    ),
    "gmail": Phrase("Gmail’s proxy has loaded the pictures, which it does while a person looks: that is an open."),
    "gateway": Phrase(
        "A security gateway has asked for the pictures, and for links with GET and HEAD, also those to unsubscribe. "
        "That unsubscribed nobody, for only a POST does."
    ),
    "provider": Phrase("The mail provider has sent its POST, as RFC 8058 says. The recipient has left the list."),
    "bounce": _suppressed_by("bounce"),
    "complaint": _suppressed_by("complaint"),
    "lift": Phrase("The suppression is lifted: mail goes out to the address again."),
    "no_pixel": Phrase("Nothing happened: this mail has no pixel, so nobody can see that it was opened."),
    "no_header": Phrase("Nothing happened: List-Unsubscribe has no address of this app to send a POST to."),
    "refused": Phrase("The app answered this visit with an error. Its log says more."),
    "unwritten": Phrase("Nothing was changed: it could not be written. The log says more."),
}
"""What the page says afterwards."""


Act = Callable[[KeptMail, OwnAddresses], Outcome]


def person(mail: KeptMail, own: OwnAddresses) -> Outcome:
    """Open the mail as a person does."""
    return _open(mail, own, BROWSER, _PERSON_AT, "person")


def apple(mail: KeptMail, own: OwnAddresses) -> Outcome:
    """Load the pictures as Apple's privacy proxy does, whether or not somebody reads."""
    return _open(mail, own, APPLE, _APPLE_AT, "apple")


def gmail(mail: KeptMail, own: OwnAddresses) -> Outcome:
    """Load the pictures as Gmail's proxy does, while a person looks."""
    return _open(mail, own, GMAIL, _GMAIL_AT, "gmail")


def gateway(mail: KeptMail, own: OwnAddresses) -> Outcome:
    """Ask for everything in the mail, as a security gateway does before it delivers."""
    client, found = _client(_GATEWAY_AT), own.found_in(mail.html)
    links = [url for url, segment in found.items() if segment != _PIXEL][:MOST_LINKS]
    if pixel := _pixel(mail, own):
        client.get(**_asked(pixel), headers=SCANNER)
    for url in links:
        client.head(**_asked(url), headers=SCANNER)
        client.get(**_asked(url), headers=SCANNER)
    return Outcome("gateway", len(links))


def provider(mail: KeptMail, own: OwnAddresses) -> Outcome:
    """Send the POST of a mail program's own button."""
    if not own.segment_of(mail.unsubscribe_url):
        return Outcome("no_header")
    form = {"List-Unsubscribe": "One-Click"}
    answer = _client(_PROVIDER_AT).post(**_asked(mail.unsubscribe_url), data=form, headers=_PROVIDER)
    return Outcome("provider" if answer.status_code == 200 else "refused")


def bounce(mail: KeptMail, _: OwnAddresses) -> Outcome:
    """Suppress the address as a program does that reads bounces."""
    return _suppressed(mail, "bounce")


def complaint(mail: KeptMail, _: OwnAddresses) -> Outcome:
    """Suppress the address as a program does that reads complaints."""
    return _suppressed(mail, "complaint")


def lift(mail: KeptMail, _: OwnAddresses) -> Outcome:
    """Lift the suppression of the address."""
    _change(mail, out=False, reason="")
    return Outcome("lift")


VISITORS: dict[str, Act] = {
    visitor.__name__: visitor for visitor in (person, apple, gmail, gateway, provider, bounce, complaint, lift)
}


def visit(name: str, mail: KeptMail, own: OwnAddresses) -> Outcome:
    """Let a visitor act on *mail*. An error is logged and said.

    :raises KeyError: there is no such visitor.
    """
    act = VISITORS[name]
    try:
        return act(mail, own)
    except MailtrackError:
        log.exception("the mailbox could not change anything")
        return Outcome("unwritten")
    except Exception:
        log.exception("a visitor of the mailbox failed")
        return Outcome("refused")


def _open(mail: KeptMail, own: OwnAddresses, headers: dict[str, str], address: str, done: str) -> Outcome:
    pixel = _pixel(mail, own)
    if not pixel:
        return Outcome("no_pixel")
    answer = _client(address).get(**_asked(pixel), headers=headers)
    return Outcome(done if answer.status_code == 200 else "refused")


def _pixel(mail: KeptMail, own: OwnAddresses) -> str:
    return next((url for url, segment in own.found_in(mail.html).items() if segment == _PIXEL), "")


def _suppressed(mail: KeptMail, reason: str) -> Outcome:
    _change(mail, out=True, reason=reason)
    return Outcome(reason)


def _change(mail: KeptMail, *, out: bool, reason: str) -> None:
    kind = OptOutKind.UNSUBSCRIBE
    current_state().people.change(mail.label.recipient, out=out, list_id="", kind=kind, reason=reason, method="mailbox")


def _client(address: str) -> FlaskClient:
    client = current_app.test_client(use_cookies=False)
    client.environ_base["REMOTE_ADDR"] = address
    return client


def _asked(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {"path": parts.path, "base_url": f"{parts.scheme}://{parts.netloc}"}
