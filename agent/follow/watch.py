"""When to scan: on news from inotify, and every few seconds whether there is news or not."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiofiles.os import wrap

from agent.follow.discovery import Discovery
from agent.follow.inotify import Inotify
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.follow.discovery import Listing
    from agent.follow.generations import Container
    from agent.metrics import Metrics
    from agent.ship.collect import Collector

_log = logging.getLogger(__name__)

# With news from inotify a scan only reconciles, and a thousand containers cost it 15 ms; without, it is how files are
# found, and rotation gives ten seconds.
RECONCILE_EVERY_S: Final = 30.0
SCAN_EVERY_S: Final = 1.0
# After a scan, news is left to gather for this long: hundreds of pods that start at once are not a scan each.
_GATHER_S: Final = 0.05
# After an overflow of the kernel's queue, scans are as frequent as without inotify for this long: what made so many
# events may go on.
OVERFLOW_S: Final = 10.0
_WATCHES_HINT: Final = "raise the sysctl fs.inotify.max_user_watches or max_user_instances; until then scans do it"
_QUEUE_HINT: Final = "raise the sysctl fs.inotify.max_queued_events if it happens often; scans find what it missed"


class Watch:
    """Scans for files as long as `run` runs. Owns the inotify instance until `close` (idempotent)."""

    def __init__(
        self,
        pods_dir: str,
        collector: Collector,
        metrics: Metrics,
        *,
        use_inotify: bool = True,
        collects: Callable[[Container], bool] = lambda _: True,
    ) -> None:
        self.pods_dir = pods_dir
        self._collector = collector
        self._metrics = metrics
        self._discovery = Discovery(pods_dir, self._watch, collects=collects)
        self._news = asyncio.Event()
        self._use_inotify = use_inotify
        self._inotify: Inotify | None = None
        # Some directory could not be watched: inotify does not tell everything.
        self._is_partial = False
        # Why, if someone can do something about it: told in the log once, until it is over.
        self.trouble = ""
        self._overflowed_s = -OVERFLOW_S
        # No watch was left for one of them: this scan asks for none any more, the next one tries again.
        self._is_used_up = False
        # Why the scan under way was refused a watch.
        self._refused = ""
        self.scans = 0
        # Why the pods directory cannot be scanned, if it cannot.
        self.scan_trouble = ""
        metrics.ignored_files.set_function(lambda: float(self._discovery.ignored))
        metrics.inotify.set_function(lambda: float(self.has_inotify))
        metrics.excluded_containers.set_function(lambda: float(self.excluded))

    @property
    def has_inotify(self) -> bool:
        """Whether inotify tells of every change."""
        return self._inotify is not None and not self._is_partial and not self._has_overflowed

    @property
    def _has_overflowed(self) -> bool:
        return time.monotonic() < self._overflowed_s + OVERFLOW_S

    @property
    def excluded(self) -> int:
        """Containers that are not to be collected, as of the last scan."""
        return len(self._discovery.excluded)

    async def run(self) -> None:
        """Scan for ever."""
        try:
            while True:
                await self._scan()
                await asyncio.sleep(_GATHER_S)
                await self._wait(RECONCILE_EVERY_S if self.has_inotify and not self.trouble else SCAN_EVERY_S)
        finally:
            if self._inotify is not None:
                asyncio.get_running_loop().remove_reader(self._inotify.fileno())

    def close(self) -> None:
        """Give inotify back."""
        if self._inotify is not None:
            self._inotify.close()

    def _open(self) -> str:
        """Have an inotify instance, if that is wanted and possible now. Why not, if it is not."""
        if self._inotify is not None or not self._use_inotify:
            return ""
        try:
            self._inotify = Inotify()
        except OSError as error:
            return f"no inotify instance: {error.strerror}"
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._on_news)
        return ""

    async def _scan(self) -> None:
        began_s = time.monotonic()
        self._is_partial = self._is_used_up = False
        self._refused = self._open()
        try:
            listings = await wrap(self._discovery.scan)()
        except OSError as error:
            self._metrics.read_errors.inc()
            self.scan_trouble = f"{self.pods_dir} cannot be read: {error.strerror}"
            _log.warning("pods directory cannot be read", extra=fields(reason=error))
            return
        self.scan_trouble = ""
        self._metrics.scan_seconds.observe(time.monotonic() - began_s)
        if listings:
            _log.debug("containers changed", extra=fields(containers=len(listings)))
        if listings or not self.scans:
            await self._collector.update(listings)
        if not self.scans:
            self._tell_first(listings)
        self.scans += 1
        self._tell()

    def _tell(self) -> None:
        """Say once that inotify does not tell of everything, and once that it does again."""
        if self._refused and not self.trouble:
            _log.warning("scanning every second", extra=fields(reason=self._refused, remedy=_WATCHES_HINT))
            self.trouble = self._refused
        elif self.trouble and self.has_inotify:
            _log.info("inotify tells of every change again", extra=fields(was=self.trouble))
            self.trouble = ""

    def _tell_first(self, listings: list[Listing]) -> None:
        if not Path(self.pods_dir).is_dir():
            _log.warning("there is no pods directory; it may come", extra=fields(pods_dir=self.pods_dir))
            return
        files = sum(len(listing.entries) for listing in listings)
        _log.info("first scan", extra=fields(pods_dir=self.pods_dir, containers=len(listings), files=files))

    def _watch(self, directory: str) -> bool:
        """Called by the scan, in its thread, for a directory before it lists it. Whether changes of it are told."""
        if self._inotify is None or self._is_used_up:
            self._is_partial = True
            return False
        try:
            self._inotify.watch(directory)
        except NotADirectoryError:
            return True  # a file where a container's directory might be: nothing in it can change
        except FileNotFoundError:
            self._is_partial = True  # gone since it was found; or the pods directory, which is yet to come
        except OSError as error:
            self._is_partial = True
            self._is_used_up = error.errno == errno.ENOSPC
            self._refused = self._refused or f"{directory} cannot be watched: {error.strerror}"
        else:
            return True
        return False

    def _on_news(self) -> None:
        if self._inotify is not None and self._inotify.drain():
            if not self.trouble:
                self.trouble = "the kernel's queue of events was full"
                _log.warning("scanning every second", extra=fields(reason=self.trouble, remedy=_QUEUE_HINT))
            self._overflowed_s = time.monotonic()
            self._metrics.inotify_overflows.inc()
        self._news.set()

    async def _wait(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
