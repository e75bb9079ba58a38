-- How much two feeds have in common, in the windows of 1, 7, 30 and 90 days that end with the newest
-- day of which any feed told: each pair in both directions, by type of indicator and for `all`.
-- Which indicators they are: docs/queries/feed_overlap.sql.
WITH windows AS (SELECT unnest([1, 7, 30, 90]) AS window_days),

newest AS (SELECT max(day) AS day FROM aggregated.sightings),

-- Who told of an indicator, and the smallest of the windows that it was told of in.
told AS (
    SELECT
        source,
        indicator,
        indicator_type,
        CASE WHEN age < 1 THEN 1 WHEN age < 7 THEN 7 WHEN age < 30 THEN 30 ELSE 90 END AS within
    FROM (
        SELECT source, indicator, indicator_type, min(newest.day - sightings.day) AS age
        FROM aggregated.sightings
        INNER JOIN newest ON sightings.day > newest.day - 90
        WHERE change <> 'gone'
        GROUP BY source, indicator, indicator_type
    )
),

sizes AS (
    SELECT
        window_days,
        source,
        coalesce(indicator_type, 'all') AS indicator_type,
        sum(indicators)::BIGINT AS indicators
    FROM (
        SELECT source, indicator_type, within, count(*) AS indicators
        FROM told
        GROUP BY source, indicator_type, within
    )
    INNER JOIN windows ON within <= window_days
    GROUP BY GROUPING SETS ((window_days, source, indicator_type), (window_days, source))
),

pairs AS (
    SELECT
        window_days,
        feed,
        other,
        coalesce(indicator_type, 'all') AS indicator_type,
        sum(indicators)::BIGINT AS shared
    FROM (
        SELECT
            one.source AS feed,
            another.source AS other,
            indicator_type,
            greatest(one.within, another.within) AS within,
            count(*) AS indicators
        FROM told AS one
        INNER JOIN told AS another USING (indicator, indicator_type)
        WHERE one.source <> another.source
        GROUP BY ALL
    )
    INNER JOIN windows ON within <= window_days
    GROUP BY GROUPING SETS ((window_days, feed, other, indicator_type), (window_days, feed, other))
),

-- Every two feeds that have anything of a type, also if it is not the same.
matrix AS (
    SELECT
        window_days,
        one.source AS feed,
        another.source AS other,
        indicator_type,
        one.indicators AS feed_indicators,
        another.indicators AS other_indicators
    FROM sizes AS one
    INNER JOIN sizes AS another USING (window_days, indicator_type)
    WHERE one.source <> another.source
)

SELECT
    window_days,
    feed,
    other,
    indicator_type,
    feed_indicators,
    other_indicators,
    coalesce(pairs.shared, 0) AS shared,
    feed_indicators - coalesce(pairs.shared, 0) AS only_feed,
    round(coalesce(pairs.shared, 0) / feed_indicators, 6) AS share_of_feed,
    round(
        coalesce(pairs.shared, 0) / (feed_indicators + other_indicators - coalesce(pairs.shared, 0)),
        6
    ) AS jaccard
FROM matrix
LEFT JOIN pairs USING (window_days, feed, other, indicator_type)
