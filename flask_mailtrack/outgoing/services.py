"""Other services: what their headers say to us, and what ours say to them.

A relay that tracks by itself would wrap our links a second time. ``MAILTRACK_DOWNSTREAM`` names it, and
its own way of saying "not this one" goes out with each mail. And a template that was written for
another service may carry that service's switches; with ``MAILTRACK_FOREIGN_HEADERS`` they are ours.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .headers import unfolded


@dataclass(frozen=True, slots=True)
class Relay:
    """How a service is told to leave a mail alone."""

    attribute: str = ""
    """Put before the ``href`` of each tracked link: SendGrid looks for it there only."""
    headers: Mapping[str, str] = field(default_factory=dict)


RELAYS: dict[str, Relay] = {
    "": Relay(),
    "alidm": Relay(
        "data-alidm-traceoff ",
        {"X-AliDM-Trace": base64.b64encode(b'{"OpenTrace":"0","LinkTrace":"0"}').decode()},
    ),
    "mailgun": Relay('disable-tracking="true" ', {"X-Mailgun-Track": "no"}),
    "mailjet": Relay("", {"X-Mailjet-TrackOpen": "0", "X-Mailjet-TrackClick": "0"}),
    "mandrill": Relay("mc:disable-tracking ", {"X-MC-Track": "none"}),
    "postmark": Relay("data-pm-no-track ", {"X-PM-TrackOpens": "false", "X-PM-TrackLinks": "None"}),
    "sendgrid": Relay(
        'clicktracking="off" ',
        {
            "X-SMTPAPI": json.dumps(
                {"filters": {name: {"settings": {"enable": 0}} for name in ("clicktrack", "opentrack")}}
            )
        },
    ),
    "ses": Relay("ses:no-track "),
    "sparkpost": Relay(
        'data-msys-clicktrack="0" ',
        {"X-MSYS-API": json.dumps({"options": {"open_tracking": False, "click_tracking": False}})},
    ),
}
"""By the name that ``MAILTRACK_DOWNSTREAM`` takes."""

_YES, _NO = {"yes", "true", "1", "on", "htmlonly"}, {"no", "false", "0", "off"}


def headers_for(relay: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that tell *relay* to leave the mail alone.

    What the author says in the same header stays: JSON is merged, and any other value is theirs.
    """
    written = {name.lower(): name for name in given}
    found = {}
    for name, ours in RELAYS[relay].headers.items():
        if (own := written.get(name.lower())) is None:
            found[name] = ours
        elif merged := _merged(given[own], ours):
            found[own] = merged
    return found


def _merged(theirs: str, ours: str) -> str | None:
    """Return the object of *theirs* with what *ours* says, or None if one of them is no JSON object."""
    try:
        wide, narrow = json.loads(unfolded(theirs)), json.loads(ours)
    except (ValueError, RecursionError):
        return None
    if not isinstance(wide, dict) or not isinstance(narrow, dict):
        return None
    return json.dumps(_laid_over(wide, narrow))


def _laid_over(wide: dict[str, Any], narrow: dict[str, Any]) -> dict[str, Any]:
    both = dict(wide)
    for name, value in narrow.items():
        before = wide.get(name)
        both[name] = _laid_over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def take_switches(headers: dict[str, str]) -> dict[str, Any]:
    """Take the switches of other services out of *headers* and return them as options of ours.

    What cannot be read is left where it is.
    """
    said: dict[str, Any] = {}
    for name in list(headers):
        read = _READERS.get(name.lower())
        found = read(headers[name].strip()) if read else None
        if found is not None:
            said |= found
            del headers[name]
    return said


def _switch(*options: str) -> Any:
    def read(value: str) -> dict[str, Any] | None:
        word = value.lower()
        return dict.fromkeys(options, word in _YES) if word in _YES | _NO else None

    return read


def _track_links(value: str) -> dict[str, Any] | None:
    words = {"none": False, "textonly": False, "htmlonly": True, "htmlandtext": True}
    return {"clicks": words[value.lower()]} if value.lower() in words else None


def _mandrill(value: str) -> dict[str, Any] | None:
    words = {word.strip().lower() for word in value.split(",")}
    if not words <= {"none", "opens", "clicks", "clicks_all", "clicks_htmlonly", "clicks_textonly"}:
        return None
    return {"opens": "opens" in words, "clicks": bool(words & {"clicks", "clicks_all", "clicks_htmlonly"})}


_ALIDM = {"OpenTrace": "opens", "LinkTrace": "clicks"}


def _alidm(value: str) -> dict[str, Any] | None:
    try:
        said = json.loads(base64.b64decode("".join(value.split()), validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    found: dict[str, Any] = {ours: str(said[name]) == "1" for name, ours in _ALIDM.items() if name in said}
    return (found | ({"tag": str(said["TagName"])} if said.get("TagName") else {})) or None


def _tag(value: str) -> dict[str, Any] | None:
    return {"tag": value} if value else None


_READERS: dict[str, Any] = {
    "x-alidm-trace": _alidm,
    "x-mailgun-track": _switch("opens", "clicks"),
    "x-mailgun-track-opens": _switch("opens"),
    "x-mailgun-track-clicks": _switch("clicks"),
    "x-mailgun-tag": _tag,
    "x-mc-track": _mandrill,
    "x-no-track": lambda value: {"opens": False, "clicks": False},
    "x-pm-trackopens": _switch("opens"),
    "x-pm-tracklinks": _track_links,
    "x-pm-tag": _tag,
}
