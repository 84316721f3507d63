"""Records to batches, and batches to the aggregator until they are committed.

batch      records of many files to one batch; halves of a batch
collect    reads rounds into batches, hands one over at a time
trust      whose certificates are trusted
client     HTTP to the aggregator: what each answer means
ship       sends batches until they are committed
backoff    how long to wait before trying again
positions  asks where to read on
"""
