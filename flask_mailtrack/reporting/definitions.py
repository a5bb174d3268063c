"""What each figure means, in one sentence: for the console, the heads of files, and the commands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Definition:
    """What a figure means.

    :param label: its name.
    :param sentence: what is counted.
    :param formula: what it is a part of, and what is left out.
    """

    label: str
    sentence: str
    formula: str


DEFINITIONS: dict[str, Definition] = {
    "sent": Definition(
        "Sent",
        "Messages that your mail server accepted. One message is one person’s copy.",
        "Counted: status sent, sending or unknown. Left out: refused by the mail server, and held back because the "
        "person had unsubscribed or is suppressed.",
    ),
    "opened": Definition(
        "Opened by people",
        "Messages that a person opened at least once.",
        "Opened ÷ messages sent with an open pixel. Messages without a pixel are in neither number. Apple Mail loads "
        "every picture by itself, so its loads count as machines.",
    ),
    "clicked": Definition(
        "Clicked by people",
        "Messages in which a person followed at least one tracked link.",
        "Clicked ÷ messages sent with tracked links.",
    ),
    "unsubscribed": Definition(
        "Unsubscribed",
        "Messages from which a person left a list.",
        "Unsubscribed ÷ messages sent that name a list. Only a pressed button counts; a visit to the page does not.",
    ),
    "delivered": Definition(
        "Delivered",
        "Messages that the mail server of the recipient accepted.",
        "Delivered ÷ sent. Only a service that reports deliveries tells this number; without one, the number is 0.",
    ),
    "bounced": Definition(
        "Came back",
        "Messages that the mail server of the recipient refused, at once or later.",
        "Came back ÷ sent. Keep this rate below 2%: mail providers refuse senders whose mail comes back often.",
    ),
    "complained": Definition(
        "Called spam",
        "Messages that the recipient called spam, as far as the mail provider tells.",
        "Called spam ÷ sent. Keep this rate below 0.1%: mail providers refuse senders of spam.",
    ),
    "machines": Definition(
        "Machines",
        "Opens and clicks by programs: proxies that nobody looked through, scanners, prefetchers and bots.",
        "A count beside the others, in none of the rates.",
    ),
    "unmeasured": Definition(
        "Not measured",
        "Messages sent without a pixel and without tracked links.",
        "Off by a setting, declined by the person, text only, or kept as totals only.",
    ),
    "share": Definition(
        "Share of a link",
        "People who followed this link.",
        "Of all who followed any link of the campaign. Shares may sum to more than 100%.",
    ),
    "click_to_open": Definition(
        "Click-to-open",
        "Messages that people opened and clicked.",
        "Of those that people opened.",
    ),
    "usual": Definition(
        "Usual",
        "The median of up to five mails before it on the same list, or with the same tag.",
        "Of mails with at least 50 copies.",
    ),
}
"""By the name of the figure in :mod:`.answers`."""
