"""From a request's bytes to a commit.

admission   how many bytes may be held at once
decoding    compressed bytes to a checked batch, bounded
trim        which rows are new, and which requests would leave a hole
rows        a group's new rows as Arrow columns, split into inserts
committer   the only writer: groups requests, commits, answers
"""
