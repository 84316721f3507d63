"""Repeatable measurements; figures and how to read them are in README.md.

processes   the agent and the aggregator as processes, and what the kernel says they used
parquet     the yardstick of the aggregator: its rows inserted from a Parquet file
throughput  CPU of agent and aggregator against the least that could be done; bytes on disk
quiet       an agent with a thousand files that nobody writes to
delay       from a written line to its being found
"""
