"""Variables that are named as options and are none."""

from __future__ import annotations

import pytest

from agent.__main__ import main as agent
from aggregator.__main__ import main as aggregator
from service.environment import PREFIX, VARIABLES, unknown

OWN = {"LOGBOOM_LISTEN", "LOGBOOM_RECORD_BYTES", "LOGBOOM_PODS_DIR", "NODE_NAME"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["PATH", "NODE_NAM", "LOGBOOM", "LOGBOOM_LISTEN"], []),
        (["LOGBOOM_LISTN"], [("LOGBOOM_LISTN", "LOGBOOM_LISTEN")]),
        (["LOGBOOM_RECORDS_BYTES"], [("LOGBOOM_RECORDS_BYTES", "LOGBOOM_RECORD_BYTES")]),
        (["LOGBOOM_pods_dir"], [("LOGBOOM_pods_dir", "LOGBOOM_PODS_DIR")]),
        (["LOGBOOM_XYZZY", "LOGBOOM_"], [("LOGBOOM_", ""), ("LOGBOOM_XYZZY", "")]),
        # The other program's.
        (["LOGBOOM_STORE", "LOGBOOM_RETENTION"], []),
        # What Kubernetes sets for Services.
        (["LOGBOOM_SERVICE_HOST", "LOGBOOM_PORT", "LOGBOOM_AGGREGATOR_SERVICE_PORT_HTTP"], []),
        (["LOGBOOM_AGGREGATOR_PORT_8080_TCP_ADDR", "LOGBOOM_AGGREGATOR_PORT_8080_TCP"], []),
        (["LOGBOOM_PORTS"], [("LOGBOOM_PORTS", "")]),
    ],
)
def test_what_is_not_known(names: list[str], found: list[tuple[str, str]]) -> None:
    assert unknown(names, OWN) == found


def test_the_variables_are_those_of_both_programs() -> None:
    options = [option for program in (agent, aggregator) for option in program.params]
    assert {str(option.envvar) for option in options if str(option.envvar).startswith(PREFIX)} == VARIABLES
