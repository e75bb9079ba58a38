-- What each feed brought, day by day and by type of indicator.
WITH records AS NOT MATERIALIZED (
    SELECT day, source AS feed, indicator_type, indicator
    FROM cleaned.indicators
    SEMI JOIN (SELECT source FROM aggregated.feeds WHERE kind IN ('event', 'state')) USING (source)
),

brought AS (
    SELECT day, feed, indicator_type, indicator, count(*) AS records
    FROM records
    GROUP BY day, feed, indicator_type, indicator
),

compared AS (
    SELECT *, count(*) OVER (PARTITION BY day, indicator_type, indicator) AS feeds
    FROM brought
)

SELECT
    day,
    feed,
    indicator_type,
    sum(records)::BIGINT AS records,
    count(*)::BIGINT AS indicators,
    count(*) FILTER (WHERE feeds > 1)::BIGINT AS shared
FROM compared
GROUP BY day, feed, indicator_type
ORDER BY day, feed, indicator_type
