"""What the ready-made redactions replace, and what they leave."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.select import readymade
from agent.select.readymade import READY_MADE

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
# Tokens are put together here, lest they look like somebody's.
GITHUB = "ghp" + "_" + "a1B2" * 9
STRIPE = "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
SLACK = "xoxb" + "-123456789012-abcdefABCDEF"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"

REPLACED = [
    ("authorization", "Authorization: Bearer abcdefgh12345678.x-y", "Authorization: Bearer [redacted:authorization]"),
    ("authorization", "authorization: basic dXNlcjpwYXNz", "authorization: basic [redacted:authorization]"),
    ("authorization", '{"Authorization":"token 0123456789"}', '{"Authorization":"token [redacted:authorization]"}'),
    (
        "authorization",
        r"{\"authorization\": \"0123456789abcdef\"}",
        r"{\"authorization\": \"[redacted:authorization]\"}",
    ),
    ("authorization", "map[Authorization:[Bearer abcdefgh]]", "map[Authorization:[Bearer [redacted:authorization]]]"),
    ("authorization", "sent bearer  0123456789abcdef==, ok", "sent bearer  [redacted:authorization], ok"),
    (
        "authorization",
        'Authorization: Digest username="u", realm="r", response="0a" 401',
        "Authorization: Digest [redacted:authorization] 401",
    ),
    (
        "authorization",
        "Authorization=AWS4-HMAC-SHA256 Credential=AK/2023, SignedHeaders=host, Signature=fe5f",
        "Authorization=AWS4-HMAC-SHA256 [redacted:authorization]",
    ),
    ("jwt", f"token {JWT}, next", "token [redacted:jwt], next"),
    ("jwt", f"?t={JWT}&x=1", "?t=[redacted:jwt]&x=1"),
    ("jwt", "eyJhbGciOiJSU0EifQ..aXY.Y2lwaGVy.dGFn!", "[redacted:jwt]!"),
    ("api-token", f"key {AWS} used", "key [redacted:api-token] used"),
    ("api-token", f"ASIA{'7' * 16}", "[redacted:api-token]"),
    ("api-token", f"remote: {GITHUB}\n", "remote: [redacted:api-token]\n"),
    ("api-token", f"github_pat_{'x' * 22}", "[redacted:api-token]"),
    ("api-token", f"glpat-{'x' * 20}/", "[redacted:api-token]/"),
    ("api-token", f"{SLACK} {STRIPE}", "[redacted:api-token] [redacted:api-token]"),
    ("api-token", f"AIza{'x' * 35}", "[redacted:api-token]"),
    ("api-token", f"npm_{'x' * 36}", "[redacted:api-token]"),
    ("url-password", "postgres://app:hunter2@db:5432/x", "postgres://app:[redacted:url-password]@db:5432/x"),
    ("url-password", "redis://:p@ss%21@cache", "redis://:[redacted:url-password]@cache"),
    ("url-password", "a://u:v@h b://w:x@h", "a://u:[redacted:url-password]@h b://w:[redacted:url-password]@h"),
    ("secret", "password=hunter2 user=x", "password=[redacted:secret] user=x"),
    ("secret", "db_password: hunter2", "db_password: [redacted:secret]"),
    ("secret", '{"Password": "a \\"b\\" c", "n": 1}', '{"Password": "[redacted:secret]", "n": 1}'),
    ("secret", r"{\"clientSecret\":\"abc\"}", r"{\"clientSecret\":\"[redacted:secret]\"}"),
    ("secret", "{'passwd': 'x y', 'z': 1}", "{'passwd': '[redacted:secret]', 'z': 1}"),
    ("secret", "x-api-key: 123, y", "x-api-key: [redacted:secret], y"),
    ("secret", "?access_token=abc&page=2", "?access_token=[redacted:secret]&page=2"),
    ("secret", "aws_secret_access_key = wJalr/K7", "aws_secret_access_key = [redacted:secret]"),
    ("secret", "AccountKey=abc==;EndpointSuffix=x", "AccountKey=[redacted:secret];EndpointSuffix=x"),
    ("secret", "Uid=me;Pwd=s3;", "Uid=me;Pwd=[redacted:secret];"),
    ("secret", '"token": "abc"', '"token": "[redacted:secret]"'),
    ("secret", "token=abc", "token=[redacted:secret]"),
    ("secret", ":password=>'abc'", ":password=>'[redacted:secret]'"),
    ("card", "paid with 4111111111111111.", "paid with [redacted:card]."),
    ("card", "4111 1111 1111 1111", "[redacted:card]"),
    ("card", "pan=5500-0000-0000-0004,", "pan=[redacted:card],"),
    ("card", "3782 822463 10005", "[redacted:card]"),
    ("card", "378282246310005", "[redacted:card]"),
    ("card", "a 4222222222222 b 4222222222222", "a [redacted:card] b [redacted:card]"),
    ("email", "to jane.doe+x@mail.example.co.uk, ok", "to [redacted:email], ok"),
    ("email", "<a@b.io>,<c@d.io>", "<[redacted:email]>,<[redacted:email]>"),
    ("email", "jos\u00e9@example.com.", "[redacted:email]."),
    ("email", f"{'x' * 64}@a.de", "[redacted:email]"),
]

LEFT = [
    ("authorization", "authorization: failed for user bob"),
    ("authorization", "bearer of bad news"),
    ("authorization", "authorization=none"),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9"),
    ("jwt", "keyJhbGciOiJIUzI1NiJ9.abc.def"),
    ("api-token", "AKIA is a prefix, ghp_short, xoxz-1234567890"),
    ("api-token", f"X{AWS} {AWS}X"),
    ("url-password", "http://host:8080/path?mail=a@b.de"),
    ("url-password", "see https://example.com: it says user@example.com"),
    ("secret", "the password is wrong; token count: 5; secretName: x; PWD=/srv; pwd=/home/me"),
    ("secret", 'unexpected token: "}" at 5; tokens=512; tokenizer=x; monkey=1; key=value'),
    ("secret", "password=null secret: none api_key=[redacted:jwt] password=****"),
    ("secret", '"secret": {"name": "x"}'),
    ("card", "4111111111111112"),  # the check fails
    ("card", "1700000000000000 at 1700000000000"),  # times
    ("card", "0.4111111111111111 4111111111111111.5 x4111111111111111 4111111111111111x"),
    ("card", "41111111111111111111111111111"),
    ("card", "4111 1111-1111 1111"),
    ("card", "2023-04-05 1234 5678"),
    ("email", "@decorator com.foo.Bar@1a2b3c a@b @c.de user@host"),
    ("email", f"{'x' * 65}@a.de"),
]


@pytest.mark.parametrize(("name", "text", "expected"), REPLACED)
def test_what_is_to_be_hidden_is_replaced(name: str, text: str, expected: str) -> None:
    assert READY_MADE[name].replace(text.encode())[0].decode() == expected
    assert READY_MADE[name].replace_joined(text.encode() + b"\xff", 0xFF)[0] == expected.encode() + b"\xff"


@pytest.mark.parametrize(("name", "text"), LEFT)
def test_what_only_looks_like_it_stays(name: str, text: str) -> None:
    assert READY_MADE[name].replace(text.encode()) == (text.encode(), 0)


def test_all_of_them_together_leave_nothing_and_do_not_redact_twice() -> None:
    text = f"Authorization: Bearer {JWT} password={GITHUB} https://me:secret@h/ a@b.de 4111111111111111".encode()
    for redaction in READY_MADE.values():
        text, _ = redaction.replace(text)
    assert text == (
        b"Authorization: Bearer [redacted:authorization] password=[redacted:api-token] "
        b"https://me:[redacted:url-password]@h/ [redacted:email] [redacted:card]"
    )


def test_every_one_is_described() -> None:
    for name in READY_MADE:
        assert f"\n    {name}  " in str(readymade.__doc__)
        assert f"[redacted:{name}]".encode() in READY_MADE[name].replacement


FRAGMENTS = [text for _, text, _ in REPLACED] + [text for _, text in LEFT]
PIECES = st.one_of(
    st.sampled_from(FRAGMENTS),
    st.sampled_from(FRAGMENTS).flatmap(lambda text: st.integers(0, len(text)).map(lambda at: text[:at])),
    st.sampled_from(FRAGMENTS).flatmap(lambda text: st.integers(0, len(text)).map(lambda at: text[at:])),
    st.text("aA@.:/ -=\"'1423\\e", max_size=12),
)
RECORDS = st.lists(st.lists(PIECES, max_size=4).map(lambda pieces: "".join(pieces).encode()), max_size=6)


@pytest.mark.parametrize("name", READY_MADE)
@settings(max_examples=150, deadline=None)
@given(RECORDS)
def test_hints_and_joining_change_nothing(name: str, records: list[bytes]) -> None:
    redaction = READY_MADE[name]
    text, _ = redaction.replace_joined(b"".join(record + b"\xfe" for record in records), 0xFE)
    assert text == b"".join(redaction.replace(record)[0] + b"\xfe" for record in records)


@pytest.mark.parametrize("name", READY_MADE)
@pytest.mark.parametrize(
    "piece", ["a", "1", " ", "=", ":", "/", '"', "\\", "eyJ", "password", "a.", "a@", "://a:", "1 1111 "]
)
def test_a_long_record_takes_no_longer_than_its_length(name: str, piece: str) -> None:
    record = b"authorization: digest password=https://a:eyJ@4" + piece.encode() * (200_000 // len(piece))
    began_s = time.monotonic()
    READY_MADE[name].replace_joined(record + b"\xff", 0xFF)
    READY_MADE[name].replace(record)
    assert time.monotonic() - began_s < 10  # were it quadratic, it would be minutes
