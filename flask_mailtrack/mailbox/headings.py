"""What the headers of a mail are for, in a sentence each."""

from __future__ import annotations

from typing import NamedTuple

from .kept import KeptMail

OURS = ("list-unsubscribe", "list-unsubscribe-post", "list-id")
"""The headers that Mailtrack writes, unless the author has."""
_TOLD = {
    "subject": "What stands in the list of mails.",
    "from": "Whose mail it is. Its domain is what DMARC compares with the DKIM signature.",
    "to": "Whom the author wrote to. Everybody sees all of them; the envelope has this recipient only.",
    "cc": "Who gets a copy, for everybody to see.",
    "reply-to": "Where an answer goes.",
    "date": "When it was sent.",
    "message-id": "The name of this mail. All copies of one sending have the same, and replies refer to it.",
    "list-unsubscribe": "Lets the mail program show its own “Unsubscribe” button (RFC 2369).",
    "list-unsubscribe-post": "Promises that one POST to the address above unsubscribes, without any page (RFC 8058).",
    "list-id": "The name of the list, by which people filter (RFC 2919).",
    "precedence": "Tells programs that answer by themselves to be silent.",
    "auto-submitted": "Says that a program has written this mail (RFC 3834).",
    "content-type": "What the content is, and how its parts are held apart.",
    "content-transfer-encoding": "How the content was made fit for lines of text.",
    "mime-version": "Says that the mail follows MIME.",
    "x-mailtrack": "Options for Mailtrack. It should have been removed: was this mail prepared?",
}


class Heading(NamedTuple):
    """One header."""

    name: str
    value: str
    meaning: str
    """What it is for; empty: the mailbox does not know the header."""
    matters: bool
    """Whether unsubscribing depends on it."""


def headings(mail: KeptMail) -> list[Heading]:
    """Return the headers of *mail* in order."""
    return [Heading(name, value, _TOLD.get(name.lower(), ""), name.lower() in OURS) for name, value in mail.headers]


def one_click(mail: KeptMail) -> str:
    """Return how far the mail can be left with the button of a mail program, as a sentence."""
    url, promised = mail.unsubscribe_url, bool(mail.header("List-Unsubscribe-Post"))
    if not mail.header("List-Unsubscribe"):
        return "There is no List-Unsubscribe, because this mail names no list that one could leave."
    if not url:
        return "List-Unsubscribe has no web address, so mail programs can only write to its mailbox."
    if promised and url.startswith("https://"):
        return "Both headers are there, over https: mail programs may show a button that works with one click."
    if not url.startswith("https://"):
        return (
            "List-Unsubscribe-Post is missing, and rightly so: RFC 8058 allows it for https links only, and "
            f"MAILTRACK_BASE_URL is not https here: {url.split('/', 3)[2]} is asked over http."
        )
    return "List-Unsubscribe-Post is missing, so mail programs open the page instead of unsubscribing at once."
