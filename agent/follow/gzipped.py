"""A compressed generation, followed like the others: unpacked as it is read, a piece at a time.

Offsets are those in the uncompressed file, so source and positions are the plain file's. There is no way back in a
stream: to read on from a position, everything before it is unpacked and thrown away, a bounded number of bytes a step;
what is kept is the line that is open.

`size` is what the trailer says (ISIZE: the uncompressed size modulo 4 GiB, of the last member) until the end has been
read: a guess, kept above `searched` as long as there may be more. Kubelet and Docker write single members of less, so a
committed position that *is* the trailer's says that everything is committed, and nothing is unpacked to find out.
https://www.rfc-editor.org/rfc/rfc1952
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Final

from agent.errors import UnpackError
from agent.follow.identity import first_line
from agent.follow.logfile import LogFile
from agent.select.rules import PLAIN

if TYPE_CHECKING:
    from agent.follow.discovery import Entry
    from agent.follow.generations import Container
    from agent.select.rules import Treatment

# zlib's number for a stream with gzip's header and trailer, which it checks.
_GZIP: Final = 16 + zlib.MAX_WBITS
_TRAILER_BYTES: Final = 8
# Header, an empty block, trailer: what is shorter is no gzip file.
_LEAST_BYTES: Final = 20
_PACKED_BYTES: Final = 32 << 10
# Unpacked in one call. Where a file is corrupt, the whole last piece is lost; always the same, in whatever steps it is
# read, so that its gap has the same position every time.
_PIECE_BYTES: Final = 64 << 10
_HEAD_BYTES: Final = 4 << 10
# Unpacked for one stretch; half of a plain file's, for there is a second copy.
_STRETCH_BYTES: Final = 256 << 10
# Unpacked and thrown away in one step: about four milliseconds.
SKIP_BYTES_MAX: Final = 1 << 20


class Unpacker:
    """The uncompressed bytes of the gzip file behind ``descriptor``, which is its owner's, from the first one on."""

    def __init__(self, descriptor: int, piece_bytes: int = _PIECE_BYTES) -> None:
        self._descriptor = descriptor
        self._piece_bytes = piece_bytes
        self._packed = b""
        self._packed_offset = 0
        # None between members; the first one has to be there.
        self._member: zlib._Decompress | None = zlib.decompressobj(_GZIP)
        self.offset = 0

    def piece(self) -> bytes:
        """The next bytes; empty at the end. Raises `UnpackError`, `OSError`."""
        while True:
            if not self._packed:
                self._packed = os.pread(self._descriptor, _PACKED_BYTES, self._packed_offset)
                self._packed_offset += len(self._packed)
            is_over = not self._packed
            if self._member is None:
                self._packed = self._packed.lstrip(b"\0")  # padding, which gzip(1) allows
                if is_over:
                    return b""
                if not self._packed:
                    continue
                self._member = zlib.decompressobj(_GZIP)
            piece = self._unpacked(self._member)
            if piece:
                self.offset += len(piece)
                return piece
            if is_over and self._member is not None:
                raise UnpackError("the gzip file ends early", is_cut=True)

    def _unpacked(self, member: zlib._Decompress) -> bytes:
        try:
            piece = member.decompress(self._packed, self._piece_bytes)
        except zlib.error as error:
            raise UnpackError(str(error), is_cut=False) from error
        self._packed = member.unconsumed_tail
        if member.eof:
            self._packed = member.unused_data
            self._member = None
        return piece


class GzippedFile(LogFile):
    """A `LogFile` that is gzipped. Owns its descriptor, and while it is read its unpacker, until `close`."""

    __slots__ = (
        "_ahead",
        "_end",
        "_error",
        "_held",
        "_left_out",
        "_open_at",
        "_packed_size",
        "_seek",
        "_trailer",
        "_unpacker",
        "last_line",
    )

    def __init__(self, directory: str, container: Container, entry: Entry, treatment: Treatment = PLAIN) -> None:
        super().__init__(directory, container, entry, treatment)
        self._packed_size = entry.size
        self._unpacker: Unpacker | None = None
        # The uncompressed size, once it is known.
        self._end: int | None = None
        # Where reading is to go on: to be unpacked up to here before anything is given out.
        self._seek = 0
        self._start_again()
        self._trailer: int | None = None
        # What there is of a last line without its newline; of a long one the beginning.
        self.last_line = b""
        self.size = 1

    def _start_again(self) -> None:
        self._unpacker = None
        # Unpacked: the line at `_open_at` as far as it is known, what is left out of its middle, what comes behind.
        self._held = b""
        self._left_out = 0
        self._ahead = b""
        self._open_at = 0
        self._error: UnpackError | None = None

    def open(self) -> None:
        """Open the file, if it is not. Raises `OSError`; `FileNotFoundError` if another has taken its name."""
        if self.fd is None:
            super().open()
            self._measure()

    def close(self) -> None:
        """Give descriptor and unpacker back; reading can go on where it stands."""
        self.rest()
        super().close()

    def rest(self) -> None:
        """Give the unpacker back: reading on begins by unpacking what has been read."""
        if self._unpacker is not None:
            if self._unpacker.offset >= self._seek:
                self._seek = self.searched = self.read
            self._start_again()

    def is_unchanged(self, entry: Entry) -> bool:
        """Whether ``entry`` may be this file, seen while it was closed."""
        return (self._packed_size, self.entry.modified_ns) == (entry.size, entry.modified_ns)

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""
        return self._packed_size

    @property
    def is_unpacking(self) -> bool:
        """Whether memory is held for reading it."""
        return self._unpacker is not None

    @property
    def extent(self) -> int | None:
        """The uncompressed size; None where it is not known."""
        if self._end is None and self.size == self._trailer and self._trailer > self.shipped:
            return self._trailer
        return self._end

    def estimate(self) -> None:
        """Nothing is to be learnt without opening it."""

    def look(self, now_s: float) -> bool:
        """See whether someone still writes it; whether it was begun anew."""
        if self.fd is None:
            return False
        packed_size = os.lseek(self.fd, 0, os.SEEK_END)
        if packed_size == self._packed_size:
            return False
        is_shrunk = packed_size < self._packed_size
        self.grown_s = now_s
        if self.source is None:
            self.searched = 0
            self._end = None
        self._measure()
        return is_shrunk and self.source is not None

    def identify(self, cluster: str, *, is_over: bool) -> None:
        """Find source and format, if a first line is in it; or if it ``is_over``, a part. Raises `UnpackError`."""
        unpacker = Unpacker(self.descriptor, _HEAD_BYTES)
        head = b""
        while (line := first_line(head)) is None:
            piece = unpacker.piece()
            if not piece and is_over and head:
                line = head
                break
            if not piece:
                self.stop_at(len(head))
                return
            head += piece
        self._is_known(cluster, head, line)

    def forget(self) -> None:
        """Start over, as another file."""
        super().forget()
        self._start_again()
        self._end = None
        self._measure()

    def place(self, position: int) -> None:
        """Read on from ``position``, as soon as what is before it has been unpacked; never if there is no more."""
        self._place_at(position, position)
        self._start_again()
        self._seek = position
        if self._end is not None and position < self._end:
            self._end = None  # whatever ended it, the end of the file or of what can be unpacked, is found again
        is_over = position == self._trailer if self._end is None else True
        self.size = position if is_over else max(self._trailer or 1, position + 1)

    def skip(self, position: int, line_start: int) -> None:  # noqa: ARG002 - found by unpacking
        """Read on from ``position``, shipped with the file before it; without I/O."""
        committed = self.committed
        self.place(position)
        self.committed = committed

    def head(self, size: int) -> tuple[bytes, bool]:
        """The first ``size`` bytes or more, or all; and whether those are all. Raises `OSError`, `UnpackError`."""
        unpacker = Unpacker(self.descriptor)
        pieces: list[bytes] = []
        while unpacker.offset < size:
            piece = unpacker.piece()
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
        return b"".join(pieces), False

    def unpack(self, kept_bytes_max: int) -> tuple[bytes, int, int] | None:
        """The next whole lines, the offset of the first, and what is left out of the last; None if there are none yet.

        Of a line longer than ``kept_bytes_max`` perhaps only the beginning, placed so that its end lies where it does.
        Raises `UnpackError`, `OSError`.
        """
        if self._error is not None:
            raise self._error
        if self._unpacker is None:
            self._unpacker = Unpacker(self.descriptor)
        unpacker = self._unpacker
        if unpacker.offset < self._seek and not self._skip(unpacker, kept_bytes_max):
            return None
        pieces = [self._ahead]
        size = len(self._ahead)
        self._ahead = b""
        is_over = False
        try:
            while size < _STRETCH_BYTES and not is_over:
                piece = unpacker.piece()
                pieces.append(piece)
                size += len(piece)
                is_over = not piece
        except UnpackError as error:
            if not size:
                raise
            self._error = error
        found = self._cut(b"".join(pieces), kept_bytes_max)
        self.searched = self.read + len(self._held) + self._left_out
        if is_over and not self._ahead:
            self.last_line = self._held
            self.stop_at(unpacker.offset)
        else:
            self.size = max(self.size, self.searched + 1)
        return found

    def stop_at(self, end: int) -> None:
        """Take ``end`` for the file's size; what is not read will not be."""
        self._start_again()
        self._end = self.size = end
        self.searched = max(self.read, end)

    def _skip(self, unpacker: Unpacker, kept_bytes_max: int) -> bool:
        """Unpack on to where reading is to go on, remembering the line that is open there; whether that is reached."""
        until = unpacker.offset + SKIP_BYTES_MAX
        while unpacker.offset < self._seek:
            if unpacker.offset >= until:
                return False
            start = unpacker.offset
            piece = unpacker.piece()
            if not piece:
                # A shorter copy of what was read once.
                self.stop_at(start)
                return False
            before, self._ahead = piece[: self._seek - start], piece[self._seek - start :]
            newline = before.rfind(b"\n")
            if newline >= 0:
                self._open_at = start + newline + 1
                self._keep_open(before[newline + 1 :], kept_bytes_max)
            elif self._left_out:
                self._left_out += len(before)
            else:
                self._keep_open(self._held + before, kept_bytes_max)
        self.read = self._open_at
        return True

    def _cut(self, data: bytes, kept_bytes_max: int) -> tuple[bytes, int, int] | None:
        if self._left_out:
            end = data.find(b"\n") + 1
            if not end:
                self._left_out += len(data)
                return None
            line, left_out = self._held + b"\n", self._left_out + end - 1
            self.read += len(line) + left_out
            self._held, self._left_out, self._ahead = b"", 0, data[end:]
            return line, self.read - len(line), left_out
        block = self._held + data
        end = block.rfind(b"\n") + 1
        start = self.read
        self.read += end
        self._keep_open(block[end:], kept_bytes_max)
        return (block[:end], start, 0) if end else None

    def _keep_open(self, line: bytes, kept_bytes_max: int) -> None:
        """Hold the open ``line``: of one that is too long the beginning."""
        self._held = line[:kept_bytes_max]
        self._left_out = len(line) - len(self._held)

    def _measure(self) -> None:
        """See how large the file is, packed and, by its trailer, unpacked."""
        self._packed_size = os.lseek(self.descriptor, 0, os.SEEK_END)
        if self._packed_size >= _LEAST_BYTES:
            trailer = os.pread(self.descriptor, _TRAILER_BYTES, self._packed_size - _TRAILER_BYTES)
            self._trailer = int.from_bytes(trailer[4:], "little")
        if not self.placed and self._end is None:
            self.size = max(1, self._trailer or 1)
