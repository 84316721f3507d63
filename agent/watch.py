"""When to scan: on news from inotify, and every few seconds whether there is news or not."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiofiles.os import wrap

from agent.discovery import Discovery
from agent.inotify import Inotify
from service.logs import fields

if TYPE_CHECKING:
    from agent.collect import Collector
    from agent.discovery import Listing
    from agent.metrics import Metrics

_log = logging.getLogger(__name__)

# With news from inotify a scan only reconciles; without, it is how files are found, and rotation gives ten seconds.
RECONCILE_EVERY_S: Final = 10.0
SCAN_EVERY_S: Final = 1.0
# After a scan, news is left to gather for this long: hundreds of pods that start at once are not a scan each.
_GATHER_S: Final = 0.05
_WATCHES_HINT: Final = "raise the sysctl fs.inotify.max_user_watches or max_user_instances; until then scans do it"


class Watch:
    """Scans for files as long as `run` runs. Owns the inotify instance until `close` (idempotent)."""

    def __init__(self, pods_dir: str, collector: Collector, metrics: Metrics, *, use_inotify: bool = True) -> None:
        self.pods_dir = pods_dir
        self._collector = collector
        self._metrics = metrics
        self._discovery = Discovery(pods_dir, self._watch)
        self._news = asyncio.Event()
        self._inotify: Inotify | None = None
        # Some directory could not be watched: inotify does not tell everything.
        self._is_partial = False
        # No watch was left for one of them: this scan asks for none any more, the next one tries again.
        self._is_used_up = False
        self.scans = 0
        # Why the pods directory cannot be scanned, if it cannot.
        self.trouble = ""
        if use_inotify:
            try:
                self._inotify = Inotify()
            except OSError as error:
                _log.warning("no inotify", extra=fields(reason=error.strerror, remedy=_WATCHES_HINT))
        metrics.ignored_files.set_function(lambda: float(self._discovery.ignored))
        metrics.inotify.set_function(lambda: float(self.has_inotify))

    @property
    def has_inotify(self) -> bool:
        """Whether inotify tells of every change."""
        return self._inotify is not None and not self._is_partial

    async def run(self) -> None:
        """Scan for ever."""
        loop = asyncio.get_running_loop()
        if self._inotify is not None:
            loop.add_reader(self._inotify.fileno(), self._on_news)
        try:
            while True:
                await self._scan()
                await asyncio.sleep(_GATHER_S)
                await self._wait(RECONCILE_EVERY_S if self.has_inotify else SCAN_EVERY_S)
        finally:
            if self._inotify is not None:
                loop.remove_reader(self._inotify.fileno())

    def close(self) -> None:
        """Give inotify back."""
        if self._inotify is not None:
            self._inotify.close()

    async def _scan(self) -> None:
        began_s = time.monotonic()
        self._is_partial = self._is_used_up = False
        try:
            listings = await wrap(self._discovery.scan)()
        except OSError as error:
            self._metrics.read_errors.inc()
            self.trouble = f"{self.pods_dir} cannot be read: {error.strerror}"
            _log.warning("pods directory cannot be read", extra=fields(reason=error))
            return
        self.trouble = ""
        self._metrics.scan_seconds.observe(time.monotonic() - began_s)
        if listings:
            _log.debug("containers changed", extra=fields(containers=len(listings)))
            await self._collector.update(listings)
        if not self.scans:
            self._tell_first(listings)
        self.scans += 1

    def _tell_first(self, listings: list[Listing]) -> None:
        if not Path(self.pods_dir).is_dir():
            _log.warning("there is no pods directory; it may come", extra=fields(pods_dir=self.pods_dir))
            return
        files = sum(len(listing.entries) for listing in listings)
        _log.info("first scan", extra=fields(pods_dir=self.pods_dir, containers=len(listings), files=files))

    def _watch(self, directory: str) -> None:
        """Called by the scan, in its thread, for every directory before it lists it."""
        if self._inotify is None or self._is_used_up:
            return
        try:
            self._inotify.watch(directory)
        except NotADirectoryError:
            return  # a file where a container's directory might be: nothing in it can change
        except FileNotFoundError:
            self._is_partial = True  # gone since it was found; or the pods directory, which is yet to come
        except OSError as error:
            self._is_partial = True
            self._is_used_up = error.errno == errno.ENOSPC
            hint = _WATCHES_HINT if self._is_used_up else "scans do it"
            _log.warning("directory cannot be watched", extra=fields(directory=directory, reason=error, remedy=hint))

    def _on_news(self) -> None:
        if self._inotify is not None:
            self._inotify.drain()
        self._news.set()

    async def _wait(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
