r"""Redactions by name: credentials and personal data as they turn up in logs.

    authorization   what follows ``Authorization:`` (headers, JSON, ``key=value``), and ``Bearer`` tokens anywhere
    jwt             JSON web tokens: ``eyJ…`` in three to five parts
    api-token       keys with a known prefix: AWS, GitHub, GitLab, Slack, Stripe, Google, npm
    url-password    the password in ``scheme://user:password@host``
    secret          values of ``password=``, ``"client_secret":``, ``api-key:``, ``access_token=`` and their like; what
                    is not in quotes ends at a space, quote, backslash, comma, semicolon or ampersand
    card            card numbers: 13 to 19 digits, alone or in groups, that begin with 2 to 6 and pass the Luhn check,
                    which one in ten of other numbers passes as well
    email           e-mail addresses

``all`` is all of them, in this order. Each leaves ``[redacted:<name>]``.
"""

from __future__ import annotations

import re
from typing import Final

from agent.select.expression import Expression
from agent.select.hints import at_signs, cards, words
from agent.select.redaction import Redaction

# Every repeat has a bound, or its bytes do not begin a match themselves: the time is linear in the record's length.
_TOKEN: Final = r"[A-Za-z0-9._~+/=-]"  # noqa: S105 - a class of characters
_ASSIGNED: Final = r"""\\?["']?\s{0,8}(?:=>|:=|[:=])\s{0,8}"""
_PARAMETER: Final = r"""[\w-]{1,32}=(?:\\?"[^"\\]{0,512}\\?"|[^\s,"'\\]+)"""

_AUTHORIZATION: Final = rf"""(?xi)
    ( authorization {_ASSIGNED} \\?["'\[]{{0,2}} (?:digest|hawk|signature|aws4-hmac-sha256) \s{{1,8}} )
    {_PARAMETER} (?: \s{{0,4}} , \s{{0,4}} {_PARAMETER} )*
  | ( authorization {_ASSIGNED} \\?["'\[]{{0,2}}
        (?: (?:bearer|basic|token|negotiate|apikey) \s{{1,8}} (?={_TOKEN}{{8}}) | (?={_TOKEN}{{16}}) )
    | bearer \s{{1,8}} (?={_TOKEN}{{16}})
    ) {_TOKEN}+
"""
_JWT: Final = r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){1,3}"
_PREFIXED: Final = r"""(?x) (?<![A-Za-z0-9])
    (?: A[KS]IA[A-Z0-9]{16} (?![A-Za-z0-9])
    | gh[pousr]_[A-Za-z0-9]{36,255}
    | github_pat_[A-Za-z0-9_]{22,255}
    | glpat-[A-Za-z0-9_-]{20,255}
    | xox[abeoprs]-[A-Za-z0-9-]{10,255}
    | [rs]k_(?:live|test)_[A-Za-z0-9]{16,255}
    | AIza[A-Za-z0-9_-]{35}
    | npm_[A-Za-z0-9]{36}
    )
"""
_IN_URL: Final = r"""(://[^\s/?#:@"'<>\\]{0,128}:)[^\s/?#"'<>\\]{1,256}(?=@)"""
_SECRET: Final = rf"""(?xi)
    ( (?: passw(?:or)?d | passphrase
      | (?<![a-z]) (?-i:pwd|Pwd) (?= {_ASSIGNED} \\?["']?[^/\s] )   # PWD= and pwd=/home are directories
      | secret (?: [_-]?(?:access)?[_-]?key )?
      | (?: (?<=api) | (?<=api[_-]) | (?<=access) | (?<=access[_-]) | (?<=private) | (?<=private[_-])
          | (?<=account) | (?<=account[_-]) | (?<=signing[_-]) | (?<=encryption[_-]) ) key
      | (?<=[a-z_-]) token
      | token (?= \\?["'] | \s{{0,8}} = )
      )
      {_ASSIGNED}
    )
    (?! \\?["']?(?: (?:null|none|nil|true|false)\b | \[redacted | \*\* ) )
    (?: (\\") [^"\\]+ | (") (?: [^"\\]++ | \\. )++ | (') [^']+ | [^\s"'\\,;&{{\[(] [^\s"'\\,;&]* )
"""
_CARD: Final = r"""(?x) (?<![\w.])
    (?: [2-6][0-9]{12,18}
    | [2-6][0-9]{3} ([\ -]) [0-9]{4} \1 [0-9]{4} \1 [0-9]{1,7}
    | 3[0-9]{3} ([\ -]) [0-9]{6} \2 [0-9]{4,5}
    ) (?! \w | [.-][0-9] )
"""
# Bytes of UTF-8 are letters here.
_LOCAL: Final = r"[A-Za-z0-9._%+\x80-\xbf\xc2-\xf4-]"
_LOCAL_BYTES_MAX: Final = 64  # RFC 5321
_EMAIL: Final = (
    rf"(?<!{_LOCAL}){_LOCAL}{{1,{_LOCAL_BYTES_MAX}}}+@(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
)
_LUHN: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(match: re.Match[bytes]) -> bool:
    """Whether the digits pass the check that every card number does."""
    digits = [byte - ord("0") for byte in reversed(match[0]) if byte >= ord("0")]
    return (sum(digits[::2]) + sum(_LUHN[digit] for digit in digits[1::2])) % 10 == 0


READY_MADE: Final = {
    each.name: each
    for each in (
        Redaction(
            "authorization",
            Expression(_AUTHORIZATION),
            rb"\1\2[redacted:authorization]",
            words({b"authoriz": b"iz", b"bearer": b"be"}, fold=True),
        ),
        Redaction("jwt", Expression(_JWT), b"[redacted:jwt]", words({b"eyJ": b"yJ"})),
        Redaction(
            "api-token",
            Expression(_PREFIXED),
            b"[redacted:api-token]",
            words(
                {
                    b"A?IA": b"IA",
                    b"gh?_": b"gh",
                    b"github_p": b"b_",
                    b"glpat-": b"lp",
                    b"xo??-": b"xo",
                    b"?k_????_": b"k_",
                    b"AIza": b"Iz",
                    b"npm_": b"pm",
                }
            ),
        ),
        Redaction("url-password", Expression(_IN_URL), rb"\1[redacted:url-password]", words({b"://": b"//"})),
        Redaction(
            "secret",
            Expression(_SECRET),
            rb"\1\2\3\4[redacted:secret]",
            words(
                {
                    b"passw": b"sw",
                    b"passp": b"sp",
                    b"pwd": b"wd",
                    b"secret": b"cr",
                    b"token": b"ok",
                    b"key": b"ey",
                },
                fold=True,
            ),
        ),
        Redaction("card", Expression(_CARD), b"[redacted:card]", cards, accepts=luhn),
        Redaction(
            "email",
            Expression(_EMAIL),
            b"[redacted:email]",
            at_signs,
            lead=bytes(byte for byte in range(256) if re.fullmatch(_LOCAL.encode(), bytes([byte]))),
        ),
    )
}
