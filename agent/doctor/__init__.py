"""`logboom-agent doctor`: what is there, what is read and stored of it, and what keeps the rest from being.

command      the subcommand
examination  everything that is looked at, put together to one report
survey       the pods directory as it lies there: files, and what cannot be opened
sources      the first line and the size of a file, gzipped or not
limits       what the kernel and the disk allow
aggregator   the way to the aggregator, step by step
running      the agent that runs here, if one does
report       what is found, as types: the JSON of ``--json``
judgement    from what was found to problems with their remedies
tables       the report for people
"""
