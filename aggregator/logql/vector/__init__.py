"""The algebra of metric queries: from what is kept of records to matrices of samples, and on to the answer.

leaves        the range aggregations of an expression, with the labels that what stands around them needs
ranges        steps, their windows, the buckets of records that windows are made of
summaries     what is kept of a bucket's records, how two become one, the sample made of a window
quantiles     the samples that need every value
partials      what a leaf's statement answers, bucket by bucket, and the samples made of it
accumulator   a leaf's samples from single records, as they come
matrix        series of samples over steps
aggregation   series of a step into fewer: sum, topk, sort and the others
binary        operations between numbers and series
functions     label_replace
evaluate      an expression's value from the samples of its leaves
"""
