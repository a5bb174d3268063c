"""The findings of checks, each with its meaning and its cure: for ``flask mailtrack doctor`` and the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flask_mailtrack.phrases import Phrase


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a check."""

    code: str
    level: str
    """``ok``, ``warning`` or ``error``."""
    text: Phrase
    """In English; a page can say it in other languages."""


class Remedy(NamedTuple):
    """What a finding is about, what it means if it is not ``ok``, and what to do then."""

    subject: str
    meaning: str
    cure: str


REMEDIES: dict[str, Remedy] = {
    "C10": Remedy(
        "links",
        "Links are not https, so mail clients offer no one-click unsubscribe (RFC 8058).",
        "Set `MAILTRACK_BASE_URL` to an https address.",
    ),
    "C11": Remedy(
        "signing keys",
        "A signing key has fewer than 32 bytes.",
        "Put a longer key first into `MAILTRACK_SECRET_KEYS`, and keep the old key in the list.",
    ),
    "C12": Remedy(
        "DKIM",
        "A reminder: the mail server must sign the headers of list mail.",
        "Name the headers in the `h=` tag of your DKIM signature.",
    ),
    "C13": Remedy(
        "Flask-Mail",
        "A `connect` method of yours opens something that is no `Connection` of Flask-Mail. "
        "Its mail is not tracked, and goes to people who have left.",
        "Let `connect()` return a subclass of `flask_mail.Connection`.",
    ),
    "C14": Remedy(
        "signatures",
        "Many links of the right form had a bad signature within an hour. "
        "A key may be missing from the list, or two apps share a host.",
        "Put former keys back into `MAILTRACK_SECRET_KEYS`.",
    ),
    "C20": Remedy(
        "journal",
        "The directory of the journal cannot be used, or is open to others.",
        "Mend the permissions, or name another directory in `MAILTRACK_SPOOL_DIR`.",
    ),
    "C21": Remedy(
        "quarantine",
        "Records that the database refused are kept in files.",
        "Mend the cause that the log names. Then run `flask mailtrack recover --quarantine`.",
    ),
    "C22": Remedy(
        "disk",
        "The journal is on a network file system or on a file system in memory.",
        "Put the journal on a local disk, or use Redis.",
    ),
    "C23": Remedy(
        "strangers",
        "Files that are not ours lie in the directory of the journal.",
        "Remove the files, or leave them. Nothing reads them.",
    ),
    "C24": Remedy(
        "second directory",
        "The second directory of the journal is open to others.",
        "Do what the finding says, or set `MAILTRACK_SPOOL_FALLBACK_DIR`.",
    ),
    "C25": Remedy(
        "Redis",
        "Redis is away, is full, may forget rows, or holds rows that could not be stored.",
        "Do what the finding says. Until then, each machine moves its rows to the database itself.",
    ),
    "C26": Remedy(
        "opt-outs in quarantine",
        "Opt-outs could not be stored. Their people get no list mail meanwhile.",
        "Mend the table, then run `flask mailtrack recover --quarantine`.",
    ),
    "C27": Remedy(
        "foreign records",
        "Records of another user are in the directory of the journal, and are not read.",
        "Run the `chown` that the finding names.",
    ),
    "C28": Remedy(
        "doubtful folders",
        "A folder holds rows, and nothing says of which app.",
        "If they are this app's, run the `recover` that the finding names.",
    ),
    "C30": Remedy(
        "tables",
        "A table or a column is missing, or the database takes no rows.",
        "Run `db.create_all()` or a migration.",
    ),
    "C31": Remedy(
        "columns of your own",
        "A NOT NULL column of yours has no value, so no row can be stored.",
        "Give the column a default, or fill it by `track(columns=…)` or `Mailtrack(fill=…)`.",
    ),
    "C32": Remedy(
        "columns of your own",
        "A column gets its value only from a mail, and some rows have no mail.",
        "Likewise.",
    ),
    "C33": Remedy(
        "webhooks",
        "An endpoint of `MAILTRACK_WEBHOOKS` has not taken its events for three days, or said that it is gone.",
        "Mend the endpoint, try it with `flask mailtrack webhooks test URL`, and run `flask mailtrack webhooks retry`.",
    ),
    "C34": Remedy(
        "services",
        "A service of `MAILTRACK_SERVICES` has not called, cannot name the mail, or made calls that nobody can read.",
        "Give the service its address, and name it in `MAILTRACK_DOWNSTREAM`. What is in the file with the "
        "calls was not counted. Delete the file when you have seen it.",
    ),
    "C40": Remedy(
        "pixel",
        "The pixel is not answered, or sets a cookie. Something stands before the routes.",
        "Let requests pass where `request.blueprint` is `mailtrack`, or switch the front door on.",
    ),
    "C41": Remedy(
        "one-click",
        "A one-click POST is answered before its token is read, "
        "by a login, CSRF protection, maintenance or a redirect.",
        "Do what the finding says about the function that it names.",
    ),
    "C42": Remedy(
        "front door",
        "A class of yours or a middleware keeps requests from the front door.",
        "Let `wsgi_app` end in `super().wsgi_app(environ, start_response)`, and let our paths pass in the middleware.",
    ),
    "C43": Remedy(
        "redirect",
        "A link does not lead where it should.",
        "The finding has the answer. Look for what answers in front of the app.",
    ),
    "C44": Remedy(
        "switched off",
        "`MAILTRACK_ENABLED` is off.",
        "Remove the key. It is for test suites.",
    ),
    "C50": Remedy(
        "networks",
        "The list of networks is older than 90 days.",
        "Update the package, or set `MAILTRACK_NETWORKS` and run `flask mailtrack networks update`.",
    ),
    "C51": Remedy(
        "countries",
        "The file of `MAILTRACK_GEO_DATABASE` cannot be read.",
        "Name a country or city database in MaxMind's format.",
    ),
    "C60": Remedy(
        "from outside",
        "`check --live`: the public address does not answer, a cache keeps the pixel, or a cookie is set on the way.",
        "Start the app, let the proxy pass the prefix on, and exempt the prefix from caches.",
    ),
    "C61": Remedy(
        "one-click from outside",
        "`check --live`: a one-click POST is redirected, or is answered by something else.",
        "Do not redirect the prefix, such as from http to https or to another host.",
    ),
    "C62": Remedy(
        "long links from outside",
        "`check --live`: a proxy refuses a link of a thousand characters.",
        "Let paths of 1,000 characters pass; for uWSGI: `buffer-size = 8192`.",
    ),
    "C63": Remedy(
        "switches",
        "What operators have switched, and whether the switches can be read.",
        "`flask mailtrack settings history` says who did it.",
    ),
    "C64": Remedy(
        "tracking domains",
        "A tracking domain does not pass its check, or its certificate ends soon.",
        "`flask mailtrack domains show HOST` has each finding with its cure.",
    ),
    "C70": Remedy(
        "waiting records",
        "`doctor`: records wait for too long, the database takes none, or some are only in the log.",
        "Let a thread or `flask mailtrack drain --watch` drain, and see that the database answers. "
        "`flask mailtrack recover` brings back what is in the log or in quarantine.",
    ),
}
"""By the code of the finding. The sentences are Markdown."""
