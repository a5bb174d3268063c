"""What the headers of a mail are for, in a sentence each."""

from __future__ import annotations

from typing import NamedTuple

from flask_mailtrack.phrases import NOTHING, Phrase

from .kept import KeptMail

OURS = ("list-unsubscribe", "list-unsubscribe-post", "list-id")
"""The headers that Mailtrack writes, unless the author has."""
_TOLD = {
    "subject": Phrase("What stands in the list of mails."),
    "from": Phrase("Whose mail it is. Its domain is what DMARC compares with the DKIM signature."),
    "to": Phrase("Whom the author wrote to. Everybody sees all of them; the envelope has this recipient only."),
    "cc": Phrase("Who gets a copy, for everybody to see."),
    "reply-to": Phrase("Where an answer goes."),
    "date": Phrase("When it was sent."),
    "message-id": Phrase("The name of this mail. All copies of one sending have the same, and replies refer to it."),
    "list-unsubscribe": Phrase("Lets the mail program show its own “Unsubscribe” button (RFC 2369)."),
    "list-unsubscribe-post": Phrase(
        "Promises that one POST to the address above unsubscribes, without any page (RFC 8058)."
    ),
    "list-id": Phrase("The name of the list, by which people filter (RFC 2919)."),
    "precedence": Phrase("Tells programs that answer by themselves to be silent."),
    "auto-submitted": Phrase("Says that a program has written this mail (RFC 3834)."),
    "content-type": Phrase("What the content is, and how its parts are held apart."),
    "content-transfer-encoding": Phrase("How the content was made fit for lines of text."),
    "mime-version": Phrase("Says that the mail follows MIME."),
    "x-mailtrack": Phrase("Options for Mailtrack. It should have been removed: was this mail prepared?"),
}


class Heading(NamedTuple):
    """One header."""

    name: str
    value: str
    meaning: Phrase
    """What it is for; empty: the mailbox does not know the header."""
    matters: bool
    """Whether unsubscribing depends on it."""


def headings(mail: KeptMail) -> list[Heading]:
    """Return the headers of *mail* in order."""
    return [
        Heading(name, value, _TOLD.get(name.lower(), NOTHING), name.lower() in OURS) for name, value in mail.headers
    ]


def one_click(mail: KeptMail) -> Phrase:
    """Return how far the mail can be left with the button of a mail program, as a sentence."""
    url, promised = mail.unsubscribe_url, bool(mail.header("List-Unsubscribe-Post"))
    if not mail.header("List-Unsubscribe"):
        return Phrase("There is no List-Unsubscribe, because this mail names no list that one could leave.")
    if not url:
        return Phrase("List-Unsubscribe has no web address, so mail programs can only write to its mailbox.")
    if promised and url.startswith("https://"):
        return Phrase("Both headers are there, over https: mail programs may show a button that works with one click.")
    if not url.startswith("https://"):
        return Phrase(
            "List-Unsubscribe-Post is missing, and rightly so: RFC 8058 allows it for https links only, and "
            "MAILTRACK_BASE_URL is not https here: %(host)s is asked over http.",
            host=url.split("/", 3)[2],
        )
    return Phrase("List-Unsubscribe-Post is missing, so mail programs open the page instead of unsubscribing at once.")
