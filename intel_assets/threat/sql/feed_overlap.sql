-- How much two feeds have in common: distinct indicators in the windows of 1, 7, 30 and 90 days that
-- end with the newest day. Which ones they are: docs/queries/feed_overlap.sql.
WITH newest AS (SELECT max(day) AS day FROM aggregated.sightings),

listed AS (
    SELECT DISTINCT window_days, source, indicator, indicator_type
    FROM aggregated.sightings
    CROSS JOIN (SELECT unnest([1, 7, 30, 90]) AS window_days)
    WHERE change <> 'gone' AND day > (SELECT day FROM newest) - window_days
),

sizes AS (
    SELECT window_days, source, count(*)::BIGINT AS indicators
    FROM listed
    GROUP BY window_days, source
),

pairs AS (
    SELECT
        one.window_days,
        one.source AS feed,
        other.source AS other,
        count(*)::BIGINT AS shared
    FROM listed AS one
    INNER JOIN listed AS other USING (window_days, indicator, indicator_type)
    WHERE one.source <> other.source
    GROUP BY ALL
)

SELECT
    window_days,
    feed,
    other,
    a.indicators AS feed_indicators,
    b.indicators AS other_indicators,
    shared,
    round(shared / a.indicators, 4) AS share_of_feed,
    round(shared / (a.indicators + b.indicators - shared), 4) AS jaccard
FROM pairs
INNER JOIN sizes AS a USING (window_days)
INNER JOIN sizes AS b USING (window_days)
WHERE a.source = feed AND b.source = other
ORDER BY window_days, feed, other
