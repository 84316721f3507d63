CREATE DATABASE IF NOT EXISTS logboom ENGINE = Atomic;

CREATE TABLE IF NOT EXISTS logboom.logs (
    namespace LowCardinality(String),
    stream_id UInt64 CODEC(ZSTD(1)),
    ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    source UInt128 CODEC(ZSTD(1)),
    position UInt64 CODEC(Delta, ZSTD(1)),
    level LowCardinality(String) DEFAULT multiIf(
    bitAnd(flags, 8) != 0, '',
    substring(body, 1, 1) IN ('I', 'W', 'E', 'F') AND match(substring(body, 1, 20), '^([IWEF])\\d{4} \\d\\d:\\d\\d:\\d\\d'),
        transform(substring(body, 1, 1), ['I', 'W', 'E', 'F'], ['info', 'warn', 'error', 'fatal'], ''),
    transform(
        lower(extract(substring(body, 1, 160), '(?i)(?:^|[^a-z0-9_./-])(trace|debug|info|notice|warn|warning|error|err|crit|critical|fatal|panic|emerg|alert)(?:$|[^a-z0-9_./-])')),
        ['trace', 'debug', 'info', 'notice', 'warn', 'warning', 'error', 'err', 'crit', 'critical', 'fatal', 'panic',
         'emerg', 'alert'],
        ['trace', 'debug', 'info', 'info', 'warn', 'warn', 'error', 'error', 'fatal', 'fatal', 'fatal', 'fatal',
         'fatal', 'fatal'],
        '')),
    flags UInt8 CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    meta Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    committed_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1)),
    INDEX body_tokens body TYPE tokenbf_v1(8192, 3, 0) GRANULARITY 1,
    INDEX commits committed_at TYPE minmax GRANULARITY 1,
    PROJECTION positions (
        SELECT source, namespace, stream_id,
            max(position), count(), sum(length(body)), min(ts), max(ts), max(committed_at)
        GROUP BY source, namespace, stream_id
    )
) ENGINE = MergeTree
PARTITION BY toDate32(ts)
ORDER BY (namespace, stream_id, ts, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, min_parts_to_merge_at_once = 16, old_parts_lifetime = 60;

CREATE TABLE IF NOT EXISTS logboom.streams (
    day Date32,
    stream_id UInt64,
    labels Map(LowCardinality(String), String)
) ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY stream_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS logboom.pods (
    uid String,
    labels Map(LowCardinality(String), String),
    seen_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(seen_at)
ORDER BY uid
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1;
