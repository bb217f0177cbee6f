"""Keys, tokens and passwords, by the forms that their makers have given them, or by what stands before them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nodes.personal_data.found import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

_MADE: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[\w-]{20,256}|(?:sk|rk|pk)_(?:live|test)_\w{16,256}"  # OpenAI, Anthropic; Stripe
    r"|A(?:KIA|SIA)[0-9A-Z]{16}(?!\w)|AIza[\w-]{30,64}"  # AWS, Google
    r"|gh[pousr]_\w{20,256}|github_pat_\w{22,256}|glpat-[\w-]{20,256}"
    r"|xox[abeprs]-[\w-]{10,256}|npm_\w{30,64}|hf_\w{20,64}"
    r"|ig3_[a-z0-9]{4,64}_[\w-]{16,256}|S[UAONCX][A-Z2-7]{56}(?!\w)"  # the mesh's own, and seeds of NATS
    r"|eyJ[\w-]{8,4096}\.[\w-]{1,8192}\.[\w-]{0,4096}"  # JSON web tokens (RFC 7519)
    r")"
)
_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z]{1,16} ){0,3}PRIVATE KEY-----[^-]{0,16384}+(?:-----END (?:[A-Z]{1,16} ){0,3}PRIVATE KEY-----)?"
)
_SAID: Final = re.compile(
    r"(?i:(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|token)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?)"
    r"([^\s\"'&,;<>(){}\[\]\\]{6,256})"
)
"""What is called one: ``password=...``, ``"api_key": "..."``."""
_BEARER: Final = re.compile(r"(?i:bearer )([\w.~+/-]{16,4096}=*)")
_IN_URL: Final = re.compile(r"://[^/\s:@]{0,64}:([^/\s@]{1,128})@")
_RANDOM: Final = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{32,256}={0,2}(?![\w+/=-])")
_UUID_OR_PATH: Final = re.compile(r"[0-9a-f-]{32,36}|.*/.*/.*")


def find_secrets(text: str) -> Iterator[Found]:
    """Those with a form of their own, and what is called a password or a key."""
    for whole in (_MADE, _PEM):
        for match in whole.finditer(text):
            yield Found(match.start(), match.end(), "SECRET")
    for inner in (_SAID, _BEARER):
        for match in inner.finditer(text):
            if _is_mixed(match[1]):
                yield Found(*match.span(1), "SECRET")
    for match in _IN_URL.finditer(text):
        yield Found(*match.span(1), "SECRET")


def find_random(text: str) -> Iterator[Found]:
    """Long words of mixed letters and digits that may be keys; hashes and names of files may be taken for one."""
    for match in _RANDOM.finditer(text):
        word = match[0]
        kinds = (str.isupper, str.islower, str.isdigit)
        if all(any(is_kind(char) for char in word) for is_kind in kinds) and not _UUID_OR_PATH.fullmatch(word):
            yield Found(match.start(), match.end(), "SECRET")


def _is_mixed(value: str) -> bool:
    """Whether it is no word of a language, which what follows "the secret:" may well be."""
    return any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
