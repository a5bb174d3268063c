"""The ``MAILTRACK_*`` keys: meaning, unit, default and check. They are read once, at ``init_app``."""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import admission
from .checks import (
    Check,
    Prefix,
    bad,
    base_url,
    blocked_list,
    boolean,
    directory,
    host,
    integer,
    is_secret,
    is_service_link,
    json_list,
    json_object,
    keeping,
    mailbox,
    mailing_lists,
    network_list,
    number,
    one_of,
    pattern,
    prefix,
    secret_list,
    sender_domains,
    servers,
    sink,
    size_of,
    tag_list,
    text,
    thresholds,
    time_zone,
    utm_parameters,
    with_extra,
)
from .endpoints import Endpoint, webhooks
from .events import EventType
from .languages import LANGUAGES
from .modes import Mode
from .services import CARRIERS, Service, services
from .thresholds import Thresholds

log: logging.Logger = logging.getLogger("flask_mailtrack")

PREFIX = "MAILTRACK_"
MIN_SECRET_BYTES = 16
QUOTED_PRINTABLE = "quoted-printable"
NOWHERE = "https://mailtrack.invalid"
"""The base URL of an app that is switched off and names no address. RFC 2606 keeps this name free."""


def _setting(default: Any, check: Check, doc: str) -> Any:
    metadata = {"check": check, "doc": doc, "default": default}
    return (
        field(default_factory=dict, metadata=metadata) if default == {} else field(default=default, metadata=metadata)
    )


@dataclass(frozen=True)
class Settings:
    """The settings of one app: checked, typed, and never changed after start-up."""

    enabled: bool = _setting(
        True, boolean, "Off, for test suites: mail leaves untracked, and nothing is served, started or stored."
    )
    base_url: str = _setting(
        "", base_url, "Public https address under which readers reach this app. Required; never taken from a request."
    )
    url_prefix: Prefix = _setting(
        Prefix("/m"),
        prefix,
        "Path of pixel, redirect and unsubscribe; or a list, newest first: all paths are answered.",
    )
    front_door: bool = _setting(
        True, boolean, "Answer these paths before the host's hooks, session and routing; off: only by the blueprint."
    )
    secret_keys: tuple[str | bytes, ...] = _setting(
        (), secret_list, "Signing keys, newest first; keep old ones. Default: SECRET_KEY + SECRET_KEY_FALLBACKS."
    )
    app_id: str = _setting("", text, "Tells apps apart that share a secret. Never change it while links are out.")
    opens: bool = _setting(True, boolean, "Put an open pixel into HTML mail.")
    clicks: bool = _setting(True, boolean, "Track http(s) links in HTML mail.")
    mode: str = _setting(
        Mode.INDIVIDUAL.value,
        one_of(*Mode),
        "How opens and clicks are kept: for each recipient, for all together, or only the day each was last seen.",
    )
    unsubscribe: bool = _setting(
        True, boolean, "Add headers and footer to messages that name a list; opt-outs hold in any case."
    )
    unsubscribe_mailto: str = _setting(
        "", mailbox, "A mailbox that people read, for clients that unsubscribe by mail: the subject carries the token."
    )
    sender_domains: dict[str, dict[str, Any]] = _setting(
        {}, sender_domains, "Options by domain of the sender: opens, clicks, unsubscribe, mode, base_url."
    )
    lists: dict[str, dict[str, str]] = _setting({}, mailing_lists, "Titles and descriptions of lists, for the pages.")
    tags: tuple[str, ...] = _setting(
        (), tag_list, "Tags that mail may carry; another tag raises UnknownTag. Empty, and no tag declared: any tag."
    )
    footer: bool = _setting(True, boolean, "Append an unsubscribe footer to list messages that have no such link.")
    language: str = _setting(
        "",
        one_of("", *LANGUAGES),
        "Language of the footer of a mail that names none by Content-Language or <html lang>. Default: that of "
        "Flask-Babel, else English.",
    )
    foreign_placeholders: bool = _setting(True, boolean, "Fill in the unsubscribe placeholders of other services.")
    text_clicks: bool = _setting(False, boolean, "Track links in the plain-text part too.")
    pixel: str = _setting(
        "bottom", one_of("bottom", "top", "both"), "Place of the pixel, unless a template calls tracking_pixel()."
    )
    utm: dict[str, str] = _setting(
        {}, utm_parameters, "utm_… parameters for tracked links that lack them: {'source': 'mail'}."
    )
    skip_links: str | None = _setting(
        None,
        pattern,
        "Regular expression of URLs to leave alone. It replaces the rule for links that work once; empty: no URL.",
    )
    scam_guard: bool = _setting(
        True, boolean, "Leave a link alone if its visible text begins with http(s):// and names another site."
    )
    encoding: str = _setting(
        "", one_of("", QUOTED_PRINTABLE), "Encoding of text parts: quoted-printable; empty: as Flask-Mail does."
    )
    downstream: str = _setting(
        "",
        one_of("", *CARRIERS),
        "The service that relays the mail. The mail tells the service not to wrap our links again.",
    )
    suppress_complaints: bool = _setting(True, boolean, "Send no list mail any more to whoever has called a mail spam.")
    suppress_bounces: bool = _setting(True, boolean, "Likewise to an address whose mail has come back for good.")
    services: dict[str, Service] = _setting(
        {},
        services,
        "Services that tell what became of a mail: {'postmark': {'secret': '…'}}. They call /m/in/<service>/<secret>.",
    )
    foreign_headers: bool = _setting(False, boolean, "Obey, and remove, the tracking headers of other services.")
    apple_app_site_association: dict[str, Any] = _setting(
        {}, json_object, "File that tracking hosts serve at /.well-known/, for links with data-mailtrack-app."
    )
    assetlinks: list[Any] = _setting((), json_list, "The same for Android: a list of statements.")
    cname_target: str = _setting(
        "", host, "Host name to which tracking domains point by CNAME. Default: the host of MAILTRACK_BASE_URL."
    )
    dns_servers: tuple[str, ...] = _setting(
        (), servers, "Name servers to ask about tracking domains: ['127.0.0.1:5300']. Default: those of the system."
    )
    allow_private_hosts: bool = _setting(False, boolean, "Check tracking domains with private addresses, too.")
    ask_secret: str = _setting(
        "",
        text,
        "Secret for a web server elsewhere that asks /m/d/ask?secret=…. Empty: only this machine may ask.",
    )
    blocked: tuple[str, ...] = _setting(
        (), blocked_list, "Blocked destinations (410): hosts with their sub-domains, URLs, ids of messages."
    )
    track_when_unknown: bool = _setting(
        True, boolean, "Measure people if Mailtrack(consent=...) knows nothing of them. Without consent=: everybody."
    )
    honour_gpc: bool = _setting(False, boolean, "Keep no hit that comes with Sec-GPC: 1 or DNT: 1.")
    keep_days: dict[str, float] = _setting(
        {}, keeping, "Days after which rows are deleted: {'events': 365, 'messages': 730}. Default: never."
    )
    keep_bodies: bool = _setting(
        False, boolean, "Keep the HTML of campaigns, once per distinct body, for click maps and view_online_url()."
    )
    split: bool = _setting(True, boolean, "One copy per recipient; off: events of several people are marked shared.")
    ip: str = _setting(
        "truncate",
        one_of("truncate", "full", "hash", "none"),
        "The part of an IP address that is kept: /24 and /48 by default.",
    )
    user_agent: str = _setting("full", one_of("full", "family", "none"), "The part of a User-Agent that is kept.")
    spool_dir: str = _setting(
        "",
        directory,
        "Directory of the journal, with a folder for each app. Default: mailtrack-… in the instance folder.",
    )
    spool_fallback_dir: str = _setting(
        "",
        directory,
        "Directory for records that the first cannot take. Default: mailtrack-… in the system's temporary folder.",
    )
    spool_sync: str = _setting(
        "group", one_of("each", "group", "off"), "fdatasync before each answer, every 50 ms, or never."
    )
    drain: str = _setting(
        "thread",
        one_of("thread", "inline", "manual"),
        "How the journal gets to the database: by a thread, by each hit and send (default under TESTING), or by you.",
    )
    drain_seconds: float = _setting(2, number(0.05, 3600), "Seconds between two runs of the drain thread.")
    thresholds: dict[str, float] = _setting(
        {},
        thresholds,
        "Thresholds of the verdicts: {'instant': 3, 'open_window': 60, 'click_window': 30, 'probable': 600, "
        "'burst': 5, 'sweep': 10, 'honeypot': 10, 'shadow': 60} seconds, {'min_chrome': 100}; 0: off. "
        "burst, sweep and shadow are 0 under TESTING.",
    )
    verdicts: bool = _setting(
        True, boolean, "Tell machines from people; off: each hit with a User-Agent is a person's."
    )
    honeypot: bool = _setting(
        False, boolean, "Put a link that no person sees into tracked HTML mail, to recognise machines."
    )
    own_networks: tuple[str, ...] = _setting(
        (), network_list, "The sender's own networks, such as '203.0.113.0/24': hits from there count for nobody."
    )
    networks: str = _setting("", directory, "File with networks of machines, in place of the one in the package.")
    ua_parser: bool = _setting(
        False, with_extra(boolean, "ua_parser_rs", "ua"), "Tell more mail clients and systems apart, by ua-parser."
    )
    geo_database: str = _setting(
        "", with_extra(directory, "maxminddb", "geo"), "A country or city database in MaxMind's format (.mmdb)."
    )
    geo_detail: str = _setting(
        "country", one_of("country", "region", "city"), "What is kept of a place; region and city need a city database."
    )
    sink: str = _setting(
        "", sink, "Redis through which the rows of many machines go: redis://, rediss:// or unix://. Empty: none."
    )
    sink_max: int = _setting(
        1_000_000, integer(1, 1_000_000_000), "Most entries in Redis; further rows wait in the journal."
    )
    sink_volatile: bool = _setting(
        False, boolean, "Accept a Redis without an append-only file, or one that evicts keys."
    )
    timezone: str = _setting(
        "UTC",
        time_zone,
        "Name of the time zone in which reports begin days, weeks and months, unless a call names one.",
    )
    relay_listen: admission.Listen = _setting(
        admission.Listen("127.0.0.1:2525"),
        admission.listen,
        "Address and port at which flask mailtrack relay takes mail of other programs: '127.0.0.1:2525'.",
    )
    relay_users: dict[str, str] = _setting(
        {},
        admission.users,
        "Who may send through the relay: names, and the SHA-256 of their passwords. Empty: whoever reaches it.",
    )
    relay_certificate: str = _setting(
        "", directory, "PEM file with the certificate of the relay, which then begins each connection with TLS."
    )
    relay_private_key: str = _setting(
        "", directory, "PEM file with the private key of that certificate. Empty: it is in the same file."
    )
    relay_without_tls: bool = _setting(
        False,
        boolean,
        "Let the relay take passwords of other machines without TLS, where nobody else is on the network.",
    )
    relay_max_bytes: int = _setting(
        32_000_000, integer(10_000, 1_000_000_000), "Octets of the largest mail that the relay takes."
    )
    reports_bind: str = _setting(
        "", text, "Entry of SQLALCHEMY_BINDS that reports read, such as a replica. Empty: where the tables are."
    )

    webhooks: dict[str, Endpoint] = _setting(
        {},
        with_extra(webhooks, "standardwebhooks", "webhooks"),
        "Who is told of events, by URL: {'https://example.com/hook': {'secret': 'whsec_…', 'events': "
        "['message.clicked']}}. Without events: of all.",
    )
    max_seconds: float = _setting(2, number(0.05, 60), "Bodies that take longer to prepare go out untracked.")

    @property
    def https(self) -> bool:
        """Whether links are https. RFC 8058 allows one-click for https links only."""
        return self.base_url.startswith("https://")

    @property
    def limits(self) -> Thresholds:
        """The thresholds between machines and people."""
        return Thresholds(**self.thresholds)

    @property
    def app_files(self) -> dict[str, bytes]:
        """The files that a phone asks tracking hosts for, by path; empty if links open no app."""
        files = {
            # Apple wants the file under a name without an ending, as JSON, and without a redirect.
            "/.well-known/apple-app-site-association": self.apple_app_site_association,
            "/.well-known/assetlinks.json": self.assetlinks,
        }
        return {path: json.dumps(content).encode() for path, content in files.items() if content}

    @property
    def suppress_after(self) -> frozenset[str]:
        """The types of events after which somebody is suppressed."""
        asked = {EventType.COMPLAINED: self.suppress_complaints, EventType.BOUNCED: self.suppress_bounces}
        return frozenset(kind.value for kind, on in asked.items() if on)

    def base_urls(self) -> list[str]:
        """Return all base URLs that links may have, the default first."""
        return [self.base_url, *(o["base_url"] for o in self.sender_domains.values() if "base_url" in o)]

    def __repr__(self) -> str:  # never shows a key, not even on an error page
        return f"<Settings base_url={self.base_url!r}>"


def keys() -> list[tuple[str, Any, str]]:
    """Return name, default and meaning of each key, for ``flask mailtrack check`` and the README."""
    return [(PREFIX + f.name.upper(), f.metadata["default"], f.metadata["doc"]) for f in dataclasses.fields(Settings)]


def load(config: Mapping[str, Any], *, instance_path: str, testing: bool, debug: bool = False) -> Settings:
    """Read and check all keys.

    :param config: the app's config.
    :param instance_path: the directory of the journal, unless ``MAILTRACK_SPOOL_DIR`` is set.
    :param testing: drain inline, count instant hits for people by default, and accept short secrets.
    :param debug: only warn of a short ``SECRET_KEY``, because an app that is being written need not stop for it.
    :raises ConfigError: with the key, the cure, and the value unless the value may be a secret.
    """
    given = {k.removeprefix(PREFIX): v for k, v in config.items() if k.startswith(PREFIX)}
    known = {f.name.upper(): f for f in dataclasses.fields(Settings)}
    _refuse_unknown({name: value for name, value in given.items() if name not in known}, list(known))
    values = {f.name: f.metadata["check"](PREFIX + n, given[n]) for n, f in known.items() if n in given}
    off = not values.get("enabled", True)
    if off:  # an app that is switched off needs no address and no secret
        config = {"SECRET_KEY": secrets.token_hex()} | {name: value for name, value in config.items() if value}
        values["sink"] = ""
    values.setdefault("base_url", NOWHERE if off else "")
    values["base_url"] = base_url(PREFIX + "BASE_URL", values["base_url"])
    values["secret_keys"] = _key_list(values.get("secret_keys", ()), config, testing or off, debug)
    values["spool_dir"] = values.get("spool_dir") or os.path.join(instance_path, "mailtrack")
    if testing:
        values.setdefault("drain", "inline")
        # A test clicks all links of a mail at once, from one address, and still stands for a person.
        values["thresholds"] = {"instant": 0, "burst": 0, "sweep": 0, "shadow": 0} | values.get("thresholds", {})
    settings = Settings(**values)
    relay = settings.relay_certificate, settings.relay_without_tls
    admission.check(settings.relay_listen, settings.relay_users, *relay)
    return settings


def _refuse_unknown(unknown: Mapping[str, Any], known: list[str]) -> None:
    for name, value in unknown.items():
        if not is_service_link(name, value):
            close = difflib.get_close_matches(name.upper(), known, 1)
            cure = f"Did you mean {PREFIX}{close[0]}?" if close else "Remove it."
            raise bad("E100", PREFIX + name, "is not a key.", cure)
    if unknown:
        log.warning(
            "ignored, because they look like service links that Kubernetes or Docker puts into the environment: "
            "%s. Give the service another name, or write enableServiceLinks: false.",
            ", ".join(PREFIX + name for name in unknown),
        )


def _key_list(
    own: tuple[str | bytes, ...], config: Mapping[str, Any], testing: bool, debug: bool
) -> tuple[str | bytes, ...]:
    name = "MAILTRACK_SECRET_KEYS" if own else "SECRET_KEY"
    cure = "Set it to the output of: python -c 'import secrets; print(secrets.token_hex())'"
    keys = own
    if not own:
        if not (newest := config.get("SECRET_KEY")):
            raise bad("E111", name, "is missing, so no link can be signed.", cure)
        if not is_secret(newest):
            raise bad("E110", name, "is not a string.", cure)
        older = config.get("SECRET_KEY_FALLBACKS") or []
        # A string would be read as a list of keys of one letter each, which anybody can guess.
        used = [k for k in older if k] if isinstance(older, list | tuple) else older
        keys = (newest, *secret_list("SECRET_KEY_FALLBACKS", used))
    if not testing and size_of(keys[0]) < MIN_SECRET_BYTES:
        if not own:
            cure += " - or, if the key must stay, put it into a list: MAILTRACK_SECRET_KEYS = [...]."
        error = bad("E112", name, f"has fewer than {MIN_SECRET_BYTES} bytes, so links can be forged.", cure)
        if own or not debug:
            raise error
        log.warning("%s Without debug, the app does not start.", error)
    return keys
