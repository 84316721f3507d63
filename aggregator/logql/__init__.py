"""The query language: everything that asks for records is first a LogQL tree, then one SQL statement.

tree       log queries as a value: which streams, which lines, what becomes of them; which time, how many
metric     metric queries as a value: samples made of records, series made of samples
units      numbers, durations and sizes as Go reads and writes them
regex      RE2, within bounds
patterns   globs and literals into the regular expressions of matchers, and back
quoting    strings as Go writes and reads them
lexer      the text of a query into tokens
checks     what Loki refuses though its grammar reads it
parts      parts of a tree under construction, and where they stand
construction         actions of `grammar.lark` that make log queries
metric_construction  those that make metric queries
parser     text into a tree, or an error that points at its place
printer    a tree into text, on one line or over several
compiler   a tree into SQL with bound parameters
vector     samples of records, series of samples, and what is made of them
narrowing  a tree with more conditions in front
pipeline/  what stages mean, record by record, where SQL cannot say it
"""
