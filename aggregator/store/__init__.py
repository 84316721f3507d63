"""Where records live: ClickHouse, embedded as chDB.

directory   whether it is a store's, which process holds it, whether it is still there
engine      connections, threads, statements with bound parameters, streams of results, inserts
settings    what a query is run with in the engine
scanned     what statements read
parameters  values into the text form the engine binds from
failures    the engine's error texts into our exceptions
schema      the tables, what is in them and why; the store's identity
streams     labels to stream ids; which streams are already written
commits     the order of inserts, and who hears of them
positions   committed positions, cached and looked up
columns     numpy arrays and strings as Arrow columns
retention   dropping the days that are over
disk        what the store takes, and what is left
catalogue   which streams there are: labels, their values
container   where one record is, and in which container's log
ledger      what the store holds of each container, and what is known to be lost
windows     which stretches of time a query is asked for, one after the other
rendering   how a record is shown, as SQL
slices      a range cut into stretches that can be sorted at once
explain     what the engine would read for a statement
expressions whether the engine understands a query's regular expressions
"""
