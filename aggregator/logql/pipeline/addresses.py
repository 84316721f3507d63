"""IP addresses, ranges and blocks of them, found anywhere in text.

What counts as an address in a text follows Loki's ``ip()`` (pkg/logql/log/ip.go) to the letter, with its oddities: an
address shorter than four bytes is none, and after a candidate that is no address one byte more is passed over.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where an address may begin, and how far it goes. An IPv4 candidate has a dot within its first four bytes; an IPv6
# one has a colon within its first five.
_CANDIDATE: Final = re.compile(
    rb"(?P<four>[0-9](?=\.|.\.|..\.)(?=...)[0-9.]*)"
    rb"|(?P<six>(?=::[0-9a-fA-F]|[0-9a-fA-F]{1,4}:)(?=.{5})[0-9a-fA-F:.]+)",
    re.DOTALL,
)
_PREFIX_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
# The longest text of an address, an IPv4 one within IPv6.
_ADDRESS_BYTES_MAX: Final = 45


def matcher(text: str) -> Callable[[str], bool]:
    """Whether a text has an address of ``text``: an address, a range ``a-b``, a CIDR block; else raises ValueError."""
    contains = _contains(text)

    def found(subject: str) -> bool:
        data = subject.encode("utf-8", "surrogatepass")
        at = 0
        while (candidate := _CANDIDATE.search(data, at)) is not None:
            at = candidate.end() + 1
            if candidate.end() - candidate.start() > _ADDRESS_BYTES_MAX:
                continue
            address = _address(candidate[0].decode())
            if address is not None and contains(address):
                return True
        return False

    return found


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _contains(text: str) -> Callable[[Address], bool]:
    single = _address(text)
    if single is not None:
        return lambda address: address == single
    base, slash, length = text.partition("/")
    first = _address(base) if slash and _PREFIX_LENGTH.fullmatch(length) and "%" not in base else None
    if first is not None and int(length) <= first.max_prefixlen:
        network = ipaddress.ip_network((first, int(length)), strict=False)
        return lambda address: address in network
    low_text, dash, high_text = text.partition("-")
    if dash:
        low, high = _address(low_text), _address(high_text)
        if low is not None and high is not None and low.version == high.version and int(low) <= int(high):
            return lambda address: address.version == low.version and int(low) <= int(address) <= int(high)
    raise ValueError(f"ip: invalid pattern: {text!r}")
