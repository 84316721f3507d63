"""`logboom-aggregator export` and `import`: a store into a directory of Parquet files, and out of it into another.

What is asked of the stores for it is in `aggregator.store`: `contents`, `ranges`, `parquet`, `arrivals`.

command    the subcommands
manifest   what a directory says of its files
place      the directory: who uses it, what is written into it, durably
exporting  a store into a directory
overlap    which rows a store lacks that has some
importing  a directory into a store
verifying  whether a store has what was brought
told       what is said at the end
"""
