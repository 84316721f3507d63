"""Where records live: ClickHouse, embedded as chDB, or servers.

engine      what is asked of an engine: statements, streams of results, inserts
layout      which tables there are, and where
server      the address of ClickHouse servers
clickhouse  servers as the engine, through the official client
waiting     how long a server is waited for
arrow       an answer of a server, cut where its blocks end
embedded    the engine inside this process: connections, threads, statements, inserts
running     a query that runs there: its pieces, its end
memory      rows in memory as something the embedded engine selects from
directory   whether it is a store's, which process holds it, whether it is still there
opening     what a directory needs before the engine opens it
bounds      what bounds a query in the engine, and which gives way
scanned     what statements read
parameters  values into the text form the engine binds from
failures    the engine's error texts into our exceptions
schema      the tables, what is in them and why; the store's identity
migrations  tables of older versions into today's
streams     labels to stream ids; which streams are already written
commits     the order of inserts, and who hears of them
chains      the order of inserts of several aggregators, and one look at where sources stand in it
positions   committed positions, cached and looked up
columns     numpy arrays and strings as Arrow columns
terms       how long what is kept
floor       the moment before which there was no room
erasure     deleting records out of a day, positions kept
retention   dropping what is over: days, namespaces out of days, what there is no room for
deletions   what was asked to be deleted, durable
eraser      working that off
tier        the cold tier: where it is, and what the engine has to know of it
moved       committed positions of days there, kept locally
aside       opening a store whose cold tier is away
keepsake    a second name for a part's files while it moves
cold        moving old days there, bringing back what was set aside, dropping there what is over
parts       the engine's files: whether they are as they were written
coverage    log files: whether their records cover them, without a hole, each stretch once
contents    what a store has, day by day, and sums by which two stores can be compared
ranges      a day cut into ranges of bounded size
parquet     rows into Parquet files, by the engine
arrivals    what a store has of what is to be brought into it
settings    the engine's, sized for one small process
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
