"""Environment variables that are named as if they were options, and are none: most likely a typing error.

A flag that does not exist ends the program, a key of the TOML file likewise; of a variable nobody knows for whom it
was set, so it is only said.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from typing import TYPE_CHECKING, Final

from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

_log = logging.getLogger(__name__)

PREFIX: Final = "LOGBOOM_"
# Of both programs: what is set for both at once is no error of the one that does not have it.
VARIABLES: Final = frozenset(
    PREFIX + name
    for name in (
        "AGGREGATOR_URL",
        "BATCH_BYTES",
        "CA_FILE",
        "CLUSTER",
        "COLD",
        "COLD_AFTER",
        "COLD_CACHE",
        "COLD_CREDENTIALS",
        "COLD_ENDPOINT",
        "COLD_REGION",
        "CONFIG",
        "DELETED_BYTES",
        "DELETED_FILES",
        "DELETED_HOLD",
        "DISK_RESERVE",
        "DROP",
        "EXCLUDE",
        "FLUSH_AFTER",
        "INCLUDE",
        "INGEST_MEMORY",
        "INOTIFY",
        "LISTEN",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MULTILINE",
        "PODS_DIR",
        "QUERY_CONCURRENT",
        "QUERY_MEMORY",
        "QUERY_TIME",
        "RATE",
        "RECORD_BYTES",
        "REDACT",
        "RETENTION",
        "RETENTION_NAMESPACE",
        "RETENTION_SIZE",
        "ROTATION_BYTES",
        "ROTATION_FILES",
        "RULES",
        "STORE",
        "STORE_PASSWORD_FILE",
        "TOKEN_FILE",
    )
)
# What Kubernetes sets in every container for each Service of the namespace, whose names may begin like that as well:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables; LOGBOOM_PORT is also what the
# Compose file calls the port on the host.
_OF_SERVICES: Final = re.compile(
    r"(.+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)", re.ASCII
)


def warn_of_unknown(command: click.Command) -> None:
    """Log every variable in the environment that is named as if it were an option of ``command``, and is none."""
    own = {option.envvar for option in command.params if isinstance(option.envvar, str)}
    for name, near in unknown(os.environ, own):
        _log.warning(
            "an environment variable is not known and is ignored",
            extra=fields(variable=name, did_you_mean=near) if near else fields(variable=name),
        )


def unknown(names: Iterable[str], own: Iterable[str]) -> list[tuple[str, str]]:
    """Those of ``names`` that are known to neither program; each with the nearest of a program's ``own``, or empty."""
    known = VARIABLES | set(own)
    found = []
    for name in sorted(set(names)):
        if name.startswith(PREFIX) and name not in known and not _OF_SERVICES.fullmatch(name.removeprefix(PREFIX)):
            # Compared without what all have in common, by which all are alike.
            ends = {each.removeprefix(PREFIX): each for each in own if each.startswith(PREFIX)}
            near = difflib.get_close_matches(name.removeprefix(PREFIX).upper(), sorted(ends), 1)
            found.append((name, ends[near[0]] if near else ""))
    return found
