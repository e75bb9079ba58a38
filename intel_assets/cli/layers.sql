-- How each source stands, summed up by layer. A partition stands as it was last written: a later
-- attempt that failed took nothing away. Whether days want looking at is what came last.
-- Records without a day stand in the partition 1970-01-01: rows and rejects, but no day.
WITH partition_states AS (
    SELECT *, state IN ('complete', 'empty') AS good
    FROM ops.partitions
),

newest AS (
    SELECT *
    FROM partition_states
    QUALIFY row_number() OVER (
        PARTITION BY source, layer, name, day ORDER BY recorded_at DESC
    ) = 1
),

standing AS (
    SELECT *, day > DATE '1970-01-01' AS dated
    FROM partition_states
    WHERE good
    QUALIFY row_number() OVER (
        PARTITION BY source, layer, name, day ORDER BY recorded_at DESC
    ) = 1
),

held AS (
    SELECT
        source,
        layer,
        count(*) FILTER (WHERE dated) AS days,
        min(day) FILTER (WHERE dated) AS first_day,
        max(day) FILTER (WHERE dated) AS last_day,
        sum(rows) AS row_count,
        max(recorded_at) AS written
    FROM standing
    GROUP BY source, layer
),

attempts AS (
    SELECT
        source,
        layer,
        sum(rejected) AS rejected,
        count(*) FILTER (WHERE state IN ('missing', 'not_covered')) AS missing,
        count(*) FILTER (WHERE state IN ('failed', 'rejected')) AS failed
    FROM newest
    GROUP BY source, layer
)

SELECT
    source,
    layer,
    coalesce(days, 0)::BIGINT AS days,
    first_day,
    last_day,
    row_count::BIGINT AS row_count,
    rejected::BIGINT AS rejected,
    missing::BIGINT AS missing,
    failed::BIGINT AS failed,
    date_trunc('second', written) AS written
FROM attempts
LEFT JOIN held USING (source, layer)
ORDER BY source, CASE layer WHEN 'raw' THEN 1 WHEN 'cleaned' THEN 2 ELSE 3 END
