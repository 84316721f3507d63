"""Which container is collected, and what is done with its log."""

from __future__ import annotations

import re

import msgspec
import pytest

from agent.follow.generations import Container
from agent.select.expression import Expression
from agent.select.readymade import READY_MADE
from agent.select.redaction import REPLACEMENT_BYTES_MAX
from agent.select.rules import Glob, Replacement, Rule, Rules, rate_of, redactions_of

APP = Container("shop", "cart-7d9f", "uid", "app")


@pytest.mark.parametrize(
    ("glob", "matches"),
    [
        ("shop/cart-7d9f/app", True),
        ("shop/cart-*/app", True),
        ("shop/cart-*", True),
        ("shop", True),
        ("*", True),
        ("*/*/app", True),
        ("s?op/[a-c]*/a*", True),
        ("shop/cart", False),
        ("SHOP", False),
        ("*/app", False),
        ("sho", False),
        ("shop/*/proxy", False),
    ],
)
def test_a_glob_is_of_namespace_pod_and_container(glob: str, matches: bool) -> None:  # noqa: FBT001 - a table
    assert Glob(glob).matches(APP) is matches


@pytest.mark.parametrize("text", ["", "/", "a//b", "a/b/", "/a", "a/b/c/d"])
def test_what_is_no_glob_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a glob like shop/cart-"):
        Glob(text)


@pytest.mark.parametrize(
    ("include", "exclude", "collected"),
    [
        ([], [], True),
        (["shop/*"], [], True),
        (["other", "shop"], [], True),
        (["other"], [], False),
        ([], ["shop/*/proxy"], True),
        ([], ["other", "*/cart-*"], False),
        (["shop"], ["*/*/app"], False),
    ],
)
def test_collected_is_what_is_included_and_not_excluded(
    include: list[str],
    exclude: list[str],
    collected: bool,  # noqa: FBT001 - a table
) -> None:
    assert Rules(include, exclude).collects(APP) is collected


def test_without_rules_lines_are_joined_and_nothing_else_is_done() -> None:
    treatment = Rules().treatment(APP)
    assert treatment.multiline
    assert treatment.multiline_start is None
    assert treatment.drop == treatment.redact == ()
    assert treatment.rate_bytes_per_s is None


def test_each_key_is_that_of_the_first_rule_that_has_it() -> None:
    rules = Rules(
        rules=[
            Rule("shop/*/proxy", drop=("proxy",), rate="1MiB"),
            Rule("shop/cart-*", drop=("first", "more")),
            Rule("shop", multiline=r"\d", drop=("second",), redact=("email",)),
            Rule("*", multiline=False, rate="2MiB", redact=("all",)),
        ]
    )
    app = rules.treatment(APP)
    assert [each.text for each in app.drop] == ["first", "more"]
    assert app.redact == (READY_MADE["email"],)
    assert app.multiline
    assert app.multiline_start is not None
    assert app.multiline_start.expression.text == r"\d"
    assert app.rate_bytes_per_s == 2 << 20
    proxy = rules.treatment(msgspec.structs.replace(APP, name="proxy"))
    assert [each.text for each in proxy.drop] == ["proxy"]
    assert proxy.rate_bytes_per_s == 1 << 20
    other = rules.treatment(msgspec.structs.replace(APP, namespace="other"))
    assert not other.multiline
    assert other.multiline_start is None
    assert other.redact == tuple(READY_MADE.values())


def test_an_empty_list_and_zero_undo_what_a_later_rule_says() -> None:
    rules = Rules(
        rules=[Rule("shop", drop=(), redact=(), rate=0), Rule("*", drop=("x",), redact=("all",), rate="1MiB")]
    )
    treatment = rules.treatment(APP)
    assert treatment.drop == treatment.redact == ()
    assert treatment.rate_bytes_per_s is None


def test_containers_under_the_same_rules_share_what_is_done() -> None:
    rules = Rules(rules=[Rule("shop", drop=("x",)), Rule("*", redact=("email", "a+"))])
    one, other = rules.treatment(APP), rules.treatment(msgspec.structs.replace(APP, name="proxy"))
    assert one.drop is other.drop
    assert one.redact is other.redact


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            "emial",
            "redact: there is no ready-made pattern 'emial'; did you mean 'email'? A regex that is one word is (emial)",
        ),
        (
            "zzz",
            "jwt, api-token, url-password, secret, card, email, all. A regex that is one word is (zzz)",
        ),
        ("a(", "redact is not a regular expression: missing ), unterminated subpattern at position 1"),
    ],
)
def test_what_cannot_be_redacted_is_refused(one: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        redactions_of(one)


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        ("a", r"\1", "is no template: invalid group reference 1"),
        ("a", r"\g<x>", "is no template: unknown group name 'x'"),
        ("a", r"\377", "has an octal escape"),
        ("a", r"\0", "has an octal escape"),
        ("a", "x" * (REPLACEMENT_BYTES_MAX + 1), f"at most {REPLACEMENT_BYTES_MAX} bytes"),
    ],
)
def test_a_replacement_that_is_no_template_is_refused(pattern: str, replacement: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Replacement(pattern, replacement)


def test_a_regex_of_ones_own_leaves_what_it_says() -> None:
    [plain] = redactions_of("b+")
    [named] = redactions_of(Replacement("(?P<x>a)b+", r"\g<x>_"))
    assert plain.replace(b"abbc") == (b"a[redacted]c", 1)
    assert named.replace(b"abbcab") == (b"a_ca_", 2)
    assert plain.name == named.name == "custom"
    assert redactions_of("(email)")[0].expression == Expression("(email)")


@pytest.mark.parametrize(
    ("value", "rate"), [(0, 0), ("0", 0), ("16KiB", 16 << 10), ("1MiB", 1 << 20), (1 << 20, 1 << 20)]
)
def test_rates(value: str | int, rate: int) -> None:
    assert rate_of(value) == rate


@pytest.mark.parametrize(("value", "said"), [("1KiB", "is less than 16KiB a second"), ("fast", "is not a size")])
def test_what_is_no_rate_is_refused(value: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rate_of(value)


@pytest.mark.parametrize(
    "template", ["", "x", r"\1", r"<\g<1>|\g<x>|\2|\g<0>>", r"\n\t\\", r"\\1", r"a\.b", r"\g<1>0", "é"]
)
def test_a_replacement_is_what_it_is_to_a_regex(template: str) -> None:
    pattern = "(?P<x>a)(b)?"
    [redaction] = redactions_of(Replacement(pattern, template))
    expected = re.sub(pattern.encode(), template.encode(), b"-ab-a-")
    assert redaction.replace(b"-ab-a-") == (expected, 2)
