"""Takes batches from agents, commits them to one store, and answers queries over HTTP.

config    the command line
sizing    how the memory there is, is shared out
app       puts the parts together, owns every task and resource
api/      HTTP: batches and positions for agents; query, labels, streams for everyone
ingest/   from a request's bytes to a commit: admission, decoding, trimming, group commit
store/    the engine, the tables, what is written to and asked of them
logql/    the query language: tree, compiler to SQL, the algebra of samples
query/    running queries: statements where SQL can say it, else record by record
check/    whether a store has what it says it has, and what is missing
moving/   a store into a directory of files, and out of it into another store
nodes     which agents there are, from their heartbeats
metrics   what an operator watches
errors    what can go wrong, as types
"""
