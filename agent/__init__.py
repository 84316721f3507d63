"""Tails the pod logs of one node and ships them to the aggregator. Keeps nothing on disk.

config       the command line
app          puts the parts together, owns every task and resource
discovery    which containers the node has, and the files of each
generations  what a file's name says: live, rotated, gzipped; in which order to read them
inotify      news that a directory changed
watch        when to scan
identity     the source of a file, from its own first line
tail         the files that are followed, and rounds of reading them
logfile      one followed file: where reading stands, its open partial lines
stretch      whole lines of one file, as read
lines        blocks of whole lines as columns; which format a file has
timestamps   the times in the columns
cri          parser: the format of containerd and CRI-O
docker       parser: the format of Docker's json-file driver
assemble     partial lines to records, and the positions of records
partials     which partial lines make one record, and when
unfinished   lines without an end, as they stand
batch        records of many files to one batch; halves of a batch
collect      reads rounds into batches, hands one over at a time
client       HTTP to the aggregator: what each answer means
ship         sends batches until they are committed
backoff      how long to wait before trying again
positions    asks where to read on
status       what the agent is doing, over HTTP
memory       how the C library keeps freed memory
metrics      what an operator watches
errors       what can go wrong, as types
"""
