"""Links are signed, read as mail gateways damage them, and never accepted from anybody else."""

from __future__ import annotations

import base64
import random
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import some

from flask_mailtrack import tokens
from flask_mailtrack.errors import TokenError
from flask_mailtrack.events import Kind
from flask_mailtrack.tokens import LENGTH, MAX_LINKS, Signer, Token

SIGNER = Signer(["a secret that is long enough for anybody"], "shop")
ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
URL = "https://example.com/?a=1&b=2#c"
STAMP = SIGNER.stamp(3, URL, "hero")
CLICK = SIGNER.message(ID).click(STAMP)
TOKEN, DESTINATION = CLICK.split("/")
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

ids = st.uuids(allow_nil=True)
urls = st.text(st.characters(codec="utf-8"), max_size=300).map("https://example.com/".__add__)


def payload(token: Token) -> tuple[object, ...]:
    """What a forger would want to change."""
    return token.kind, token.message_id, token.link, token.ref


def why(kind: Kind, path: str, signer: Signer = SIGNER) -> str:
    """The word with which *path* is refused, or ``""``."""
    try:
        signer.read(kind, path)
    except TokenError as error:
        return error.reason
    return ""


@given(kind=st.sampled_from(Kind), identifier=ids, address=st.text())
def test_what_is_signed_can_be_read(kind: Kind, identifier: uuid.UUID, address: str) -> None:
    """A token of any kind says again what it was made of."""
    ref = SIGNER.recipient_refs(address)[0]
    text = SIGNER.message(identifier).recipient(kind, ref)
    assert SIGNER.read(kind, text) == Token(kind, identifier, 0, ref, 0)
    assert re.fullmatch(f"[a-z2-7]{{{LENGTH}}}", text)


@given(identifier=ids, position=st.integers(0, MAX_LINKS - 1), url=urls, name=st.text(), part=st.text())
def test_a_click_leads_where_it_was_sent(identifier: uuid.UUID, position: int, url: str, name: str, part: str) -> None:
    """A tracked link carries its message, its position and the exact destination."""
    stamp = SIGNER.stamp(position, url, name, part)
    token, destination = SIGNER.read_click(SIGNER.message(identifier).click(stamp))
    assert (token.message_id, token.link, token.ref, destination) == (identifier, position, stamp.ref, url)


def test_a_token_has_one_length_and_a_harmless_alphabet() -> None:
    """Every token has 68 characters that need no escaping and survive a change of case."""
    assert LENGTH == 68
    for kind in Kind:
        text = SIGNER.message(ID).recipient(kind, SIGNER.recipient_refs("a@b.c")[0])
        assert len(text) == LENGTH
        assert set(text) <= set(ALPHABET)


@pytest.mark.parametrize("position", [-1, MAX_LINKS, 1 << 40])
def test_a_position_out_of_range_is_refused(position: int) -> None:
    """A link that cannot be numbered raises, with the range in the text."""
    with pytest.raises(ValueError, match=rf"^position is {position}: .* 0 to {MAX_LINKS - 1}\.$"):
        SIGNER.stamp(position, URL)


@pytest.mark.parametrize("position", [0, MAX_LINKS - 1])
def test_the_ends_of_the_range_are_positions(position: int) -> None:
    """The first and the last position come back as they are."""
    assert SIGNER.read(Kind.CLICK, SIGNER.message(ID).click(SIGNER.stamp(position, URL))).link == position


@pytest.mark.parametrize("secrets", [[], [""], [b""], ["good enough", ""]])
def test_a_signer_needs_a_secret(secrets: list[str | bytes]) -> None:
    """Without a secret, or with an empty one, anybody could sign, so there is no signer."""
    with pytest.raises(ValueError, match=r"^secrets has none, .* newest first\.$"):
        Signer(secrets)


BITS = [base64.b32encode((1 << n).to_bytes(5, "big")).decode().lower() for n in range(5)]
REFUSED = {
    "1 no token": ["", "/", "//", ".gif"],
    "2 random": ["".join(random.Random(n).choices(ALPHABET, k=LENGTH)) for n in range(50)],
    "3 another last character": [TOKEN[:-1] + c for c in ALPHABET if c != TOKEN[-1]],
    "4 of another kind": [SIGNER.message(ID).sign(kind, STAMP.middle) for kind in Kind if kind is not Kind.CLICK],
    "5 of another app": [Signer(["a secret that is long enough for anybody"], "blog").message(ID).click(STAMP)],
    "6 truncated": [TOKEN[:n] for n in range(LENGTH)],
    "15 NUL, CR and LF inside": [TOKEN[:30] + c + TOKEN[30:] for c in ("\0", "\r\n\r\nx", "x\r\n", "%00", "%0d%0a")],
    "16 slash inside": [f"{TOKEN[:30]}/{TOKEN[30:]}", f"{TOKEN[:30]}%2F{TOKEN[30:]}"],
    "19 illegal inside": [
        TOKEN[:30] + c + TOKEN[30 + cut :]
        for c in ("\ufffd", "\u202e", "ａ", "\u200b", "\ud800", "é", "ſ", "\u212a", "0", "1", "8", "9", "-", " ")
        for cut in (0, 1)
    ],
    "20 a path of 100 KB": [TOKEN + "a" * 100_000, "a" * 100_000, "=\r\n" * 33_000],
    "151 ROT13": [TOKEN.translate(str.maketrans(ALPHABET[:26], ALPHABET[13:26] + ALPHABET[:13]))],
}


@pytest.mark.parametrize("attack", REFUSED)
def test_what_is_not_ours_is_refused(attack: str) -> None:
    """Attacks 1 to 6, 15, 16, 19 and 20: no token of ours, so no answer but a refusal."""
    for path in REFUSED[attack]:
        assert why(Kind.CLICK, path), path
        assert why(Kind.CLICK, f"{path}/{DESTINATION}"), path


def test_a_token_is_of_one_kind() -> None:
    """Attack 4: no kind of link is read where another is expected."""
    for kind in Kind:
        text = SIGNER.message(ID).recipient(kind, STAMP.ref)
        assert [other for other in Kind if why(other, text) == ""] == [kind]


def test_every_flipped_bit_is_seen() -> None:
    """Attack 3: a token with any one of its 340 bits flipped is refused."""
    for place, letter in enumerate(TOKEN):
        for bit in range(5):
            other = ALPHABET[ALPHABET.index(letter) ^ 1 << bit]
            assert why(Kind.CLICK, TOKEN[:place] + other + TOKEN[place + 1 :])


WORKS = {
    "7 trailing punctuation": [CLICK + c for c in ").,;>]\"'*_!-}|&:?"] + [CLICK + c for c in (").", '">', "__", "*_")],
    "8 trailing equals signs": [CLICK + c for c in ("=", "==", "=3D", "%3D", "=3D=3D")],
    "9 soft break in the id": [
        TOKEN[:n] + soft + TOKEN[n:] + f"/{DESTINATION}"
        for n in range(1, LENGTH + 1)
        for soft in ("=\r\n", "=\n", "=", "\r\n", "=\r\n ")
    ],
    "9 soft break in the destination": [
        f"{TOKEN}/{DESTINATION[:n]}{soft}{DESTINATION[n:]}"
        for n in range(len(DESTINATION))
        for soft in ("=\r\n", "=\n", "\r\n", "\r\n\t")
    ],
    "9 soft breaks in both": [f"{TOKEN[:9]}=\r\n{TOKEN[9:]}/{DESTINATION[:9]}=\r\n{DESTINATION[9:]}"],
    "10 upper-case id": [f"{TOKEN.upper()}/{DESTINATION}", f"{TOKEN.title()}/{DESTINATION}"],
    "11 entities behind": [CLICK + tail for tail in ("&amp;utm=1", "&amp%3B", "#038;", "&#038;x=1")],
    "12 parameters in the path": [CLICK + tail for tail in ("?utm_source=x&fbclid=y", "%3Futm_source=x")],
    "13 fragment in the path": [f"{CLICK}#top"],
    "14 encoded again behind": [CLICK + tail for tail in ("%253D", "%25252F", "%2520")],
    "17 doubled slashes": [f"/{CLICK}", f"{TOKEN}//{DESTINATION}", f"//{TOKEN}///{DESTINATION}//"],
    "18 proxies": [CLICK + t for t in ("/", "/./", ";jsessionid=1F", "/../c/x")] + [f"../c/{CLICK}", f"./{CLICK}"],
    "19 illegal behind": [CLICK + c for c in ("\ufffd", "\u202e", "\u200b", "ａ", "\0", "\ud800", "…")],
}


@pytest.mark.parametrize("damage", WORKS)
def test_a_damaged_link_still_leads_there(damage: str) -> None:
    """Damage 7 to 14 and 17 to 19: both the id and the destination are read as if nothing had happened."""
    for path in WORKS[damage]:
        token, url = SIGNER.read_click(path)
        assert (payload(token), url) == ((Kind.CLICK, ID, 3, STAMP.ref), URL), path


DESTINATION_LOST = {
    "6 truncated": [f"{TOKEN}/{DESTINATION[:n]}" for n in range(len(DESTINATION))] + [TOKEN],
    "10 in one case": [CLICK.lower(), CLICK.upper(), CLICK.swapcase()],
    "14 slash encoded twice": [f"{TOKEN}%2F{DESTINATION}", f"{TOKEN}%252F{DESTINATION}"],
    "15 NUL in the destination": [f"{TOKEN}/{DESTINATION[:9]}\0{DESTINATION[9:]}"],
    "18 session id between": [f"{TOKEN};jsessionid=1/{DESTINATION}", f"{TOKEN}/./{DESTINATION}"],
    "19 illegal in the destination": [f"{TOKEN}/{DESTINATION[:9]}\u200b{DESTINATION[9:]}", f"{TOKEN}/é"],
    "7 the dot of a file": [f"{TOKEN}.gif", f"{TOKEN}."],
    "too short for a tag": [f"{TOKEN}/{c}" for c in ("A", "AA", "AAAA", "A" * 16, "_", "-", "A" * 1001)],
}


@pytest.mark.parametrize("damage", DESTINATION_LOST)
def test_a_damaged_destination_leaves_the_id(damage: str) -> None:
    """A destination beyond repair is no destination, but the link can still be looked up."""
    for path in DESTINATION_LOST[damage]:
        token, url = SIGNER.read_click(path)
        assert (payload(token), url) == ((Kind.CLICK, ID, 3, STAMP.ref), None), path


def test_a_destination_belongs_to_its_link() -> None:
    """Attack 152: the destination of one link behind the token of another is not followed."""
    others = {
        "position": SIGNER.stamp(4, URL, "hero"),
        "name": SIGNER.stamp(3, URL, "footer"),
        "part": SIGNER.stamp(3, URL, "hero", "text"),
        "url": SIGNER.stamp(3, "https://evil.example/", "hero"),
    }
    for difference, other in others.items():
        token, url = SIGNER.read_click(f"{TOKEN}{other.tail}")
        assert (token.message_id, url) == (ID, None), difference


def test_a_destination_cannot_be_edited() -> None:
    """Every other character at every place of a destination gives no destination, or the same one."""
    for place in range(len(DESTINATION)):
        for letter in "AZaz09-_":
            _, url = SIGNER.read_click(f"{TOKEN}/{DESTINATION[:place]}{letter}{DESTINATION[place + 1 :]}")
            assert url in (None, URL)


def test_a_destination_alone_is_worth_nothing() -> None:
    """A destination that anybody could write, without a tag or with one of zeros, is not followed."""
    raw = b"https://evil.example/"
    for blob in (raw, bytes(12) + raw):
        assert SIGNER.read_click(f"{TOKEN}/{base64.urlsafe_b64encode(blob).decode().rstrip('=')}")[1] is None


def edits(text: str) -> Iterator[str]:
    """Everything that is one slip away from *text*."""
    for place in range(len(text)):
        head, letter, tail = text[:place], text[place], text[place + 1 :]
        yield head + tail
        yield head + letter.upper() + tail
        if tail:
            yield head + tail[0] + letter + tail[1:]
        for other in ALPHABET + "0189-_.~=%/":
            yield head + other + tail
            yield head + other + letter + tail


FORGED = some(1_000, 20)


def test_no_edit_of_a_token_gives_another() -> None:
    """Of all substitutions, insertions, deletions, swaps and flips of many tokens none is read as something else."""
    source = random.Random(2024)
    accepted = 0
    for _ in range(FORGED):
        kind = source.choice(list(Kind))
        identifier = uuid.UUID(int=source.getrandbits(128))
        text = SIGNER.message(identifier).recipient(kind, SIGNER.recipient_refs(str(identifier))[0])
        truth = payload(SIGNER.read(kind, text))
        for edited in edits(text):
            try:
                token = SIGNER.read(kind, edited)
            except TokenError:
                continue
            accepted += 1
            assert payload(token) == truth, edited
    assert accepted > FORGED * LENGTH  # the flips, and what changes nothing


OLD, NEW, OTHER = "the old secret of the app", "the new secret of the app", b"somebody else's secret"


def test_a_rotated_key_still_reads() -> None:
    """A link that the old key signed works behind a new one, and says which key it was."""
    old = Signer([OLD])
    path = old.message(ID).click(old.stamp(1, URL))
    rings: list[list[str | bytes]] = [[OLD], [NEW, OLD], [NEW, OTHER, OLD]]
    for place, secrets in enumerate(rings):
        token, url = Signer(secrets).read_click(path)
        assert (token.key, token.message_id, url) == (place, ID, URL)


def test_the_newest_key_signs() -> None:
    """After a rotation new links no longer depend on the old key."""
    path = Signer([NEW, OLD]).message(ID).open()
    assert Signer([NEW]).read(Kind.OPEN, path).message_id == ID
    assert why(Kind.OPEN, path, Signer([OLD])) in ("key", "signature")


def test_a_removed_key_is_forgotten() -> None:
    """A link of a key that is gone is refused like one that never was."""
    path = Signer([OLD]).message(ID).open()
    with pytest.raises(TokenError, match="token refused: key") as caught:
        Signer([NEW, OTHER]).read(Kind.OPEN, path)
    assert caught.value.reason == "key"


def head_of(secret: str) -> str:
    """The first two characters of a token: version and key id, and two bits of a message id that is 0."""
    return Signer([secret]).message(uuid.UUID(int=0)).open()[:3]


def test_two_keys_with_one_id_are_told_apart() -> None:
    """The key id has one byte, so two keys may share it; each link is then read with its own."""
    seen: dict[str, str] = {}
    for number in range(1000):
        secret = f"secret number {number}"
        if (twin := seen.setdefault(head_of(secret), secret)) != secret:
            break
    both = Signer([secret, twin])
    for place, own in enumerate((secret, twin)):
        one = Signer([own])
        token, url = both.read_click(one.message(ID).click(one.stamp(7, URL)))
        assert (token.key, token.link, url) == (place, 7, URL)
    assert why(Kind.OPEN, Signer([twin]).message(ID).open(), Signer([secret])) == "signature"


def test_a_string_and_its_bytes_are_one_secret() -> None:
    """Flask takes both for a secret key, so a change from one to the other breaks no link."""
    assert Signer(["gehëim"]).message(ID).open() == Signer(["gehëim".encode()]).message(ID).open()


@pytest.mark.parametrize("version", [v for v in range(16) if v != tokens.VERSION])
def test_an_unknown_version_is_refused(version: int) -> None:
    """Attack 92: the version inside a token chooses nothing; one that we never wrote is refused."""
    first = ALPHABET[version << 1 | ALPHABET.index(TOKEN[0]) & 1]
    assert why(Kind.CLICK, first + TOKEN[1:]) == "version"


def test_a_stamp_is_for_all_recipients() -> None:
    """A body is stamped once: copies differ in the token, and not in link, reference and destination."""
    paths = [SIGNER.message(uuid.UUID(int=n)).click(STAMP).split("/") for n in range(5)]
    assert len({token for token, _ in paths}) == 5
    assert {(token[28:48], destination) for token, destination in paths} == {(TOKEN[28:48], DESTINATION)}
    assert SIGNER.stamp(3, URL, "hero") == STAMP


def test_no_token_shows_who_it_is_for() -> None:
    """Attack 103: neither address nor key can be read out of a token."""
    address = "ada@example.com"
    ref = SIGNER.recipient_refs(address)[0]
    assert ref != Signer(["another secret, long enough"], "shop").recipient_refs(address)[0]
    text = SIGNER.message(ID).recipient(Kind.UNSUBSCRIBE, ref)
    assert b"ada" not in base64.b32decode(text.upper() + "====")


def test_each_key_has_its_reference_of_an_address() -> None:
    """After a rotation an address is looked up under old references too, newest first."""
    new, old = Signer([NEW]).recipient_refs("a@b.c"), Signer([OLD]).recipient_refs("a@b.c")
    assert Signer([NEW, OLD]).recipient_refs("a@b.c") == new + old


def test_the_reasons_are_those_that_are_documented() -> None:
    """Whoever reads a reason finds it explained: the documented words are the raised ones."""
    raised = {
        why(Kind.CLICK, TOKEN + "a" * 5000),
        why(Kind.CLICK, TOKEN[:-1]),
        why(Kind.CLICK, ALPHABET[4 << 1] + TOKEN[1:]),
        why(Kind.CLICK, TOKEN, Signer([OLD])),
        why(Kind.OPEN, TOKEN),
        "destination",  # raised by the hit side, when a link is unknown in the database too
        "blocked",  # and where the host has switched a link off
    }
    assert raised == set(re.findall(r"``(\w+)``", TokenError.__doc__ or ""))


@pytest.mark.parametrize(
    "path", ["a" * 100_000, "=\r\n" * 30_000, "=a" * 2_000, "a" * 67 + "/" + "b" * 4_000, "=" * 4_096]
)
def test_long_nonsense_is_cheap(path: str) -> None:
    """Attack 20: a path of any length is refused within a fraction of a request."""
    start = time.perf_counter()
    for _ in range(10):
        assert why(Kind.CLICK, path)
    assert (time.perf_counter() - start) / 10 < 0.02


def test_a_refusal_repeats_nothing_of_the_path() -> None:
    """Attack 15: what a stranger wrote cannot get into a log by way of the error."""
    with pytest.raises(TokenError) as caught:
        SIGNER.read(Kind.OPEN, "\r\nSet-Cookie: x=1\0")
    assert str(caught.value) == "token refused: short"


fragments = st.sampled_from([TOKEN, DESTINATION, TOKEN[:40], "/", "=\r\n", "=", "%", "\0", "\ud800", "=3D", ".."])
any_path = st.text() | st.lists(fragments | st.text(st.characters(), max_size=5), max_size=12).map("".join)


@settings(max_examples=some(400))
@given(path=any_path, kind=st.sampled_from(Kind))
def test_any_text_is_read_or_refused(path: str, kind: Kind) -> None:
    """Whatever a request brings, there is a token that we signed, or a refusal, and nothing else."""
    found: list[Token] = []
    with suppress(TokenError):
        found.append(SIGNER.read(kind, path))
    with suppress(TokenError):
        found.append(SIGNER.read_click(path)[0])
    assert {payload(token) for token in found} <= {(Kind.CLICK, ID, 3, STAMP.ref)}


@settings(max_examples=some(400))
@given(segment=st.text(st.characters()) | st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True))
def test_any_destination_is_followed_or_not(segment: str) -> None:
    """Whatever follows a good token, the destination is the signed one or none."""
    assert SIGNER.read_click(f"{TOKEN}/{segment}")[1] in (None, URL)


def test_a_lost_line_end_breaks_no_destination_wherever_it_was() -> None:
    """A gateway that joins two lines but leaves the sign of the break harms no link, whatever character follows."""
    url = "https://example.com/x" + "".join(3 * chr(n) for n in range(0x21, 0x7F))
    token, segment = SIGNER.message(ID).click(SIGNER.stamp(3, url)).split("/")
    assert len(set(segment)) == 64
    for n in range(len(segment)):
        assert SIGNER.read_click(f"{token}/{segment[:n]}={segment[n:]}")[1] == url


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\t"])
def test_the_end_of_a_line_may_be_of_any_sort(end: str) -> None:
    """A link that was wrapped is whole again, whatever ends a line there."""
    assert SIGNER.read_click(f"{TOKEN[:9]}{end}{TOKEN[9:]}/{DESTINATION[:9]}{end}{DESTINATION[9:]}")[1] == URL


def test_half_a_character_in_an_address_has_a_reference() -> None:
    """An address that no encoding can hold is one like any other, and no two of them are the same."""
    assert len({SIGNER.recipient_refs(f"{half}@example.com")[0] for half in ("\ud800", "\ud801", "?")}) == 3


@pytest.mark.parametrize("letter", ["+", "[", " ", "\t", "%", "=="])
def test_a_soft_break_takes_nothing_else_with_it(letter: str) -> None:
    """A break in one place does not excuse what is illegal in another."""
    assert why(Kind.CLICK, f"{TOKEN[:9]}=\r\n{TOKEN[9:30]}{letter}{TOKEN[30:]}") == "short"


def test_a_path_may_be_as_long_as_its_limit() -> None:
    """The longest path is still read, and one character more is refused unread."""
    longest = TOKEN + "/" * (4_096 - LENGTH)
    assert SIGNER.read(Kind.CLICK, longest).message_id == ID
    assert why(Kind.CLICK, f"{longest}/") == "long"


@pytest.mark.parametrize("last", range(0x21, 0x7F))
def test_a_destination_may_end_in_any_character(last: int) -> None:
    """No last letter of an address is lost on the way, nor what a chat client glues behind it."""
    url = "https://example.com/" + chr(last)
    click = SIGNER.message(ID).click(SIGNER.stamp(3, url))
    for glued in ("", "_", "-", "" if click.endswith(("_", "-")) else "__"):
        assert SIGNER.read_click(click + glued)[1] == url


@pytest.mark.parametrize("end", ["-", "_"])
def test_a_link_that_lost_its_last_sign_leads_there_all_the_same(end: str) -> None:
    """A linkifier of plain text ends a URL before "-" or "_": the link is read without the database."""
    url = "https://example.com/" + {"-": "~", "_": "?"}[end]
    click = SIGNER.message(ID).click(SIGNER.stamp(3, url))
    assert click.endswith(end)
    assert SIGNER.read_click(click[:-1])[1] == url
    assert SIGNER.read_click(click[:-2])[1] is None


def test_a_link_that_lost_two_signs_leads_there_too() -> None:
    """Both signs at the end of a link may be taken for punctuation."""
    url = "https://example.com/a\uffff"
    click = SIGNER.message(ID).click(SIGNER.stamp(3, url))
    assert click.endswith("-_")
    assert SIGNER.read_click(click.rstrip("-_"))[1] == url


def test_the_newest_key_stamps() -> None:
    """After a rotation a link's reference and destination, too, are of the new key."""
    assert Signer([NEW, OLD]).stamp(3, URL) == Signer([NEW]).stamp(3, URL) != Signer([OLD]).stamp(3, URL)


def test_what_is_not_said_is_ordinary() -> None:
    """Without an app id, a name or a part, a link is an unnamed one of the HTML body that no app opens."""
    assert Signer([NEW]).message(ID).open() == Signer([NEW], "").message(ID).open()
    assert SIGNER.stamp(3, URL) == SIGNER.stamp(3, URL, "", "html", False)
    assert not SIGNER.stamp(3, URL).app


def test_a_link_for_an_app_has_its_own_beginning() -> None:
    """Links of one body get the prefix of their sort, which an app's system knows them by."""
    for_app = SIGNER.stamp(4, URL, app=True)
    message = SIGNER.message(ID)
    plain, app = message.click(STAMP), message.click(for_app)
    assert message.clicks("/c/", [STAMP, for_app, STAMP], "/a/") == [f"/c/{plain}", f"/a/{app}", f"/c/{plain}"]
    assert message.clicks("/c/", [for_app]) == [app]


def test_a_stamp_is_its_own() -> None:
    """What is remembered of one link is never given to another that differs in anything."""
    asked = [(3, URL), (4, URL), (3, f"{URL}x"), (3, URL, "hero"), (3, URL, "", "text"), (3, URL, "", "html", True)]
    stamps = [SIGNER.stamp(*link) for link in asked]
    forgetful = Signer(["a secret that is long enough for anybody"], "shop")
    assert len(set(stamps)) == len(asked)
    assert (
        stamps == [SIGNER.stamp(*link) for link in asked] == [forgetful.stamp(*link) for link in reversed(asked)][::-1]
    )


def test_last_stamps_are_remembered() -> None:
    """Where each recipient has a body of their own, the last 1,024 links are prepared once, and an older one again."""
    signer = Signer([NEW])
    first = signer.stamp(0, URL)
    for number in range(1, 1_024):
        signer.stamp(number, URL)
    assert signer.stamp(0, URL) is first
    for number in range(1, 1_025):
        signer.stamp(number, URL)
    assert signer.stamp(0, URL) is not first
