"""Takes secrets out of words that others wrote: a cloud or a proxy may repeat a URL or a header in its error page.

Must be done before anything is cut or re-wrapped: half a secret is found by nobody. Pure.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_MARK = "***"
_QUOTE = r"""(?:\\?["']|&quot;|%22)?"""
# whatever stands behind these names, also a token we never had and a secret that somebody else has cut
_NAMED = re.compile(
    rf"((?:client|access|refresh)_?(?:secret|token){_QUOTE}\s*(?:[:=]|%3d|%3a)\s*{_QUOTE}|\bbearer\s+)[^\s\"'\\&<>,;}}]+", re.IGNORECASE
)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text with `***` for each secret, however it is spelled: plain, or encoded for a URL, JSON or a web page."""
    known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)  # the longest first: one may begin with another
    if known:
        text = re.sub("|".join("".join(map(_spellings, secret)) for secret in known), _MARK, text)
    return _NAMED.sub(rf"\g<1>{_MARK}", text)


def _spellings(letter: str) -> str:
    """A pattern for one character and its encodings; a URL within a URL is encoded twice."""
    percent = "".join(f"%(?:25)*{byte:02x}" for byte in letter.encode("utf-8", "replace"))
    number, plain = ord(letter), re.escape(letter)
    encoded = rf"(?i:{percent}|\\u{number:04x}|&#0*{number};|&#x0*{number:x};)"
    ways = [encoded, rf"\\{plain}", re.escape(html.escape(letter)), plain]  # plain last: "%" also begins "%25"
    return f"(?:{'|'.join([*ways, '[+]'] if letter == ' ' else ways)})"
