"""Which messages are summed together: the cohorts, and the large providers whose domains are told apart.

A sum outlives the rows that it sums, so it must name nobody. A subject may name its reader, and stands in a cohort
as a keyed hash. The domain of an address may be its owner's name, and is told apart where millions share it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from flask_mailtrack.events import SentMessage
from flask_mailtrack.lists import folded
from flask_mailtrack.modes import Mode
from flask_mailtrack.tokens import Signer

from .database import Database

SCOPES = ("mail", "list", "domain", "all")
MOST_SUBJECTS = 1_000
"""Subjects that are told apart for one tag, list and sender domain; a subject of each person's own is soon not."""
_REMEMBERED = 500
_REFS = 2_000
"""Subjects and links whose hashes are remembered; a hash takes longer than all else that is done with a click."""
_LONGEST = 253

# The mailbox providers with the most users, by their own numbers and national statistics of 2025 and 2026.
_LARGE = """
    gmail.com googlemail.com outlook.com hotmail.com live.com msn.com hotmail.co.uk hotmail.fr hotmail.de
    hotmail.it hotmail.es outlook.fr outlook.de outlook.es live.fr live.nl live.co.uk yahoo.com ymail.com
    rocketmail.com yahoo.co.uk yahoo.fr yahoo.de yahoo.it yahoo.es yahoo.co.in yahoo.co.jp yahoo.com.br aol.com
    aol.de icloud.com me.com mac.com proton.me protonmail.com pm.me zoho.com fastmail.com hey.com tutanota.com
    gmx.de gmx.net gmx.at gmx.ch gmx.com web.de t-online.de freenet.de arcor.de mail.de posteo.de mailbox.org
    orange.fr wanadoo.fr free.fr sfr.fr laposte.net bbox.fr libero.it virgilio.it alice.it tiscali.it tim.it
    telefonica.net terra.es ziggo.nl kpnmail.nl planet.nl hetnet.nl xs4all.nl telenet.be skynet.be proximus.be
    bluewin.ch btinternet.com sky.com virginmedia.com talktalk.net ntlworld.com wp.pl o2.pl onet.pl interia.pl
    seznam.cz centrum.cz email.cz mail.ru bk.ru list.ru inbox.ru yandex.ru ya.ru rambler.ru ukr.net i.ua abv.bg
    freemail.hu citromail.hu telia.com comcast.net verizon.net att.net sbcglobal.net bellsouth.net cox.net
    charter.net earthlink.net shaw.ca rogers.com sympatico.ca bigpond.com optusnet.com.au xtra.co.nz uol.com.br
    bol.com.br terra.com.br ig.com.br qq.com foxmail.com 163.com 126.com yeah.net sina.com sina.cn sohu.com
    139.com 189.cn 21cn.com aliyun.com naver.com daum.net hanmail.net kakao.com nate.com docomo.ne.jp
    ezweb.ne.jp softbank.ne.jp rediffmail.com
"""
PROVIDERS = frozenset(_LARGE.split())


class CohortKey(NamedTuple):
    """What the messages of a cohort have in common; empty: not told apart."""

    scope: str
    tag: str = ""
    list_id: str = ""
    sender_domain: str = ""
    subject_ref: str = ""
    mode: str = Mode.INDIVIDUAL.value

    @property
    def id(self) -> uuid.UUID:
        """The key of its row: the same on every machine."""
        return _id_of(self)

    def wider(self) -> tuple[CohortKey, ...]:
        """Return the cohorts of the other scopes to which its messages belong, too, in the order of :data:`SCOPES`."""
        return (
            CohortKey("list", list_id=self.list_id, mode=self.mode),
            CohortKey("domain", sender_domain=self.sender_domain, mode=self.mode),
            CohortKey("all", mode=self.mode),
        )


@lru_cache(4096)  # each mail of a campaign asks for the same ones
def _id_of(key: CohortKey) -> uuid.UUID:
    digest = blake2b("\0".join(key).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return uuid.UUID(bytes=digest, version=5)  # made of a name; MariaDB takes no UUID without a version


def domain_of(address: str) -> str:
    """Return the domain of an address, in lower case, and no longer than its column: the DNS has no longer one."""
    return address.rpartition("@")[2].lower()[:_LONGEST]


def provider_domain(recipient: str) -> str:
    """Return the domain of an address if it is a large provider's; of any other, which may be a name, nothing."""
    domain = domain_of(recipient)
    return domain if domain in PROVIDERS else ""


class Cohorts:
    """Finds the cohort of each message, and enters those that are new; one for all batches of a process.

    :param signer: makes keyed hashes of subjects and links; ``None``: these are not told apart.
    """

    def __init__(self, database: Database, signer: Signer | None = None) -> None:
        self._database = database
        self._subjects: dict[tuple[str, str, str], set[str]] = {}
        self._signer = signer
        self._subject_ref = lru_cache(_REFS)(lambda subject: signer.subject_refs(subject)[0] if signer else "")
        self.link_ref: Callable[[str, str, str], str] = lru_cache(_REFS)(
            lambda url, name, part: signer.link_refs(url, name, part)[0] if signer else ""
        )
        """Returns the reference under which a link is summed, from its URL, name and part."""

    def of(self, connection: Connection, messages: Iterable[SentMessage]) -> dict[uuid.UUID, CohortKey]:
        """Return the cohorts of scope ``mail``, by the id of the message."""
        found: dict[uuid.UUID, CohortKey] = {}
        for message in messages:
            about = (message.tag, folded(message.list_id), domain_of(message.sender))
            subject = self._told_apart(connection, about, message.subject)
            found[message.id] = CohortKey("mail", *about, subject, str(message.mode))
        return found

    def enter(self, connection: Connection, cohorts: Iterable[CohortKey]) -> None:
        """Insert the rows that may not be there yet.

        Those that were there a moment ago are inserted again: the tables may be new, or older ones restored.
        """
        wanted = {each.id: each for cohort in set(cohorts) for each in (cohort, *cohort.wider())}
        self._database.add(connection, self._database.cohort, [{"id": key} | wanted[key]._asdict() for key in wanted])

    def restore(self, connection: Connection, lost: Iterable[Any]) -> None:
        """Insert the rows that messages name, and that are gone.

        A subject that is erased, or hashed under a key that is gone, is not told apart any more.

        :param lost: the id of each, with tag, list, sender, subject and mode of a message.
        """
        rows: dict[uuid.UUID, CohortKey] = {}
        for key, tag, list_id, sender, subject, mode in lost:
            refs = ["", *(self._signer.subject_refs(subject) if self._signer else ())]
            about = (tag, folded(list_id), domain_of(sender))
            able = [CohortKey("mail", *about, ref, mode or Mode.INDIVIDUAL.value) for ref in refs]
            # Its sums stand under the id that it had, whatever its subject was.
            rows[key] = next((each for each in able if each.id == key), able[0])
            rows |= {each.id: each for each in rows[key].wider()}
        table = self._database.cohort
        self._database.add(connection, table, [{"id": key} | each._asdict() for key, each in rows.items()])

    def _told_apart(self, connection: Connection, about: tuple[str, str, str], subject: str) -> str:
        known = self._subjects.get(about)
        if known is None:
            if len(self._subjects) >= _REMEMBERED:
                self._subjects = {}
            known = self._subjects[about] = self._read(connection, about)
        ref = self._subject_ref(subject)
        if ref in known:
            return ref
        if len(known) >= MOST_SUBJECTS:
            return ""
        known.add(ref)
        return ref

    def _read(self, connection: Connection, about: tuple[str, str, str]) -> set[str]:
        table = self._database.cohort
        mine: Mapping[str, Any] = dict(zip(("tag", "list_id", "sender_domain"), about, strict=True))
        query = select(table.c.subject_ref).where(table.c.scope == "mail", *(table.c[k] == v for k, v in mine.items()))
        return set(connection.execute(query.limit(MOST_SUBJECTS)).scalars())
