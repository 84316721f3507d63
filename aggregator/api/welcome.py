"""GET /: what this is and what can be asked, for whoever comes with curl."""

from __future__ import annotations

import datetime as dt
from typing import Final

from aiohttp import web

# What the example of a range covers: there are records in it wherever there are any now.
_RANGE: Final = dt.timedelta(minutes=10)
_TEXT: Final = """logboom: the logs of every pod, in one place

  the newest lines           curl '{at}/query'
  as they are searched for   curl '{at}/query?namespace=shop&pod=cart-*&level=error&since=15m'
  text, not text, RE2        curl '{at}/query?grep=timeout&not=healthz&regex=took+%5Cd%7B4,%7Dms'
  one JSON object a line     curl '{at}/query?format=json&limit=10'
  everything of a range      curl '{at}/query?limit=0&start={start}&end={end}'
  counts by level            curl '{at}/histogram?since=15m'
  with colours               curl '{at}/query?color=always'
  as they are committed      curl -N '{at}/tail?namespace=shop&level=error'
  by LogQL, from the last 5  curl -N '{at}/tail?lines=5&q=%7Bnamespace%3D%22shop%22%7D+%7C+json'
  names of labels            curl '{at}/labels'
  values of a label          curl '{at}/labels/pod/values?namespace=shop'
  every stream's labels      curl '{at}/streams'
  every node's agent         curl '{at}/nodes'
  what is stored of what     curl '{at}/completeness'
  what was to be deleted     curl '{at}/delete'
  all of this, formally      curl '{at}/openapi.json'
  alive, ready               curl '{at}/healthz' '{at}/readyz'
  figures for Prometheus     curl '{at}/metrics'

/query takes LogQL as q; /context?source=&position= gives the lines around one, both as answers in JSON name them;
Grafana and logcli find Loki's API under /loki/api/v1. POST /delete deletes records, /delete/<id> says how far that is.
Agents send to POST /v1/batches and /v1/heartbeats, and ask GET /v1/positions.
"""


async def welcome(request: web.Request) -> web.Response:
    """The page, with lines that work when copied."""
    headers = {"X-Content-Type-Options": "nosniff"}
    now = dt.datetime.now(dt.UTC)
    start, end = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (now - _RANGE, now))
    text = _TEXT.format(at=f"{request.scheme}://{request.host}", start=start, end=end)
    return web.Response(text=text, headers=headers)
