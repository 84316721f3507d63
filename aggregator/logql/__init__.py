"""The query language: everything that asks for records is first a LogQL tree, then one SQL statement.

tree       log queries as a value: which streams, which lines, what becomes of them; which time, how many
metric     metric queries as a value: samples made of records, series made of samples
units      numbers, durations and sizes as Go reads and writes them
regex      RE2, within bounds
patterns   globs and literals into the regular expressions of matchers, and back
compiler   a tree into SQL with bound parameters
vector     samples of records, series of samples, and what is made of them
"""
