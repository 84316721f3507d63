"""`logboom-aggregator check`: whether a store has what it says it has, and what is missing.

command   the subcommand
examine   what is looked at, in which order
parts     the engine's files: whether they are as they were written
sources   each log file's records: whether they cover it without a hole, each stretch once
report    what is found, as types, and as text
"""
