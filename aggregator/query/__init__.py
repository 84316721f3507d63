"""Running queries: between what was asked and the store, statements where SQL can say it, else record by record.

rows        what a leaf's statement answers, from Arrow columns
"""
