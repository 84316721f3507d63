"""The aggregator against the plain evaluator, on queries and data made by chance: line by line, sample by sample.

``HYPOTHESIS_PROFILE=long`` tries a hundred times as many.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, event, given, settings

from aggregator.errors import StoreError
from aggregator.logql.tree import ERROR_DETAILS
from aggregator.query import logs, metrics
from aggregator.query.budget import Budget
from aggregator.store import schema
from aggregator.store.engine import Engine, Limits
from aggregator.store.streams import stream_id
from tests.logql import generated
from tests.logql.datasets import SPAN_DAY, START_NS
from tests.logql.evaluator import log_query, metric_query
from tests.logql.series import EvaluationError, UndecidedError
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggregator.logql.metric import MetricQuery
    from aggregator.logql.tree import Query
    from tests.logql.labels import Record
