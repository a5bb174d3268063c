"""The headers of a mail, for the mail clients of readers and for other services.

A list message has the headers of RFC 2369, RFC 2919 and RFC 8058. ``Precedence`` and ``Auto-Submitted`` are left to
the author. The first is in no standard. The second says whether a mail is an answer or the work of a machine (RFC
3834, section 5), and only the author knows that.

A provider that tracks by itself would wrap our links a second time. ``MAILTRACK_DOWNSTREAM`` names the provider, and
each mail then carries the provider's own header against tracking; and, if ``MAILTRACK_SERVICES`` has the provider, too,
the token of its copy, which the provider gives back in what it tells. A template for another service may carry that
service's switches; with ``MAILTRACK_FOREIGN_HEADERS`` this package obeys them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.policy import SMTP, Policy
from typing import Any
from urllib.parse import quote
from zlib import crc32

from flask_mailtrack.services import CARRIERS


@dataclass(frozen=True, slots=True)
class Provider:
    """The ways in which a mail tells a service to leave it alone."""

    attribute: str = ""
    """An attribute that is put before the ``href`` of each tracked link. SendGrid looks for it there only."""
    headers: Mapping[str, str] = field(default_factory=dict)


RELAYS: dict[str, Provider] = {
    "": Provider(),
    "alidm": Provider(
        "data-alidm-traceoff ",
        {"X-AliDM-Trace": base64.b64encode(b'{"OpenTrace":"0","LinkTrace":"0"}').decode()},
    ),
    "mailgun": Provider('disable-tracking="true" ', {"X-Mailgun-Track": "no"}),
    "mailjet": Provider("", {"X-Mailjet-TrackOpen": "0", "X-Mailjet-TrackClick": "0"}),
    "mandrill": Provider("mc:disable-tracking ", {"X-MC-Track": "none"}),
    "postmark": Provider("data-pm-no-track ", {"X-PM-TrackOpens": "false", "X-PM-TrackLinks": "None"}),
    "sendgrid": Provider(
        'clicktracking="off" ',
        {
            "X-SMTPAPI": json.dumps(
                {"filters": {name: {"settings": {"enable": 0}} for name in ("clicktrack", "opentrack")}}
            )
        },
    ),
    "brevo": Provider(),
    "resend": Provider(),
    "sendcloud": Provider(),
    "ses": Provider("ses:no-track "),
    "sparkpost": Provider(
        'data-msys-clicktrack="0" ',
        {"X-MSYS-API": json.dumps({"options": {"open_tracking": False, "click_tracking": False}})},
    ),
    "tencent": Provider(),
}
"""The providers, by the names for ``MAILTRACK_DOWNSTREAM``."""

_YES, _NO = {"yes", "true", "1", "on", "htmlonly"}, {"no", "false", "0", "off"}


def headers_for(relay: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that tell *relay* to leave the mail alone.

    The author's value of the same header stays: JSON is merged, and any other value is kept as it is.
    """
    written = {name.lower(): name for name in given}
    found = {}
    for name, ours in RELAYS[relay].headers.items():
        if (own := written.get(name.lower())) is None:
            found[name] = ours
        elif merged := _merged(given[own], ours):
            found[own] = merged
    return found


def naming(relay: str, token: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the header by which *relay* names a copy in what it tells; empty if the author uses that header.

    :param token: of the copy.
    :param given: the other headers of the copy.
    """
    name, path = CARRIERS[relay]
    name = next((own for own in given if own.lower() == name.lower()), name)
    value: Any = token
    for key in reversed(path):
        value = {key: value}
    if not path:
        return {} if name in given else {name: Unfolded(name, token)}
    named = json.dumps(value)
    both = _merged(given[name], named) if name in given else named
    whole = both and len(both) <= MAX_LINE // 2 and "<" not in both  # between two "<…>" a value of that class is folded
    return {name: Unfolded(name, both) if whole else both} if both else {}


def _merged(theirs: str, ours: str) -> str | None:
    """Return the JSON object *theirs* with the keys of *ours*, or None if one of them is no JSON object."""
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
    """Take the switches of other services out of *headers*, and return them as options of this package.

    A switch that cannot be read stays where it is.
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


LIST_UNSUBSCRIBE = "List-Unsubscribe"
LIST_UNSUBSCRIBE_POST = "List-Unsubscribe-Post"
LIST_ID = "List-Id"

_URI = re.compile(r"<([^<>]*)>")
_BETWEEN = re.compile(r">\s*,\s*<")
_FOLD = re.compile(r"\r?\n(?=[ \t]+\S)")  # RFC 5322, section 2.2.3
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322, section 2.2: printable ASCII but the colon
# Python 3.11 and 3.12 begin a new line wherever str.splitlines() sees one, not only at CR and LF.
_BREAKS = re.compile(r"[\0\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
MAX_LINE = 998  # octets; RFC 5322, section 2.1.1
_MAX_LABEL, _MAX_DOMAIN = 120, 134  # RFC 2919, section 3: with the dot between them at most 255 octets


class Unfolded(str):
    """A header value that is written as it stands.

    Flask-Mail writes headers with :data:`email.policy.SMTP`, which turns a URL longer than a line into RFC 2047
    words. Mail clients cannot read a URL in such words, so their unsubscribe buttons would vanish. The policy lets
    a value with ``name`` and ``fold`` fold itself. Values of this class stay under the 998 octets of RFC 5322,
    section 2.1.1.
    """

    name: str

    def __new__(cls, name: str, value: str) -> Unfolded:
        """Return *value* as the value of the header *name*."""
        self = super().__new__(cls, value)
        self.name = name
        return self

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # of str: the value alone
        return self.name, str(self)

    def fold(self, *, policy: Policy) -> str:
        """Return the whole header: a line, or a line for each of several URLs."""
        return f"{self.name}: {_BETWEEN.sub(f'>,{policy.linesep} <', self)}{policy.linesep}"


def for_list(url: str, list_id: str, sender_domain: str, given: Mapping[str, str], mailto: str = "") -> dict[str, str]:
    """Return the author's headers, with those by which a mail client offers to unsubscribe.

    A mail has one ``List-Unsubscribe``, and one-click needs exactly one web address in it (RFC 8058, section 3.1).
    If the author's header names a web address, it stays as it is, with the author's ``List-Unsubscribe-Post`` or
    without. If the author's header names other addresses only, our address comes first and the author's follow.

    :param url: the recipient's own unsubscribe URL. Only an https URL may be offered for one-click
        (RFC 8058, section 3.1).
    :param list_id: becomes ``List-Id`` under the sender's domain, unless the author has set this header;
        empty: no header.
    :param sender_domain: in IDNA spelling; a value that is no domain becomes ``localhost``.
    :param given: the author's headers.
    :param mailto: follows *url*, for clients that cannot POST, unless the author has a mailbox; empty: no mailbox.
    """
    headers = {name: value for name, value in given.items() if name.lower() != LIST_UNSUBSCRIBE.lower()}
    present = {name.lower() for name in headers}
    own = ", ".join(filter(None, (unfolded(value).strip() for name, value in given.items() if name not in headers)))
    uris = ["".join(uri.split()).lower() for uri in _URI.findall(own)]
    if own and (not uris or any(uri.startswith(("https:", "http:")) for uri in uris)):
        headers[LIST_UNSUBSCRIBE] = _written(own) or own
    else:
        ours, behind = f"<{url}>", own or (mailto and f"<{mailto}>")
        both = behind and _written(f"{ours}, {behind}")
        headers[LIST_UNSUBSCRIBE] = both or Unfolded(LIST_UNSUBSCRIBE, ours)
        if url.startswith("https://") and LIST_UNSUBSCRIBE_POST.lower() not in present:
            headers[LIST_UNSUBSCRIBE_POST] = "List-Unsubscribe=One-Click"
    if list_id and LIST_ID.lower() not in present:
        headers[LIST_ID] = Unfolded(LIST_ID, f"<{_label(list_id)}.{_namespace(sender_domain)}>")
    return headers


def unfolded(value: object) -> str:
    """Return a header value on one line. A break that is no legal fold stays, and :func:`bad_header` finds it."""
    return _FOLD.sub("", str(value))


def _written(value: str) -> Unfolded | None:
    """Return *value* as ASCII that is written as it stands, or ``None`` if a line would be too long for SMTP."""
    header = Unfolded(LIST_UNSUBSCRIBE, quote(value, safe=string.printable, errors="replace"))
    return header if max(map(len, header.fold(policy=SMTP).split("\r\n"))) <= MAX_LINE else None


def bad_header(headers: Mapping[str, str]) -> str | None:
    """Return the name of a header that would break out of its line, or ``None``.

    Flask-Mail checks subject, sender and recipients only. Python writes the other values as they are, with
    a new line for every character that Unicode counts as a line break.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(str(name)) or _BREAKS.search(str(value)):
            return str(name)
    return None


def _label(list_id: str) -> str:
    """Write a list's name as a dot-atom. A name without a Latin letter or digit becomes a number of its own."""
    atoms = re.sub(r"[^a-z0-9.-]+", "-", list_id.lower()).split(".")
    label = ".".join(filter(None, (atom.strip("-") for atom in atoms)))
    return label[:_MAX_LABEL].rstrip(".-") or f"list-{crc32(list_id.encode('utf-8', 'replace')):08x}"


def _namespace(domain: str) -> str:
    return domain if len(domain) <= _MAX_DOMAIN and _DOMAIN.fullmatch(domain) else "localhost"
