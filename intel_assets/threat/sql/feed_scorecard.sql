-- How good each feed is, in the windows of 7, 30 and 90 days that end with the newest day.
-- unique_share: of its indicators, those that no other feed tells of in the window. first_share: of
-- the shared ones, those that it told of before every other; lead_hours: by how much, the median
-- (event feeds by first_seen, snapshots by their day). dwell_days: on how many days an indicator is
-- told of, the median. churn: came and went a day, as a share of what is there. gone_within_a_day: of
-- what came, what was gone with the next snapshot. warninglist_share: of its indicators, those that
-- stand on a warninglist.
WITH newest AS (SELECT max(day) AS day FROM aggregated.sightings),

told AS (
    SELECT
        window_days,
        day,
        source,
        indicator,
        indicator_type,
        change,
        CASE WHEN change = 'seen' THEN first_seen ELSE day::TIMESTAMPTZ END AS told_at
    FROM aggregated.sightings
    CROSS JOIN (SELECT unnest([7, 30, 90]) AS window_days)
    WHERE day > (SELECT day FROM newest) - window_days
),

by_indicator AS (
    SELECT
        window_days,
        source,
        indicator,
        indicator_type,
        min(told_at) AS first_at,
        count(DISTINCT day) FILTER (WHERE change <> 'gone')::BIGINT AS days
    FROM told
    GROUP BY window_days, source, indicator, indicator_type
    HAVING days > 0
),

ranked AS (
    SELECT
        *,
        count(*) OVER shared AS feeds,
        row_number() OVER in_order AS place,
        lead(first_at) OVER in_order AS next_at
    FROM by_indicator
    WINDOW
        shared AS (PARTITION BY window_days, indicator, indicator_type),
        in_order AS (
            PARTITION BY window_days, indicator, indicator_type ORDER BY first_at, source
        )
),

of_indicators AS (
    SELECT
        window_days,
        source,
        count(*)::BIGINT AS indicators,
        count(*) FILTER (WHERE feeds = 1)::BIGINT AS alone,
        count(*) FILTER (WHERE feeds > 1)::BIGINT AS shared,
        count(*) FILTER (WHERE feeds > 1 AND place = 1 AND next_at > first_at)::BIGINT AS firsts,
        median(epoch(next_at - first_at) / 3600)
            FILTER (WHERE feeds > 1 AND place = 1 AND next_at > first_at) AS lead_hours,
        median(days) AS dwell_days,
        count(*) FILTER (WHERE hits.indicator IS NOT NULL)::BIGINT AS warned
    FROM ranked
    LEFT JOIN (
        SELECT DISTINCT indicator, indicator_type FROM aggregated.warninglist_hits
    ) AS hits USING (indicator, indicator_type)
    GROUP BY window_days, source
),

of_days AS (
    SELECT
        window_days,
        source,
        count(*) FILTER (WHERE change <> 'gone')::BIGINT AS sightings,
        count(DISTINCT day)::BIGINT AS days,
        count(*) FILTER (WHERE change IN ('added', 'back', 'gone'))::BIGINT AS moves,
        count(*) FILTER (WHERE change IN ('added', 'still', 'back'))::BIGINT AS listings,
        count(*) FILTER (WHERE change IN ('added', 'back'))::BIGINT AS came
    FROM told
    GROUP BY window_days, source
),

brief AS (
    SELECT window_days, source, count(*)::BIGINT AS gone_at_once
    FROM (
        SELECT
            window_days,
            source,
            change,
            lead(change) OVER (
                PARTITION BY window_days, source, indicator, indicator_type ORDER BY day
            ) AS next_change
        FROM told
    )
    WHERE change IN ('added', 'back') AND next_change = 'gone'
    GROUP BY window_days, source
),

fresh AS (
    SELECT source, max(coalesce(last_seen, first_seen)) AS newest_at
    FROM cleaned.indicators
    GROUP BY source
)

SELECT
    window_days,
    source,
    sightings,
    indicators,
    round(alone / indicators, 4) AS unique_share,
    round(firsts / nullif(shared, 0), 4) AS first_share,
    round(lead_hours, 2) AS lead_hours,
    dwell_days,
    round(moves / nullif(listings, 0), 4) AS churn,
    round(coalesce(gone_at_once, 0) / nullif(came, 0), 4) AS gone_within_a_day,
    round(warned / indicators, 4) AS warninglist_share,
    round(epoch(asked_at() - newest_at) / 3600, 2) AS hours_since_newest
FROM of_indicators
INNER JOIN of_days USING (window_days, source)
LEFT JOIN brief USING (window_days, source)
LEFT JOIN fresh USING (source)
ORDER BY window_days, source
