"""Bytes of a file to records: lines as columns, the runtime's format, partial lines.

stretch     whole lines of one file, as read
excerpts    pieces of a text, copied one after another
lines       blocks of whole lines as columns; which format a file has
timestamps  the times in the columns
cri         parser: the format of containerd and CRI-O
docker      parser: the format of Docker's json-file driver
escapes     what is escaped in its text
parsing     the lines of what was read, by the parser of each file
assemble    partial lines to records, and the positions of records
partials    which partial lines make one record, and when
overlong    what is left out of lines over the limit
unfinished  lines without an end, as they stand
"""
