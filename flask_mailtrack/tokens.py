"""Signs and reads the links that go out: opens, clicks, unsubscribes, preferences.

A token is 68 lower-case base32 characters. So it survives a change of case, and needs no escaping anywhere:

.. code-block:: text

    28  head: version (4 bits), key id (8 bits), message id (128 bits)
     4  link: position of the link in the message
    16  ref:  keyed hash of what the token is about: a link, or a recipient
    20  tag:  keyed BLAKE2b (RFC 7693) over the three above, 100 bits

Head, link and ref begin at whole characters, so a message encodes its head once, a body encodes its
links once, and only the tag is computed for each link of each copy. Kind and app are not in the
text: they choose the key, so that a token of one kind is noise to the reader of another.

A click carries its destination in a second segment, under a tag of its own that is bound to link
and ref. If that segment is damaged, the id still says which link it was.

Tokens never expire. ``tests/golden/`` holds tokens of every released version; they verify for ever.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from hmac import compare_digest, digest
from typing import NamedTuple

from .errors import TokenError
from .events import Kind

VERSION = 1
LENGTH = 68
MAX_LINKS = 1 << 20

_HEAD, _LINK, _REF, _TAG = 28, 4, 16, 20
_DESTINATION_TAG = 12
_LABEL = 26
_LONGEST_PATH = 4_096
_NO_REF = "a" * _REF
# Each byte of a digest gives one character, by its low five bits: uniform, and without spare bits.
_BASE32 = b"abcdefghijklmnopqrstuvwxyz234567" * 8
# What int() takes for the digits of base 32, which is faster than decoding to bytes.
_DIGITS = bytes.maketrans(_BASE32[:32], b"0123456789abcdefghijklmnopqrstuv")
_TOKEN = re.compile(rf"[a-zA-Z2-7]{{{LENGTH}}}")
_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SEGMENT = re.compile(r"/+([A-Za-z0-9_-]+)")
_TAKEN_OFF = ("-", "_", "--", "-_", "_-", "__")
# Quoted-printable soft breaks that a gateway left in the link.
_SOFT_BREAK = re.compile(r"=?[\r\n]+[ \t]*|=(?=[a-zA-Z0-9_/-])")


@dataclass(frozen=True, slots=True)
class Token:
    """The content of a valid token."""

    kind: Kind
    message_id: uuid.UUID
    link: int
    ref: str
    key: int
    """The number of the key that signed the token: 0 is the newest."""
    list_id: str = ""
    """The list of a link without a mail; empty: everything, or the list of the mail."""

    @property
    def quiet(self) -> bool:
        """Whether a personal link went out in a mode that keeps no addresses. The id may not name that mode."""
        return self.kind in (Kind.UNSUBSCRIBE, Kind.PREFERENCES) and bool(self.link & _QUIET)

    @property
    def narrow(self) -> bool:
        """Whether the token is about the list of its message only, as behind an unsubscribe page."""
        return self.kind == Kind.PREFERENCES and bool(self.link & _NARROW)


class LinkStamp(NamedTuple):
    """The part of a click link that is the same for every recipient of a body."""

    ref: str
    middle: bytes
    text: str
    """The middle part of the token."""
    tail: str
    """The text behind the tag: a slash and the destination."""
    app: bool = False
    """Whether an app may open the link. The phone knows that by the path."""


class MessageTokens:
    """Makes the tokens of one copy; get it from :meth:`Signer.message`."""

    __slots__ = ("_head", "_keys")

    def __init__(self, head: bytes, keys: dict[Kind, bytes]) -> None:
        self._head = head
        self._keys = keys

    def sign(self, kind: Kind, middle: bytes) -> str:
        """Return the token of *kind* for *middle*, the 20 characters of link and ref."""
        body = self._head + middle
        tag = blake2b(body, key=self._keys[kind], digest_size=_TAG).digest().translate(_BASE32)
        return (body + tag).decode("ascii")

    def click(self, stamp: LinkStamp) -> str:
        """Return ``<token>/<destination>`` for a link stamped by :meth:`Signer.stamp`."""
        return self.clicks("", [stamp])[0]

    def clicks(self, prefix: str, stamps: Iterable[LinkStamp], app_prefix: str = "") -> list[str]:
        """Return *prefix* and :meth:`click` for each of *stamps*. Shared parts are computed once.

        :param app_prefix: the prefix for links that an app may open.
        """
        begun = blake2b(self._head, key=self._keys[Kind.CLICK], digest_size=_TAG)
        head = self._head.decode("ascii")
        starts = {False: prefix + head, True: app_prefix + head}
        urls = []
        for stamp in stamps:
            mac = begun.copy()
            mac.update(stamp.middle)
            urls.append(starts[stamp.app] + stamp.text + mac.digest().translate(_BASE32).decode() + stamp.tail)
        return urls

    def open(self) -> str:
        """Return the token of the pixel."""
        return self.sign(Kind.OPEN, _OPEN)

    def honeypot(self) -> str:
        """Return the token of the hidden link, which no person sees."""
        return self.sign(Kind.HONEYPOT, _OPEN)

    def online(self) -> str:
        """Return the token by which the reader sees the mail in a browser."""
        return self.sign(Kind.ONLINE, _OPEN)

    def recipient(self, kind: Kind, ref: str, quiet: bool = False, *, narrow: bool = False) -> str:
        """Return the token by which a person unsubscribes or sets preferences.

        :param ref: :meth:`Signer.recipient_refs` of the recipient, so that the opt-out can be kept
            even when the message row is gone.
        :param quiet: see :attr:`Token.quiet`.
        :param narrow: see :attr:`Token.narrow`.
        """
        return self.sign(kind, _middle(_QUIET * quiet | _NARROW * narrow, ref))


class Signer:
    """Signs with the newest key, and reads tokens of all keys.

    :param secrets: newest first, at least one.
    :param app_id: tells apps apart that share a secret (``MAILTRACK_APP_ID``). It must never change while links are
        out.
    :raises ValueError: there is no secret, or an empty one, with which anybody could sign.
    """

    def __init__(self, secrets: Sequence[str | bytes], app_id: str = "") -> None:
        raw = [s.encode() if isinstance(s, str) else s for s in secrets]
        if not raw or not all(raw):
            raise ValueError("secrets has none, or an empty one: give at least one, newest first.")
        self._rings = [_KeyRing(secret, app_id) for secret in raw]
        # Even if each recipient has a body of their own, most links are the same.
        self._remembered = functools.lru_cache(1_024)(self._stamp)

    def message(self, message_id: uuid.UUID) -> MessageTokens:
        """Return the maker of the tokens of one copy."""
        ring = self._rings[0]
        head = VERSION << 136 | ring.id << 128 | message_id.int
        return MessageTokens(_base32(head << 20, 20)[:_HEAD], ring.kinds)

    def stamp(self, position: int, url: str, name: str = "", part: str = "html", app: bool = False) -> LinkStamp:
        """Prepare a link for any number of recipients.

        :param position: the position of the link in the message, 0 to :data:`MAX_LINKS` - 1.
        :param url: the destination, a URL that :func:`.destination.refusal` lets pass.
        :param name: the author's name of the link.
        :param part: ``html`` or ``text``.
        :param app: whether an app may open it.
        :raises ValueError: there is no such position.
        """
        if not 0 <= position < MAX_LINKS:
            raise ValueError(f"position is {position}: a link's is from 0 to {MAX_LINKS - 1}.")
        return self._remembered(position, url, name, part, app)

    def _stamp(self, position: int, url: str, name: str, part: str, app: bool) -> LinkStamp:
        ring = self._rings[0]
        ref = ring.ref("link", url, name, part)
        middle = _middle(position, ref)
        raw = url.encode()
        tail = "/" + base64.urlsafe_b64encode(ring.destination(middle, raw) + raw).decode().rstrip("=")
        return LinkStamp(ref, middle, middle.decode("ascii"), tail, app)

    def recipient_refs(self, address: str) -> list[str]:
        """Return the reference of a normalised address under each key, newest first."""
        return [ring.ref("recipient", address) for ring in self._rings]

    def labels(self, word: str) -> list[str]:
        """Return 26 base32 characters for *word* under each key, newest first. Nobody else can make them."""
        return [ring.label(word) for ring in self._rings]

    def without_mail(self, kind: Kind, address: str, list_id: str = "") -> str:
        """Return the path of a link for a person to whom no mail was sent.

        There is no message. Its id is a keyed hash of person and list, so that the id vouches for the list.

        :param address: normalised.
        :param list_id: empty: everything.
        """
        ring = self._rings[0]
        ref = ring.ref("recipient", address)
        return self.message(ring.nobody(ref, list_id)).recipient(kind, ref) + self.list_segment(list_id)

    @staticmethod
    def list_segment(list_id: str) -> str:
        """Return the text behind a token about a list without a mail."""
        return "/" + base64.urlsafe_b64encode(list_id.encode()).decode().rstrip("=") if list_id else ""

    def host_proof(self, host: str, nonce: str) -> str | None:
        """Return the answer that only an app with the newest key can give to a question under *host*.

        The key has no other use, so the answer is no token and opens nothing.

        :param host: the name in the request, without a port.
        :param nonce: 32 hexadecimal digits. Other text gets no answer, so that nobody can have a text signed.
        :return: 52 characters of lower-case base32.
        """
        return self._rings[0].proof(host.lower(), nonce) if _NONCE.fullmatch(nonce) else None

    def link_refs(self, url: str, name: str, part: str) -> list[str]:
        """Return the reference of a link under each key, newest first."""
        return [ring.ref("link", url, name, part) for ring in self._rings]

    def subject_refs(self, subject: str) -> list[str]:
        """Return the reference of a subject under each key, newest first: it may name somebody, and is summed by."""
        return [ring.ref("subject", subject) for ring in self._rings]

    def claim_refs(self, *parts: str) -> list[str]:
        """Return the reference of a send key, or of one and a normalised address, under each key, newest first."""
        return [ring.ref("claim", *parts) for ring in self._rings]

    def marks(self) -> tuple[str, ...]:
        """Return a mark of each key, newest first. Nobody can sign by a mark."""
        return tuple(ring.ref("mark") for ring in self._rings)

    def read(self, kind: Kind, path: str) -> Token:
        """Return the content of the token at the beginning of *path*.

        A damaged link is read as far as possible: the first 68 legal characters, in any case, whatever follows them,
        and across a soft line break.

        :param path: the path behind the route's prefix, percent-decoded once.
        :raises TokenError: none of the keys has signed such a token of this kind.
        """
        token, rest = self._find(kind, path)
        return replace(token, list_id=self._list_of(token, rest)) if rest and token.message_id.version == 5 else token

    def read_click(self, path: str) -> tuple[Token, str | None]:
        """Return the token and its destination; ``None`` if only that segment is damaged or missing.

        :raises TokenError: as :meth:`read`.
        """
        token, rest = self._find(Kind.CLICK, path)
        for text in _spellings(rest):
            segment = _SEGMENT.match(text)
            if segment and (url := self._destination(token, segment[1])) is not None:
                return token, url
        return token, None

    def _find(self, kind: Kind, path: str) -> tuple[Token, str]:
        if len(path) > _LONGEST_PATH:
            raise TokenError("long")
        reason = "short"
        for text in _spellings(path):
            if match := _TOKEN.search(text):
                try:
                    return self._verify(kind, match[0].lower()), text[match.end() :]
                except TokenError as error:
                    reason = error.reason
        raise TokenError(reason)

    def _verify(self, kind: Kind, text: str) -> Token:
        body, tag = text[:-_TAG].encode("ascii"), text[-_TAG:].encode("ascii")
        head = int(body[:_HEAD].translate(_DIGITS), 32)
        if head >> 136 != VERSION:
            raise TokenError("version")
        reason = "key"
        for index, ring in enumerate(self._rings):
            if ring.id == head >> 128 & 0xFF:
                reason = "signature"
                good = blake2b(body, key=ring.kinds[kind], digest_size=_TAG).digest().translate(_BASE32)
                if compare_digest(good, tag):
                    link = int(body[_HEAD : _HEAD + _LINK].translate(_DIGITS), 32)
                    message_id = uuid.UUID(int=head & (1 << 128) - 1)
                    return Token(kind, message_id, link, text[_HEAD + _LINK : -_TAG], index)
        raise TokenError(reason)

    def _list_of(self, token: Token, rest: str) -> str:
        """Return the list of a token without a mail; empty, which means everything, if it is damaged."""
        segment = _SEGMENT.match(rest)
        for text in _unglued(segment[1]) if segment else ():
            try:
                list_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:  # binascii.Error and UnicodeDecodeError are subclasses
                continue
            # A newer key may have signed a list that an older key made.
            if any(ring.nobody(token.ref, list_id) == token.message_id for ring in self._rings):
                return list_id
        return ""

    def _destination(self, token: Token, segment: str) -> str | None:
        ring = self._rings[token.key]
        middle = _middle(token.link, token.ref)
        for text in _unglued(segment):
            try:
                raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                continue
            tag, url = raw[:_DESTINATION_TAG], raw[_DESTINATION_TAG:]
            if compare_digest(ring.destination(middle, url), tag):
                return url.decode()
        return None


class _KeyRing:
    """The keys derived from one secret, one for each purpose."""

    def __init__(self, secret: bytes, app_id: str) -> None:
        def derive(purpose: str) -> bytes:
            return digest(secret, f"flask-mailtrack/{VERSION}/{purpose}/{app_id}".encode(), "sha256")

        self._derive = derive
        self.id = derive("id")[0]
        self.kinds = {kind: derive(kind) for kind in Kind}
        # The hashes are begun once with their keys, and copied for each link. A copy takes half the time of a new one.
        self._destination = blake2b(key=derive("destination"), digest_size=_DESTINATION_TAG)
        self._ref = blake2b(key=derive("ref"), digest_size=_REF)
        self._proof = derive("proof")

    def proof(self, *parts: str) -> str:
        mac = digest(self._proof, "\0".join(parts).encode("utf-8", "surrogatepass"), "sha256")
        return base64.b32encode(mac).decode("ascii").rstrip("=").lower()

    def ref(self, *parts: str) -> str:
        mac = self._ref.copy()
        mac.update("\0".join(parts).encode("utf-8", "surrogatepass"))
        return mac.digest().translate(_BASE32).decode("ascii")

    def nobody(self, ref: str, list_id: str) -> uuid.UUID:
        """Return the id of the message for a link without a mail. Its version is 5, which no real message has."""
        mac = blake2b(f"{ref}{list_id}".encode(), key=self._derive("list"), digest_size=16)
        return uuid.UUID(bytes=mac.digest(), version=5)

    def label(self, word: str) -> str:
        return self._derive(f"label/{word}")[:_LABEL].translate(_BASE32).decode("ascii")

    def destination(self, middle: bytes, url: bytes) -> bytes:
        """Return the tag that binds a destination to link and ref."""
        mac = self._destination.copy()
        mac.update(middle + url)
        return mac.digest()


def _middle(link: int, ref: str) -> bytes:
    return _position(link) + ref.encode("ascii")


@functools.lru_cache(4_096)
def _position(link: int) -> bytes:
    return _base32(link << 20, 5)[:_LINK]


def _base32(value: int, size: int) -> bytes:
    return base64.b32encode(value.to_bytes(size, "big")).lower()


def _spellings(path: str) -> Iterator[str]:
    yield path
    if "=" in path or "\n" in path or "\r" in path:
        yield _SOFT_BREAK.sub("", path)


def _unglued(segment: str) -> Iterator[str]:
    """Yield *segment*, and then without legal characters that Markdown and chat clients glue to the end of a link.

    The last form has the punctuation that clients cut off when they make links of plain text.
    """
    yield segment
    yield from {segment.rstrip("_-"), segment[:-1]} - {segment}
    yield from (segment + end for end in _TAKEN_OFF)


_OPEN = _middle(0, _NO_REF)
_QUIET, _NARROW = 1, 2
"""The value in a personal link, in the place in which a click has the position of its link."""
