"""Running queries: between what was asked and the store, statements where SQL can say it, else record by record.

budget      what one query may use, and what it has used
explain     what would be done for a query
entry       a record as it comes out of a pipeline
reading     rows of records into Python, with the labels of their streams
finish      what of a pipeline is left for Python
logs        a log query: its entries, or the pieces of its answer
shown       records that Python finished, as text, JSON and CSV
cursor      how far a tail has got, as opaque text
events      what a tail is sent, as bytes
tail        what waits for one reader
followed    a query that tails follow
live        what is committed, for all tails
replay      what a tail begins with
tables      samples as text, NDJSON, CSV
rows        what a leaf's statement answers, from Arrow columns
metrics     a metric query: its leaves' samples, and what is made of them
"""
