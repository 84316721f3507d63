"""The query language: everything that asks for records is first a LogQL tree, then one SQL statement.

tree       a query as a value: which streams, which lines, which time, how many
patterns   globs and literals into the regular expressions of matchers, and back
compiler   a tree into SQL with bound parameters
"""
