"""Which links are left alone because they work once."""

from __future__ import annotations

import pytest
from cpu_time import cpu_seconds
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.links import works_once

RUN = "9f86d081884c7d659a2f"
SECRET = [
    "?mode=resetPassword&oobCode=ABC123&lang=fr",
    "users/confirmation?confirmation_token=xyz",
    "users/password/edit?reset_password_token=abc",
    f"auth/change_email/{RUN}",
    f"invite/{RUN}",
    "verify?token=1",
    "verify/123456",
    "verify/123456/",
    "magic-link/1",
    f"accounts/reset/MQ/c1a2b3-{RUN}/",
    "wp-login.php?action=rp&key=abc&login=user",
    "email/verify/1/0a0b?expires=1&signature=00",
    "auth/v1/verify?token=pk&type=magiclink",
    f"#/reset-password/{RUN}",
    "#/verify?code=1",
    "cb#access_token=abc&type=recovery",
    "confirm/550e8400-e29b-41d4-a716-446655440000",
    "u/email-verification?ticket=abc",
    f"magic/{RUN}",
    "%72eset?token=1",
    "login?jwt=a.b.c",
    "unlock?secret=x",
    "sign-in?otp=1",
    "confirm?sig=1",
    "activate?hash=1",
    "confirm?a=1;token=2",
]
OPEN = [
    "",
    "login",
    "sign-in",
    "users/confirm",
    "account/reset/abc",
    "pages/one-time-offer",
    "pages/one-time-offer?key=1",
    "products/magic-keyboard",
    "products/magic-keyboard/123456",
    "?utm_campaign=login-promo",
    "?utm_campaign=login-promo&code=SPRING",
    f"?utm_campaign=reset&utm_content={RUN}",
    "login?utm_content=x&utm_code=1",
    f"login?fbclid={RUN}",
    "verify?token=",
    "verify?token",
    "search?key=shoes",
    f"article/{RUN}",
    "blog/how-to-reset-your-password",
    "confirm/aaaaaaaaaaaaaaaaaaaaaaaa",
    f"?mfa={RUN[:8]}",
    f"author/{RUN}",
    f"signing-day/{RUN}",
]


@pytest.mark.parametrize("path", SECRET)
def test_a_word_and_a_secret_make_a_link_that_works_once(path: str) -> None:
    """A link that resets, confirms or invites by a secret is left alone, in whatever spelling."""
    assert works_once(f"https://example.com/{path}")


@pytest.mark.parametrize("path", OPEN)
def test_one_of_the_two_does_not(path: str) -> None:
    """A word without a secret, or a secret without a word, is a link like any other."""
    assert not works_once(f"https://example.com/{path}")


@pytest.mark.parametrize("host", ["login.example.com", "reset-password.example.com", "user:verify@example.com"])
def test_the_host_says_nothing(host: str) -> None:
    """A shop at login.example.com has ordinary links, codes in their queries included."""
    assert not works_once(f"https://{host}/offers?code=SPRING")
    assert not works_once(f"https://{host}/{RUN}")


def test_what_is_no_address_does_not_work_once() -> None:
    """An address that cannot be taken apart stops no mail."""
    assert not works_once("https://[reset/?token=1")


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    """No address makes the question fail."""
    works_once(f"https://example.com/{text}")


@pytest.mark.parametrize("piece", ["reset", "a1", "/verify", "&a", "&token=", "-", "%61", "sign-", "mailchange", "="])
def test_the_time_grows_with_the_length(piece: str) -> None:
    """Ten times the length takes about ten times as long, whatever the pieces."""
    short, long = (f"https://example.com/?{piece * count}" for count in (3_000, 30_000))
    assert cpu_seconds(lambda: works_once(long)) < 40 * cpu_seconds(lambda: works_once(short)) + 0.02
