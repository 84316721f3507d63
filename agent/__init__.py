"""Tails the pod logs of one node and ships them to the aggregator. Keeps nothing on disk.

config       the command line
app          puts the parts together, owns every task and resource
rules        what is to be done with a container's log, by globs
expression   a regex over many records at once
beginnings   whether records begin with what it matches
redaction    what is found and replaced
hints        where to look for it
readymade    redactions by name
discovery    which containers the node has, and the files of each
generations  what a file's name says: live, rotated, gzipped; in which order to read them
inotify      news that a directory changed, or a file was written to
watch        when to scan
identity     the source of a file, from its own first line
tail         rounds of reading the files that are followed
looking      looks at them: which have grown, which containers are to be looked over
asking       who is asked for its size, and how often
bell         rings when a file that sleeps is written to
succession   in which order the files of a container follow each other
following    the files of every container as they come, are renamed, copied, truncated, and go away
deleted      how long deleted files are held open
holding      files of which lines are held back
gaps         what is lost for good, until the store has been told
rate         how fast the logs of a pod are read
logfile      one followed file: where reading stands, its open partial lines
gzipped      a compressed one, unpacked as it is read
unpacking    which of them are, at once
rounds       what one reading gives: records, and whose they are
stretch      whole lines of one file, as read
excerpts     pieces of a text, copied one after another
lines        blocks of whole lines as columns; which format a file has
timestamps   the times in the columns
cri          parser: the format of containerd and CRI-O
docker       parser: the format of Docker's json-file driver
escapes      what is escaped in its text
parsing      the lines of what was read, by the parser of each file
assemble     partial lines to records, and the positions of records
partials     which partial lines make one record, and when
overlong     what is left out of lines over the limit
shapes       what records look like, by their first bytes
traces       what each runtime writes of a trace
multiline    which records continue the one before
join         records to records: those that continue each other joined, the last ones held back
interleave   joined records with lines of the other stream between
carry        records that go on in the next file
splice       records made of rows of others
passage      records as one run of bytes
sieve        drops and redacts the records of a round
unfinished   lines without an end, as they stand
batch        records of many files to one batch; halves of a batch
collect      reads rounds into batches, hands one over at a time
trust        whose certificates are trusted
client       HTTP to the aggregator: what each answer means
ship         sends batches until they are committed
backoff      how long to wait before trying again
positions    asks where to read on
forecast     in how many seconds unread bytes are rotated away
accounts     each container as a whole: bytes, lag, forecast
status       what the agent is doing, over HTTP
heartbeat    tells the aggregator that it lives, and what the node has
memory       how the C library keeps freed memory
metrics      what an operator watches
doctor/      the subcommand that says what is wrong
errors       what can go wrong, as types
"""
