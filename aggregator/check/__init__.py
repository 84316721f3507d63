"""`logboom-aggregator check`: whether a store has what it says it has, and what is missing.

What is asked of the store for it is in `aggregator.store`: `parts`, `coverage`.

command   the subcommand
examine   what is looked at, in which order
report    what is found, as a type, and as text
"""
