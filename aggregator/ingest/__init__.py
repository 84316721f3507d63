"""From a request's bytes to a commit.

admission   how many bytes may be held at once
decoding    compressed bytes to a checked batch, bounded
trim        which rows are new, and which requests would leave a hole
pods        the streams of a container's log
rows        a group's new rows as Arrow columns, and the order of their inserts
plan        what committing a group comes to
storing     storing a group in a store of one's own
sharing     storing a group in a store that other aggregators write to as well
precedence  queries stand still while agents catch up
committer   the only writer: groups requests, commits, answers
"""
