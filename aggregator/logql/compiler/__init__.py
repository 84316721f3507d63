"""Queries into SQL: what the engine can do exactly as Loki would, and what is left for Python.

statement   a statement and its bound values
selection   which streams: selectors as conditions; the labels of pods, joined
words       the whole words that an expression asks for, for the token index
texts       that a line contains any of several texts
lines       line filters as conditions
fields      a record's labels as SQL, and the doubt about them
properties  what `| json` takes, as SQL
captures    what `| regexp` takes, as SQL
extraction  which parsers there is SQL for
conditions  label filters as conditions
plan        a log query as one statement, and the stages left for Python
passing     records as they are committed, tried on many pipelines in one statement
samples     a range aggregation as one statement
"""
