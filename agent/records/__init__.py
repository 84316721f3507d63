"""Which records belong together: stack traces and what continues a line, joined.

shapes      what records look like, by their first bytes
traces      what each runtime writes of a trace
multiline   which records continue the one before
join        records to records: those that continue each other joined, the last ones held back
interleave  joined records with lines of the other stream between
carry       records that go on in the next file
splice      records made of rows of others
passage     records as one run of bytes
"""
