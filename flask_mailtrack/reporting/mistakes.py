"""The codes of mistakes that stop a start, each with its cause and its cure: for ``explain`` and the documentation."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """What a code means, and what to do."""

    cause: str
    cure: str


MISTAKES: dict[str, Mistake] = {
    "E100": Mistake(
        "a key that begins with `MAILTRACK_` does not exist.",
        "Correct the name, or remove the key. The message names the nearest key.",
    ),
    "E101": Mistake(
        'a key that is on or off has another value, such as the text `"false"` of an environment variable.',
        "Write `True` or `False`. `from_prefixed_env()` reads `true` and `false` without quotes.",
    ),
    "E102": Mistake(
        "a text is no string, or has a line break or another control character.",
        "Write a string of printable characters.",
    ),
    "E103": Mistake(
        "a key that takes one of some words has another word.",
        "Write one of the words that the message names.",
    ),
    "E104": Mistake(
        "a number is outside its limits, or is no number.",
        "Write a number within the limits that the message names.",
    ),
    "E105": Mistake(
        "`MAILTRACK_URL_PREFIX` is no path of its own.",
        "Write a path such as `/m`, of ASCII letters, digits, `-` and `_`.",
    ),
    "E106": Mistake(
        "`MAILTRACK_BASE_URL` is missing. Links are never built from a request, so nobody else can know it.",
        "Set it to the https address under which readers reach the app.",
    ),
    "E107": Mistake(
        "a base URL has a user name, a query, a fragment or a bad port, or is no http(s) address.",
        "Write an address such as `https://links.example.com`.",
    ),
    "E108": Mistake(
        "`MAILTRACK_SENDER_DOMAINS` is no dict of dicts, or names an option or a domain that cannot be.",
        'Write `{"news.example.com": {"opens": False}}`.',
    ),
    "E109": Mistake(
        "`MAILTRACK_LISTS` is no dict of dicts with a title each.",
        'Write `{"news": {"title": "News", "description": "…"}}`.',
    ),
    "E110": Mistake(
        "a signing key is no string, or a list of keys is no list of strings.",
        "Write a list of strings, the newest key first.",
    ),
    "E111": Mistake(
        "the app has no `SECRET_KEY`, so no link can be signed.",
        "Set `SECRET_KEY`, or `MAILTRACK_SECRET_KEYS`.",
    ),
    "E112": Mistake(
        "the newest signing key has fewer than 16 bytes, so links could be forged.",
        "Take the output of `python -c 'import secrets; print(secrets.token_hex())'`. If an old key must stay, "
        "put it last into `MAILTRACK_SECRET_KEYS`.",
    ),
    "E113": Mistake(
        "`MAILTRACK_UTM` is no dict of names and values.",
        'Write `{"source": "mail"}`, without the prefix `utm_`.',
    ),
    "E114": Mistake(
        "`MAILTRACK_SKIP_LINKS` is no regular expression.",
        "Correct the expression. The message says where it breaks.",
    ),
    "E115": Mistake(
        "the content of a file for phones cannot be JSON.",
        "Write the content of the file as a dict or as a list.",
    ),
    "E116": Mistake(
        "`MAILTRACK_THRESHOLDS` is no dict, or names a threshold that does not exist.",
        'Write a dict such as `{"burst": 5, "shadow": 0}`.',
    ),
    "E117": Mistake(
        "a key needs a package that is not installed.",
        "Install the extra that the message names.",
    ),
    "E118": Mistake(
        "the file of `MAILTRACK_NETWORKS` cannot be read.",
        "Mend the line that the message names, or remove the file. Then the list of the package is used.",
    ),
    "E119": Mistake(
        "`MAILTRACK_UNSUBSCRIBE_MAILTO` is no bare address.",
        "Write an address such as `leave@example.com`, in ASCII and without a name.",
    ),
    "E120": Mistake(
        "a time zone is not known to this machine.",
        "Write a name such as `Europe/Berlin`, or install `tzdata`.",
    ),
    "E121": Mistake(
        "`MAILTRACK_REPORTS_BIND` names no entry of `SQLALCHEMY_BINDS`.",
        "Write one of the names that the message lists.",
    ),
    "E122": Mistake(
        "`MAILTRACK_WEBHOOKS` is no dict of endpoints, or an endpoint has an option that does not exist.",
        "Write `{'https://example.com/hook': {'secret': 'whsec_…', 'events': ['message.clicked']}}`.",
    ),
    "E123": Mistake(
        "the URL of a webhook cannot be asked, or is not https.",
        "Write an https URL in ASCII, without user name and fragment. For plain HTTP set `allow_http`.",
    ),
    "E124": Mistake(
        "the secret of a webhook is none of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.",
        "Make one with the command that the message prints.",
    ),
    "E125": Mistake(
        "the events of a webhook are no list, or name an event that does not exist.",
        "Write some of the types that the message lists.",
    ),
    "E130": Mistake(
        "a directory of the journal is open to others, is a link, or belongs to somebody else. Anybody who can "
        "write there can put rows into your database.",
        "Do what the message says, such as `chmod 700`, or name another directory.",
    ),
    "E140": Mistake(
        "`MAILTRACK_KEEP_DAYS` is no dict of `events` and `messages`.",
        'Write `{"events": 365, "messages": 730}`.',
    ),
    "E150": Mistake(
        "`MAILTRACK_SINK` is no URL of a Redis.",
        "Write `redis://host:6379/0`, `rediss://…` or `unix:///path`.",
    ),
    "E151": Mistake(
        "`MAILTRACK_BLOCKED` is no list.",
        "Write a list of hosts, URLs or ids of messages.",
    ),
    "E152": Mistake(
        "`MAILTRACK_SERVICES` is no dict of dicts, or names a service or an option that cannot be.",
        'Write `{"postmark": {"secret": "…"}}`. The message names what is known.',
    ),
    "E153": Mistake(
        "the secret of a service is missing, short, or has letters that an address would change.",
        "Take the output of `python -c 'import secrets; print(secrets.token_urlsafe())'`.",
    ),
    "E154": Mistake(
        "the key by which a service signs its calls is missing or of another form; or Amazon SES has no topic.",
        "Copy the key that the service shows beside the address of the webhook, or the ARN of the topic.",
    ),
    "E160": Mistake(
        "`Mailtrack` was called with `mail` or `db` by position.",
        "Write `Mailtrack(app, mail=mail, db=db)`.",
    ),
    "E165": Mistake(
        "two names in `MAILTRACK_LISTS` are one list, because case and blanks at the ends do not count.",
        "Remove one of them.",
    ),
    "E170": Mistake(
        "a page of yours has a placeholder in it, which nobody replaces outside a mail.",
        "Use `mailtrack.unsubscribe_url(address, list_id)` in pages.",
    ),
    "E175": Mistake(
        "another process of another app, or of another database, uses the folder of the journal.",
        "Give each app a `MAILTRACK_APP_ID`, or end the other process first.",
    ),
    "E176": Mistake(
        "the folder of the journal holds rows of another key.",
        "Put the former key last into the list of keys, or give each app a `MAILTRACK_APP_ID`.",
    ),
    "E177": Mistake(
        "no directory can take the journal.",
        "Set `MAILTRACK_SPOOL_DIR` to a directory on a volume to which the user of the app can write.",
    ),
    "E180": Mistake(
        "a model of yours has the `id` of its base class, and not a UUID.",
        "Name the mixin before the base class: `class Mailing(MessageMixin, Base)`.",
    ),
    "E185": Mistake(
        "`MAILTRACK_URL_PREFIX` is an empty list.",
        "Write the prefix of new links first, then those of older links.",
    ),
    "E190": Mistake(
        "`MAILTRACK_RELAY_LISTEN` is no IP address with a port.",
        "Write an address such as `127.0.0.1:2525` or `[::1]:2525`. A name such as `localhost` may have several.",
    ),
    "E191": Mistake(
        "`MAILTRACK_RELAY_USERS` is no dict of names and hashes, or has a password in place of its hash.",
        "Run `flask mailtrack relay --new-password NAME`, and copy the line that it prints.",
    ),
    "E192": Mistake(
        "the relay would take mail of other machines without asking who they are, and send it to anybody.",
        "Set `MAILTRACK_RELAY_USERS`, or let the relay listen at `127.0.0.1`.",
    ),
    "E193": Mistake(
        "other machines would send their passwords to the relay for all to read.",
        "Set `MAILTRACK_RELAY_CERTIFICATE`. On a network that nobody else is on, such as that of one host's "
        "containers, `MAILTRACK_RELAY_WITHOUT_TLS = True` says that you know.",
    ),
    "E194": Mistake(
        "`MAIL_SERVER` and `MAIL_PORT`, to which the relay hands mail, are the relay itself.",
        "Name the real mail server there, or give the relay another port by `MAILTRACK_RELAY_LISTEN`.",
    ),
    "E195": Mistake(
        "`MAILTRACK_BLOCKED` has an entry that is no host, URL or id.",
        "Correct the entry that the message shows.",
    ),
    "E196": Mistake(
        "`MAILTRACK_OWN_NETWORKS` has an entry that is no network.",
        'Write a list such as `["203.0.113.0/24", "2001:db8::/32"]`.',
    ),
    "E197": Mistake(
        "`MAILTRACK_CNAME_TARGET` is no host name.",
        "Write a name such as `links.example.com`, without scheme, port and path.",
    ),
    "E198": Mistake(
        "`MAILTRACK_DNS_SERVERS` has an entry that is no address.",
        'Write a list such as `["127.0.0.1:5300", "[::1]:53"]`.',
    ),
    "E199": Mistake(
        "`MAILTRACK_TAGS` is no list of short, printable words.",
        'Write a list such as `["welcome", "receipt"]`.',
    ),
    "E200": Mistake(
        "tracking domains need the package dnspython.",
        "Run `pip install 'flask-mailtrack[domains]'`.",
    ),
    "E201": Mistake(
        "`mail` is not Flask-Mail's `Mail`.",
        "Pass the `Mail` object of the app.",
    ),
    "E202": Mistake(
        "`db` is not Flask-SQLAlchemy's `SQLAlchemy`.",
        "Pass the `SQLAlchemy` object of the app.",
    ),
    "E203": Mistake(
        "`init_app` was called twice for one app.",
        "Call it once.",
    ),
    "E204": Mistake(
        "Flask-Mail, or Flask-Mailman, has not seen the app yet.",
        "Call `mail.init_app(app)` before `mailtrack.init_app(app)`.",
    ),
    "E205": Mistake(
        "Flask-SQLAlchemy has not seen the app yet.",
        "Call `db.init_app(app)` before `mailtrack.init_app(app)`.",
    ),
    "E206": Mistake(
        "the app uses another `SQLAlchemy` than the one that `Mailtrack` was given.",
        "Pass the app's own `db`.",
    ),
    "E207": Mistake(
        "the database cannot ignore duplicates.",
        "Use SQLite, PostgreSQL, MySQL or MariaDB. With `bind_key`, only the tables of this package need it.",
    ),
    "E208": Mistake(
        "`MAILTRACK_SINK` is set, and the package redis is not installed.",
        "Run `pip install 'flask-mailtrack[redis]'`.",
    ),
    "E209": Mistake(
        "`mailtrack.metrics()` needs the package prometheus-client.",
        "Run `pip install 'flask-mailtrack[metrics]'`.",
    ),
}
