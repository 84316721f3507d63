"""Repeatable measurements; figures and how to read them are in README.md.

processes   the agent and the aggregator as processes, and what the kernel says they used
parquet     the yardstick of the aggregator: its rows inserted from a Parquet file
throughput  CPU of agent and aggregator against the least that could be done; bytes on disk
acknowledge an aggregator that only acknowledges, where the agent alone is measured
files       log files of a given format
formats     CPU of the agent against zstd, CRI and Docker apart
everyday    an agent with hundreds of files that get a line now and then
many        a few busy files among thousands
backlog     an agent that catches up, while new lines are written
quiet       an agent with a thousand files that nobody writes to
delay       from a written line to its being found
stock       millions of lines in a store, made inside the engine
questions   what is asked of them, in LogQL and in SQL by hand
queries     the one against the other, while the store grows
beside      how fast batches are taken beside heavy queries
large       what grows with a store: a real aggregator over up to a hundred million lines
longrun     days of ingestion in minutes: whether the store stays within its bounds
"""
