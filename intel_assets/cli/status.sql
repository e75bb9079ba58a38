-- What each source holds: rows that stand in raw, rows that were rejected, and how its days came
-- out when they were last asked for. A partition stands as it was last good.
WITH partition_states AS (
    SELECT source, layer, name, day, state, rows, rejected, recorded_at
    FROM ops.partitions
    WHERE layer IN ('raw', 'cleaned')
),

newest AS (
    SELECT *
    FROM partition_states
    QUALIFY row_number() OVER (
        PARTITION BY source, layer, name, day ORDER BY recorded_at DESC
    ) = 1
),

standing AS (
    SELECT *
    FROM partition_states
    WHERE layer = 'raw' AND state IN ('complete', 'empty')
    QUALIFY row_number() OVER (
        PARTITION BY source, layer, name, day ORDER BY recorded_at DESC
    ) = 1
),

held AS (
    SELECT
        source,
        count(*) FILTER (WHERE day > DATE '1970-01-01') AS days,
        sum(rows) AS row_count
    FROM standing
    GROUP BY source
)

SELECT
    source,
    coalesce(any_value(held.days), 0)::BIGINT AS days,
    any_value(held.row_count)::BIGINT AS row_count,
    sum(newest.rejected)::BIGINT AS rejected,
    count(*) FILTER (
        WHERE newest.layer = 'raw' AND newest.state IN ('missing', 'not_covered')
    )::BIGINT AS missing,
    count(*) FILTER (WHERE newest.state IN ('failed', 'rejected'))::BIGINT AS failed,
    max(newest.recorded_at) AS recorded_at
FROM newest
LEFT JOIN held USING (source)
GROUP BY source
