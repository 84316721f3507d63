"""The files that are followed, and rounds of reading them.

Everything here blocks, and is called from one thread at a time (`collect.Collector` sees to that).

`agent.follow.following` has the files, `agent.follow.looking` says which have grown; here is who reads when.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from agent.errors import ReplacedError, UnpackError
from agent.follow.deleted import Hold
from agent.follow.following import Following
from agent.follow.gaps import count_gap, gap_round
from agent.follow.holding import Holding
from agent.follow.logfile import LogFile, Loss
from agent.follow.looking import Looking
from agent.follow.rate import Rates
from agent.follow.rounds import Part, Round
from agent.follow.unpacking import Unpacking
from agent.parse.assemble import Records, assemble, flush
from agent.parse.overlong import NOTE_BYTES_MAX, Overlong
from agent.parse.parsing import parsed
from agent.parse.stretch import Stretch, held, read
from agent.parse.unfinished import PATIENCE_S, Unfinished
from agent.records import join
from agent.records.carry import Carried, Carry, Verdict
from agent.report.accounts import Accounts, lag
from agent.report.forecast import Rotation
from agent.select.rules import Rules
from agent.select.sieve import Sieve
from wire.codec import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.follow.discovery import Listing
    from agent.metrics import Metrics
    from agent.parse.lines import Lines
    from agent.report.accounts import Account

# Read in a round over all files. Measured: half of it, of this or of one file's part (`stretch.READ_BYTES_MAX`), costs
# a seventh more CPU a line; twice of it saves nothing, and takes memory.
ROUND_BYTES_MAX: Final = 1 << 20


class Tail:
    """Follows files: owns every `LogFile`, so every open descriptor, until `close` (idempotent)."""

    def __init__(
        self,
        cluster: str,
        record_bytes_max: int,
        metrics: Metrics,
        *,
        hold: Hold | None = None,
        rotation: Rotation | None = None,
        rules: Rules | None = None,
        inotify: bool = True,
    ) -> None:
        record_bytes_max = min(record_bytes_max, RECORD_BYTES_MAX - NOTE_BYTES_MAX)
        self._record_bytes_max = record_bytes_max
        self._overlong = Overlong(record_bytes_max, metrics)
        self._joined_bytes_max = min(join.BYTES_MAX, record_bytes_max)
        self._metrics = metrics
        self._accounts = Accounts(rotation or Rotation())
        self._following = Following(cluster, metrics, hold or Hold(), self._accounts, rules or Rules())
        self._sieve = Sieve(record_bytes_max, metrics)
        self._rates = Rates(metrics)
        self._directories = self._following.directories
        self._sources = self._following.sources
        self._gaps = self._following.gaps
        self._looking = Looking(self._following, inotify=inotify)
        # As of the last look: files with something to read, those that were served last behind.
        self._ready: dict[LogFile, None] = {}
        # Those that have something to read, but whose pod is over its rate; those whose turn to be unpacked is to come,
        # or of which it is not known whether they go on with the file before.
        self._deferred: list[LogFile] = []
        self._queued: list[LogFile] = []
        self._holding = Holding()
        self._carry = Carry(self._directories, record_bytes_max, self._joined_bytes_max)
        self._carried: list[Round] = []
        self._unpacking = Unpacking()
        self._unfinished = Unfinished(record_bytes_max, self._following.set_aside, metrics)
        # Whether it is known which files there are.
        self.is_scanned = False

    def files(self) -> Iterator[LogFile]:
        """Every followed file."""
        return self._following.files()

    def containers(self) -> Iterator[tuple[Account, list[LogFile]]]:
        """The account and the files, oldest first, of every container that has some."""
        for directory, files in self._directories.items():
            yield self._accounts.of(directory), files

    def update(self, listing: Listing) -> None:
        """Follow what ``listing`` shows of a container: new files, renamed ones, those that went away."""
        self.is_scanned = True
        self._following.update(listing)
        self._looking.written[listing.directory] = None

    def look(self) -> bool:
        """See which files have grown; open, identify and close where it is time. Whether something can be read."""
        now_s = time.monotonic()
        # Before anyone is seen to have grown: those that were read to their end have nothing that cannot wait.
        left = [file for file in self._ready if file.readable]
        closing = self._holding.close(now_s, self._carry)
        found = self._looking.look(now_s)
        self._find_ready((*self._deferred, *self._queued, *left, *found, *closing), now_s)
        return bool(self._ready)

    @property
    def waiting(self) -> bool:
        """Whether some file waited to be placed when it was looked at last."""
        return self._looking.waiting

    @property
    def are_many(self) -> bool:
        """Whether many files had grown when they were looked at last: it is enough to look half as often."""
        return self._looking.are_many

    @property
    def readable(self) -> bool:
        """Whether more can be read of what the last look found."""
        return any(file.readable for file in self._ready)

    def _find_ready(self, files: Iterable[LogFile], now_s: float) -> None:
        """Those of ``files`` that can be read now; of a pod that is over its rate, who has waited comes first."""
        self._ready, self._deferred, self._queued = {}, [], []
        for file in dict.fromkeys(files):
            if file.readable:
                if self._rates.defers(file, now_s):
                    self._deferred.append(file)
                else:
                    self._ready[file] = None

    def _unsettle(self) -> None:
        """Look over every file next time."""
        self._following.unsettled.update(dict.fromkeys(self._directories))

    def unplaced(self) -> list[bytes]:
        """Sources that wait for the aggregator to say where to read on."""
        now_s = time.monotonic()
        files = [source for source, file in self._sources.items() if file.awaits_place(now_s)]
        return files + self._gaps.unplaced()

    def advance(self, positions: Mapping[bytes, int]) -> dict[bytes, int]:
        """Take what the store holds of files that are where that lets them be, without I/O; the rest is for `place`."""
        self._gaps.place(positions)
        others = {}
        for source, position in positions.items():
            file = self._sources.get(source)
            if file is not None and file.placed and file.committed <= position <= file.shipped:
                self._accounts.of(file.directory).committed_bytes += position - file.committed
                file.committed = position
            elif file is not None:
                others[source] = position
        return others

    def place(self, positions: Mapping[bytes, int]) -> bool:
        """Take what the store holds, by source. Whether some file was not where that lets it be.

        Then what was read on from there is of no use: `rewind`.
        """
        astray = False
        for source, position in self.advance(positions).items():
            file = self._sources[source]
            astray = astray or file.placed
            self._place(file, position)
        return astray

    def close_held(self) -> None:
        """Have the lines that are held delivered with the next round, as far as they go."""
        closing = self._holding.close(math.inf)
        self._find_ready((*self._ready, *closing), time.monotonic())

    def displace(self) -> None:
        """Know of no file any more where to read on: the store may not be the one it was."""
        for file in self.files():
            file.displace()
        self._gaps.displace()
        self._unsettle()
        self._measure_lag(self.files(), time.monotonic())

    def rewind(self) -> None:
        """Go back to what is committed, in every file: what was read since is forgotten."""
        for file in self.files():
            if file.placed and not file.shipped == file.read == file.committed:
                self._place(file, file.committed)
        self._gaps.rewind()

    def read_round(self) -> list[Round]:
        """The next records, a bounded number of bytes of them, every container in its turn; none if there are none."""
        blocks = list(self._blocks())
        rounds = self._carried + self._rounds(blocks)
        self._carried = []
        found = self._unfinished.beyond_limit([block.file for block in blocks])
        return rounds + [self._round(records, [file]) for file, records in found]

    def overdue(self) -> list[Round]:
        """Lines whose end has not come for long, as they stand; a bounded number of bytes of them."""
        found = self._unfinished.overdue(self._looking.restless(), time.monotonic() - PATIENCE_S)
        return [self._round(records, [file]) for file, records in found]

    def lost(self) -> list[Round]:
        """The records of what was found to be lost, and of lines that were held of it; to be called after a round."""
        rounds = self._rounds([held(file) for file in self._following.take_left()])
        for file in self._following.take_spoilt():
            if file.held:
                rounds += self._rounds([held(file)])
            records = flush(file.assembly, file.read)
            if records is not None:
                rounds.append(self._round(records, [file]))
            end = file.read + 1
            # Else it stands in the store already.
            if file.shipped < end:
                if not file.spoilt:
                    count_gap(self._metrics, self._accounts, file, None, Loss.CORRUPT)
                rounds.append(gap_round([(file, file.shipped, end, None, Loss.CORRUPT)]))
                file.shipped = end
            file.spoilt = True
            file.stop_at(file.shipped)
        return rounds + self._gaps.rounds(time.monotonic())

    def measure(self) -> None:
        """Bring the gauges up to date."""
        files = list(self.files())
        self._metrics.files.set(len(files))
        self._metrics.open_files.set(len([file for file in files if file.fd is not None]))
        now_s = time.monotonic()
        if self.is_scanned:
            # Who is to be looked over may be at rest no more.
            restless = (file for mine in self._looking.restless() for file in mine)
            self._measure_lag(files if self._following.unsettled else restless, now_s)
        self._metrics.rotation_forecast.set(self._accounts.measure(self._directories, self._looking.written, now_s))
        self._looking.written.clear()
        self._rates.measure(self._deferred, now_s)
        self._metrics.open_line_bytes.set(self._unfinished.held_bytes + self._holding.held_bytes)

    def _measure_lag(self, files: Iterable[LogFile], now_s: float) -> None:
        found = lag(files, now_s)
        self._metrics.lag_bytes.set(found.bytes if found.is_known else math.nan)
        self._metrics.lag_seconds.set(found.seconds if found.is_known else math.nan)
        self._metrics.unplaced_files.set(found.unplaced)

    def close(self) -> None:
        """Close every file."""
        self._following.close()
        self._looking.close()
        self._ready.clear()

    def _place(self, file: LogFile, position: int) -> None:
        def place() -> None:
            file.open()
            file.place(position)

        file.placed = self._following.attempt(file, place)

    def _blocks(self) -> Iterator[Stretch]:
        """Lines of one file of each container in turn, until the round is full."""
        now_s = time.monotonic()
        size = 0
        served: set[str] = set()
        for ready in list(self._ready):
            # Only the oldest one of a container that has something: generations are read one after another.
            if ready.directory in served:
                continue
            oldest = self._oldest(ready.directory)
            if oldest is None:
                continue
            served.add(ready.directory)
            if self._rates.defers(oldest, now_s):  # another container of its pod has just been read
                self._ready.pop(ready)
                self._deferred.append(ready)
                continue
            file = self._carry_over(oldest, now_s)
            if file is None or not self._unpacking.admits(file, self._deferred):
                self._ready.pop(ready)
                self._queued.append(ready)
                continue
            block = self._read(file)
            # Whoever was served comes last next time, and whoever had its turn.
            del self._ready[ready]
            self._ready[ready] = None
            if oldest is not ready:
                self._ready.pop(oldest, None)
                self._ready[oldest] = None
            if block is not None:
                self._rates.take(file, len(block.data), now_s)
                yield block
                size += block.segment.size
                if size >= ROUND_BYTES_MAX:
                    break

    def _oldest(self, directory: str) -> LogFile | None:
        """The first file of ``directory`` that can be read."""
        for file in self._directories.get(directory, ()):
            if file.readable:
                return file
        return None

    def _read(self, file: LogFile) -> Stretch | None:
        """The next whole lines of ``file``; None if it has none."""
        try:
            return read(file, self._record_bytes_max)
        except ReplacedError:
            self._following.start_over(file)
        except UnpackError as error:
            self._following.spoil(file, error)
        except OSError as error:
            self._following.set_aside(file, error)
        return None

    def _carry_over(self, file: LogFile, now_s: float) -> LogFile | None:
        """See to what is open at the end of the file before ``file``. Which of both is read now; None if neither."""
        before = self._carry.before(file)
        found = Verdict.NOTHING if before is None else self._carry.decide(before, file, now_s)
        if before is None or found is Verdict.NOTHING:
            return file
        if found is Verdict.WAIT:
            return None
        if found is Verdict.APART and before.held:
            before.closing = True
            return before
        if isinstance(found, Carried):
            self._carried.append(self._round(found.records, [before, file], joint=True))
            self._metrics.carried_records.inc(found.count)
            if found.left_out:
                self._overlong.count(file.entry.path, found.left_out)
            found.leave(before, file)
            self._rates.take(file, found.position, now_s)
            self._count_read([(file, found.position)])
        else:
            self._carried += [self._round(records, [before]) for _, records in self._unfinished.rotated(before)]
        return file

    def _rounds(self, blocks: list[Stretch]) -> list[Round]:
        """The records of ``blocks``, in one round; none if there are none."""
        blocks, lines = parsed(blocks)
        if lines is None:
            return []
        self._count_read([(block.file, len(block.data)) for block in blocks])
        return [self._joined(blocks, lines)]

    def _joined(self, blocks: list[Stretch], lines: Lines) -> Round:
        segments = [block.segment for block in blocks]
        files = [block.file for block in blocks]
        opened = [bool(file.assembly.open_lines) for file in files]
        records = assemble(lines, [file.assembly for file in files], segments, self._record_bytes_max)
        now_ns = time.time_ns()
        joined = join.join(
            records, list(self._holding.segments(blocks, opened, now_ns, self._carry)), self._joined_bytes_max
        )
        found = self._round(joined.records, files)
        self._holding.hold(blocks, joined, now_ns)
        return found

    def _count_read(self, found: list[tuple[LogFile, int]]) -> None:
        """Count new bytes of files."""
        self._metrics.read_bytes.inc(sum(size for _, size in found))
        for file, size in found:
            self._accounts.of(file.directory).read_bytes += size

    def _round(self, records: Records, files: list[LogFile], *, joint: bool = False) -> Round:
        """What is left of ``records`` by the rules of ``files``; a file is reached further also if nothing is left.

        ``joint``: the records of the first of two files go on in the second.
        """
        lasts = (records.rows.cumsum() - 1).tolist()
        for file, rows, last in zip(files, records.rows.tolist(), lasts, strict=True):
            if rows:
                file.time_ns = int(records.times[last])
                if file.assembly.left_out and (left_out := file.assembly.take_left_out(int(records.positions[last]))):
                    self._overlong.count(file.entry.path, left_out)
        left = self._sieve.sift(records, [file.treatment for file in files])
        parts = []
        for file, rows, end in zip(files, left.rows.tolist(), left.ends.tolist(), strict=True):
            if rows or end > file.shipped:
                parts.append(Part(file, file.shipped, end, rows, joint=joint and file is files[0]))
                file.shipped = end
        return Round(left, tuple(parts))
