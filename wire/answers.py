"""The JSON the aggregator answers an agent with.

Sources travel as 32 lower-case hexadecimal digits, positions as integers.
"""

from __future__ import annotations

import msgspec

# Every answer of `/v1/*` carries this header. Its value changes whenever committed positions may have changed in a
# way the agent did not cause: another store (wiped, restored) or another process. An agent that sees a new value asks
# for the positions of all its sources again.
STORE_HEADER = "Logboom-Store"

# One GET /v1/positions names at most this many sources: 40 bytes each, `&source=` and all, keep the request line under
# the 8 KiB that HTTP servers and proxies commonly accept, beside the longest escaped names of a cluster and a node.
SOURCES_PER_REQUEST_MAX = 150


class Committed(msgspec.Struct, frozen=True):
    """Positions the store holds durably: 200 and 409 of `POST /v1/batches`, 200 of `GET /v1/positions`.

    ``committed`` maps every source asked about to its position; 0 for a source the store does not know.
    A position may be lower than what was sent: the agent goes back to it and reads on from there.
    """

    committed: dict[str, int]


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was refused: every 4xx and 5xx answer.

    ``parameter`` names the field, parameter or broken rule; ``hint`` says what to do about it.
    """

    error: str
    parameter: str = ""
    hint: str = ""
