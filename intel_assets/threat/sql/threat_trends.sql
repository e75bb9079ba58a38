-- What is told of, day by day: by type, malware, threat and tag. Of each, the twenty values with the
-- most indicators over all days stand alone, the rest is `(other)`. `usual` is the median of the 28
-- days before, once there are seven; an anomaly is three times as much or a third, from 20 on.
WITH told AS (
    SELECT day, indicator, change, 'type' AS dimension, indicator_type AS value
    FROM aggregated.sightings
    UNION ALL
    SELECT day, indicator, change, 'malware', malware
    FROM aggregated.sightings
    WHERE malware IS NOT NULL
    UNION ALL
    SELECT day, indicator, change, 'threat', threat
    FROM aggregated.sightings
    WHERE threat IS NOT NULL
    UNION ALL
    SELECT day, indicator, change, 'tag', unnest(tags)
    FROM aggregated.sightings
),

top AS (
    SELECT dimension, value
    FROM told
    WHERE change <> 'gone'
    GROUP BY dimension, value
    QUALIFY row_number() OVER (
        PARTITION BY dimension ORDER BY count(DISTINCT indicator) DESC, value
    ) <= 20
),

counted AS (
    SELECT
        day,
        dimension,
        CASE WHEN top.value IS NULL THEN '(other)' ELSE told.value END AS value,
        count(*)::BIGINT AS sightings,
        count(DISTINCT indicator)::BIGINT AS indicators,
        count(DISTINCT indicator) FILTER (WHERE change IN ('seen', 'added', 'back'))::BIGINT AS fresh
    FROM told
    LEFT JOIN top USING (dimension, value)
    WHERE change <> 'gone'
    GROUP BY ALL
),

measured AS (
    SELECT
        *,
        median(fresh) OVER before AS usual,
        count(*) OVER before AS days_before
    FROM counted
    WINDOW before AS (
        PARTITION BY dimension, value
        ORDER BY day
        RANGE BETWEEN INTERVAL 28 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
)

SELECT
    day,
    dimension,
    value,
    sightings,
    indicators,
    fresh,
    CASE WHEN days_before >= 7 THEN usual END AS usual,
    days_before >= 7
    AND greatest(fresh, usual) >= 20
    AND (fresh > 3 * usual OR 3 * fresh < usual) AS anomaly
FROM measured
ORDER BY day, dimension, value
