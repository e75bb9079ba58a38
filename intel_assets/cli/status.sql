-- How each source stands: the newest state of every partition, summed up by layer.
-- Records without a day stand in the partition 1970-01-01: rows and rejects, but no day.
WITH newest AS (
    SELECT *, day > DATE '1970-01-01' AND state IN ('complete', 'empty') AS good
    FROM ops.partitions
    QUALIFY row_number() OVER (
        PARTITION BY source, layer, name, day ORDER BY recorded_at DESC
    ) = 1
)

SELECT
    source,
    layer,
    count(*) FILTER (WHERE good)::BIGINT AS days,
    min(day) FILTER (WHERE good) AS first_day,
    max(day) FILTER (WHERE good) AS last_day,
    sum(rows)::BIGINT AS row_count,
    sum(rejected)::BIGINT AS rejected,
    count(*) FILTER (WHERE state NOT IN ('complete', 'empty'))::BIGINT AS bad_days,
    strftime(max(recorded_at), '%Y-%m-%d %H:%M:%S') AS written
FROM newest
GROUP BY source, layer
ORDER BY source, CASE layer WHEN 'raw' THEN 1 WHEN 'cleaned' THEN 2 ELSE 3 END
