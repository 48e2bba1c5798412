"""Secrets in words of others: found however they are spelled, and nothing else is touched."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.masking import masked

SECRET = 'p&ss/w "ö\\<1>+%41'
SPELLINGS: list[Callable[[str], str]] = [
    str,
    quote,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: re.sub("%..", lambda code: code[0].lower(), quote(text, safe="")),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    html.escape,
    lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    lambda text: "".join(f"\\u{ord(letter):04X}" for letter in text),
]


@pytest.mark.parametrize("spell", SPELLINGS)
@given(secret=st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc"]), min_size=6) | st.just(SECRET))
def test_a_secret_is_found_in_each_spelling(spell: Callable[[str], str], secret: str) -> None:
    assert masked(f"-- {spell(secret)} --", [secret]) == "-- *** --"


@given(st.text(), st.text(min_size=1))
def test_words_without_secrets_stay_as_they_are(text: str, secret: str) -> None:
    assert masked(text, []) == text or "token" in text.lower() or "bearer" in text.lower()
    assert masked("", [secret, ""]) == ""


def test_a_secret_that_begins_with_another_leaves_no_rest() -> None:
    assert masked("abc abcdef", ["abc", "abcdef"]) == "*** ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/auth/token/v1?clientId=me&clientSecret=cut-off-by-som", "/auth/token/v1?clientId=me&clientSecret=***"),
        ("?" + urlencode({"q": "/v1?" + urlencode({"clientSecret": "half"})}), "?q=%2Fv1%3FclientSecret%3D***"),
        ('{"access_token":"eyJ0.eyJ1.sig","expires_in":5}', '{"access_token":"***","expires_in":5}'),
        (r"{\"access_token\": \"eyJ0\"}", r"{\"access_token\": \"***\"}"),
        ("authorization: Bearer eyJ0.eyJ1", "authorization: Bearer ***"),
        ("the token is refused", "the token is refused"),
    ],
)
def test_what_stands_where_a_secret_belongs_is_taken_for_one(text: str, shown: str) -> None:
    assert masked(text, ["unrelated"]) == shown
