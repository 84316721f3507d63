"""The algebra of metric queries: from what is kept of records to matrices of samples, and on to the answer.

leaves        the range aggregations of an expression, with the labels that what stands around them needs
ranges        steps, their windows, the buckets of records that windows are made of
partials      what a leaf's statement answers, bucket by bucket, and the samples made of it
"""
