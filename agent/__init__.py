"""Tails the pod logs of one node and ships them to the aggregator. Keeps nothing on disk.

config    the command line
app       puts the parts together, owns every task and resource
follow/   which files there are, and how far each is read
parse/    bytes to records: lines, formats, partial lines
records/  which records belong together: stack traces, joined
select/   which are wanted, and what is redacted in them
ship/     records to batches, batches to the aggregator
report/   status, heartbeats
memory    how the C library keeps freed memory
metrics   what an operator watches
doctor/   the subcommand that says what is wrong
errors    what can go wrong, as types
"""
