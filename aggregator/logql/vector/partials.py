"""What is kept of the records in a bucket, and the samples made of it.

The statement of a leaf (``compiler.samples(leaf, buckets) -> Statement | None``) answers rows, each with what is kept
of some buckets of one series, as columns:

    labels   Map(String, String)  the series' labels, as `Leaf.by` and `Leaf.without` say, without those that are empty
    buckets  Array(UInt32)        numbers of buckets (`aggregator.logql.vector.ranges`), each at most once in a row
    …        Array(…)             one item a bucket, by the leaf's operation:

    count_over_time, absent_over_time, rate        counts  UInt64
    bytes_over_time, bytes_rate                    sums    UInt64: of the lines' bytes
    sum_over_time, rate of what is unwrapped       sums    Float64
    avg_over_time                                  counts  UInt64, sums Float64
    min_over_time, max_over_time                   values  Float64; NaN only where every value is
    first_over_time, last_over_time                times   Int64 ns, values Float64: the first or last record's
    stddev_over_time, stdvar_over_time             counts  UInt64, means Float64,
                                                   squares Float64: the sum of squared distances from the mean
    quantile_over_time                             samples Array(Float64), in any order
    rate_counter                                   moments Array(Int64) ns, samples Array(Float64): by time

So a row is ``SELECT labels, groupArray(bucket) AS buckets, groupArray(n) AS counts FROM (SELECT …, count() AS n …
GROUP BY labels, bucket) GROUP BY labels``. Rows come in any order; several may have the same labels, also the same
bucket (then the bucket holds what both say). If a record's pipeline left an ``__error__``, its row's labels must hold
``__error__`` (and ``__error_details__`` if at hand) whatever `Leaf.by` says, unless `Leaf.allows_errors`.
"""
