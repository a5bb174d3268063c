"""From a form to a tracked mail."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from email.utils import getaddresses
from typing import Self

from flask import render_template
from flask_mail import Message

from flask_mailtrack.errors import OptOutsUnavailable

from .models import mail, mailtrack

TEMPLATES = {
    "offer": ("Tea of the month", "First-flush Darjeeling, 20 % off until Sunday"),
    "digest": ("Three short reads", "Three short reads for a slow morning"),
    "welcome": ("Welcome", "Welcome to Leaf & Kettle"),
}
MOST = 20

_ADDRESS = re.compile(r"[!-~]+@[a-z0-9-]+(\.[a-z0-9-]+)+")


class Unsendable(Exception):
    """The mail did not go out.

    :param field: of the form, or ``""`` where none is to blame.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True)
class Draft:
    """The form; its defaults are what a newcomer may send at once."""

    to: str = "ada@example.com"
    subject: str = ""
    list_id: str = "news"
    template: str = "offer"
    html: str = ""
    text: str = ""

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Self:
        """Return what was filled in."""
        return cls(**{field.name: form.get(field.name, "").strip() for field in fields(cls)})

    def recipients(self) -> list[str]:
        """Return the addresses, as mailtrack spells them.

        :raises Unsendable: there is none, or one of them cannot be mailed.
        """
        found = [bare or name for name, bare in getaddresses([re.sub(r"[;\n]", ",", self.to)]) if bare or name]
        if not found:
            raise Unsendable("to", "Whom shall it go to? Write at least one address.")
        if len(found) > MOST:
            raise Unsendable("to", f"That is {len(found)} addresses; here, {MOST} are the most.")
        return [_address(text) for text in found]

    def message(self) -> Message:
        """Return the mail, not yet sent.

        :raises Unsendable: something is missing or wrong.
        """
        recipients: list[str | tuple[str, str]] = [*self.recipients()]
        subject = " ".join(self.subject.split())
        if self.template in TEMPLATES:
            subject = subject or TEMPLATES[self.template][1]
            html, text = (
                render_template(f"mails/{self.template}.{kind}", listed=self.list_id) for kind in ("html", "txt")
            )
        else:
            html, text = self.html, self.text
        if not html and not text:
            raise Unsendable("html", "The mail is empty. Write some HTML, some text, or both.")
        return Message(subject or "(no subject)", recipients, body=text or None, html=html or None)


def send(draft: Draft) -> Message:
    """Send *draft* to each of its recipients, tracked.

    :raises Unsendable: it did not go out, with the reason in words.
    """
    message = draft.message()
    mailtrack.track(message, tag=f"demo-{draft.template or 'own'}", list_id=draft.list_id or None)
    try:
        mail.send(message)
    except OptOutsUnavailable:
        raise Unsendable(
            "", "Nothing was sent: who has left this list cannot be read just now, and nobody who left may be mailed."
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        raise Unsendable("", f"The mail server did not take it: {error}") from error
    return message


def _address(text: str) -> str:
    local, _, domain = text.strip().lower().rpartition("@")
    try:
        spelled = f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        spelled = ""
    if not _ADDRESS.fullmatch(spelled) or len(spelled) > 254:
        raise Unsendable("to", f"“{text}” is not a complete e-mail address, such as ada@example.com.")
    return spelled
