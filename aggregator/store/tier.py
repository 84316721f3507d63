"""The cold tier: where it is, and what the engine has to know of it.

Old days of ``logs`` lie as objects in a bucket; which object is what of which part, files of the store's directory say:

cold/      of the engine's disk `DISK`: for each file of a part, which objects of the bucket it is
cold.json  the bucket whose objects these are, from the day on that there was one; no secret is in it

Objects read lately are in ``engine/cache``.

The bucket is worth nothing without ``cold/``: whoever backs up one has to back up the other.
"""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import msgspec

from aggregator.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

# The engine's disk, volume and policy. The volume of local days keeps its name: a table's policy may only grow.
DISK: Final = "cold"
POLICY: Final = "days"
MARKER: Final = "cold.json"
# How long anything may take to say that it is there.
_ANSWER_S: Final = 5.0
_UNAVAILABLE: Final = 500
# The engine knows of no proxy either.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# What Amazon's servers sign for unless told otherwise, and what others do not look at.
REGION: Final = "us-east-1"

_POLICY: Final = """  <storage_configuration>
    <disks>{disks}</disks>
    <policies><days><volumes>
      <default><disk>default</disk></default>
      <cold><disk>cold</disk><prefer_not_to_merge>true</prefer_not_to_merge></cold>
    </volumes><move_factor>0</move_factor></days></policies>
  </storage_configuration>
"""
# One, for a connection that was closed while nobody used it: whoever asks, or moves, tries again by himself, and is
# told meanwhile. A move that is cut off has every object that it wrote removed, each with its retries: 11 s with one,
# 114 s with three (chdb-core 26.9, 23 objects).
_SETTINGS: Final = """  <s3_retry_attempts>1</s3_retry_attempts>
"""
# Sizes of columns are known from the start on: else the first query of a local day asks the bucket for them.
MERGE_TREE: Final = "columns_and_secondary_indices_sizes_lazy_calculation = 0"
_OBJECTS: Final = """
      <{name}><type>s3</type><endpoint>{url}</endpoint><region>{region}</region>
        <access_key_id>{key}</access_key_id><secret_access_key>{secret}</secret_access_key>
        <metadata_path>{path}/cold/</metadata_path><skip_access_check>true</skip_access_check>
        <s3_max_single_read_retries>2</s3_max_single_read_retries>
        <connect_timeout_ms>1000</connect_timeout_ms><request_timeout_ms>10000</request_timeout_ms></{name}>"""
_CACHE: Final = """
      <cold><type>cache</type><disk>bucket</disk><path>cold/</path><max_size>{size}</max_size></cold>"""
# Where there was a tier, and nothing lies in it any more.
_NONE: Final = """
      <cold><type>local</type><path>{path}/cold/</path></cold>"""


class Tier(msgspec.Struct, frozen=True):
    """A bucket (``s3://bucket/prefix``), the server that has it (``https://host:port``), and who may use it."""

    bucket: str
    endpoint: str
    key: str
    secret: str
    region: str = REGION
    cache_bytes: int = 0

    def __repr__(self) -> str:
        return f"Tier({self.bucket} at {self.endpoint})"

    @property
    def url(self) -> str:
        """Where the objects are: the bucket is part of the path, which every server understands."""
        return f"{self.endpoint.rstrip('/')}/{self.bucket.removeprefix('s3://').strip('/')}/"

    def answers(self) -> bool:
        """Whether the server answers anything at all; waits some seconds at most."""
        try:
            with _DIRECT.open(self.endpoint, timeout=_ANSWER_S):
                return True
        except urllib.error.HTTPError as error:
            return error.code < _UNAVAILABLE  # it is there, and wants a signature
        except OSError:
            return False


class _Marker(msgspec.Struct):
    bucket: str


def checked(tier: Tier) -> Tier:
    """``tier``, or ValueError saying what is wrong with it."""
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=-]+)*/?", tier.bucket, re.ASCII):
        raise ValueError(f"{tier.bucket!r} is not s3://bucket/prefix, of letters, digits and -_.=")
    parts = urlsplit(tier.endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{tier.endpoint!r} is not http://host:port or https://host")
    if parts.username or parts.password:
        raise ValueError("the endpoint has a password in it; that belongs into the file of credentials")
    return tier


def storage(tier: Tier | None, path: Path) -> str:
    """The part of the engine's configuration that is about the tier of the store in ``path``; empty if it has none.

    Raises `StoreError` where days lie in another bucket than ``tier``, or in one that is not told.
    """
    marker = path / MARKER
    found = msgspec.json.decode(marker.read_bytes(), type=_Marker).bucket if marker.exists() else None
    if tier is None:
        if found is None:
            return ""
        if _has_parts(path):
            raise StoreError(f"days of the store lie in {found}: name it as --cold, with its endpoint and credentials")
        return _POLICY.format(disks=_NONE.format(path=escape(str(path))))
    if found not in {None, tier.bucket} and _has_parts(path):
        raise StoreError(f"days of the store lie in {found}, not in {tier.bucket}: name that as --cold")
    disks = _OBJECTS.format(
        name="bucket" if tier.cache_bytes else DISK,
        url=escape(tier.url),
        region=escape(tier.region),
        key=escape(tier.key),
        secret=escape(tier.secret),
        path=escape(str(path)),
    )
    if tier.cache_bytes:
        disks += _CACHE.format(size=tier.cache_bytes)
    return _SETTINGS + _POLICY.format(disks=disks)


def mark(tier: Tier, path: Path) -> None:
    """Note durably, before the first part goes there, that the store in ``path`` has a tier. Raises OSError."""
    text = msgspec.json.encode(_Marker(tier.bucket))
    marker = path / MARKER
    if marker.exists() and marker.read_bytes() == text:
        return
    made = marker.with_suffix(".new")
    with made.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    made.replace(marker)
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _has_parts(path: Path) -> bool:
    return any((path / "cold").glob("store/*/*/[0-9]*_*_*_*")) or any((path / "cold").glob("store/*/*/detached/*"))
