-- What each feed is worth, in the windows of 7, 30 and 90 days that end with the newest day of which
-- any feed told. What each number means is said once, in ../gold/scorecard.py: with its columns.
-- Nothing from before the ninety days is looked at.
WITH newest AS (SELECT max(day) AS day FROM aggregated.sightings),

recent AS NOT MATERIALIZED (
    SELECT
        source,
        kind = 'event' AS is_event,
        indicator,
        indicator_type,
        sightings.day,
        change,
        first_seen,
        newest.day - sightings.day AS age
    FROM aggregated.sightings
    INNER JOIN newest ON sightings.day > newest.day - 90
    INNER JOIN aggregated.feeds USING (source)
),

-- On how many days of each window a feed told of an indicator, and when first.
told AS MATERIALIZED (
    SELECT
        source,
        is_event,
        indicator,
        indicator_type,
        count(*) FILTER (WHERE age < 7) AS days_7,
        count(*) FILTER (WHERE age < 30) AS days_30,
        count(*) AS days_90,
        min(day) AS first_day,
        min(day) FILTER (WHERE change = 'added') AS added_on,
        min(day) FILTER (WHERE change = 'back') AS back_on,
        min(first_seen) AS first_seen
    FROM recent
    WHERE change <> 'gone'
    GROUP BY source, is_event, indicator, indicator_type
),

shared AS MATERIALIZED (
    SELECT
        indicator,
        indicator_type,
        count(*) FILTER (WHERE days_7 > 0) AS feeds_7,
        count(*) FILTER (WHERE days_30 > 0) AS feeds_30,
        count(*) AS feeds_90
    FROM told
    GROUP BY indicator, indicator_type
    HAVING feeds_90 > 1
),

of_indicators AS (
    SELECT
        one.window_days,
        source,
        is_event,
        sum(one.days)::BIGINT AS sightings,
        count(*) AS indicators,
        count(*) FILTER (WHERE one.feeds IS NULL OR one.feeds = 1) AS alone,
        count(*) FILTER (WHERE is_warned) AS warned,
        median(one.days) AS dwell_days
    FROM (
        SELECT
            source,
            is_event,
            warned.indicator IS NOT NULL AS is_warned,
            unnest([
                {'window_days': 7, 'days': days_7, 'feeds': feeds_7},
                {'window_days': 30, 'days': days_30, 'feeds': feeds_30},
                {'window_days': 90, 'days': days_90, 'feeds': feeds_90}
            ]) AS one
        FROM told
        LEFT JOIN shared USING (indicator, indicator_type)
        LEFT JOIN (
            SELECT DISTINCT indicator, indicator_type FROM aggregated.warninglist_hits
        ) AS warned USING (indicator, indicator_type)
    )
    WHERE one.days > 0
    GROUP BY one.window_days, source, is_event
),

windows AS (SELECT unnest([7, 30, 90]) AS window_days),

snapshots AS (
    SELECT
        source,
        day,
        age,
        count(*) FILTER (WHERE change <> 'gone') AS size,
        count(*) FILTER (WHERE change <> 'still') AS moves,
        day - lag(day) OVER (PARTITION BY source ORDER BY day) AS days_since,
        lead(day) OVER (PARTITION BY source ORDER BY day) - day AS days_until
    FROM recent
    WHERE NOT is_event
    GROUP BY source, day, age
),

-- When each feed told of a shared indicator first. What stands in the first snapshot of a list, or
-- came back to it, stood there before: since when, nobody knows.
reports AS MATERIALIZED (
    SELECT
        source,
        is_event,
        indicator,
        indicator_type,
        epoch_us(first_seen) AS first_at,
        CASE
            WHEN is_event THEN first_seen::DATE
            WHEN first_day = back_on THEN (SELECT day - 90 FROM newest)
            ELSE first_day
        END AS first_on,
        NOT is_event
        AND (first_day IS DISTINCT FROM added_on OR first_day = begun.day) AS stood_before
    FROM told
    SEMI JOIN shared USING (indicator, indicator_type)
    LEFT JOIN (SELECT source, min(day) AS day FROM snapshots GROUP BY source) AS begun USING (source)
),

-- Feeds are independent if neither repeats the other, nor both a third.
independent AS (
    SELECT one.source, other.source AS other_source
    FROM aggregated.feeds AS one
    CROSS JOIN aggregated.feeds AS other
    WHERE NOT list_has_any(
        list_append(one.derived_from, one.source), list_append(other.derived_from, other.source)
    )
),

compared AS (
    SELECT
        one.source,
        one.indicator,
        one.indicator_type,
        one.first_on,
        other.stood_before AND one.first_on <= other.first_on AS is_open,
        CASE
            WHEN one.is_event AND other.is_event THEN (other.first_at - one.first_at) / 3.6e9
            ELSE 24 * (other.first_on - one.first_on)
        END AS hours_ahead
    FROM reports AS one
    INNER JOIN reports AS other USING (indicator, indicator_type)
    INNER JOIN independent
        ON independent.source = one.source AND independent.other_source = other.source
    WHERE NOT one.stood_before
),

-- Whoever is behind one is not first. Who is ahead of all whose time is known, but perhaps not of a
-- list on which it stood before, is left out.
leads AS (
    SELECT source, first_on, min(hours_ahead) AS hours_ahead
    FROM compared
    GROUP BY source, indicator, indicator_type, first_on
    HAVING min(hours_ahead) FILTER (WHERE NOT is_open) <= 0 OR NOT bool_or(is_open)
),

of_leads AS (
    SELECT
        window_days,
        source,
        count(*) AS compared,
        count(*) FILTER (WHERE hours_ahead > 0) AS firsts,
        median(hours_ahead) FILTER (WHERE hours_ahead > 0) AS lead_hours
    FROM leads
    INNER JOIN windows ON first_on > (SELECT day FROM newest) - window_days
    GROUP BY window_days, source
),

-- What came with a snapshot of which the next is a day later, and what of it was gone by then.
stays AS (
    SELECT source, day, count(*) AS came, count(gone.indicator) AS left_again
    FROM recent AS came
    SEMI JOIN (
        SELECT source, day FROM snapshots WHERE days_since IS NOT NULL AND days_until = 1
    ) AS placed USING (source, day)
    LEFT JOIN (
        SELECT source, indicator, indicator_type, (day - 1)::DATE AS day
        FROM recent
        WHERE change = 'gone'
    ) AS gone USING (source, indicator, indicator_type, day)
    WHERE change IN ('added', 'back')
    GROUP BY source, day
),

of_days AS (
    SELECT
        window_days,
        source,
        sum(moves) FILTER (WHERE days_since IS NOT NULL) / sum(size * days_since) AS churn,
        sum(left_again) / sum(came) AS withdrawn
    FROM snapshots
    INNER JOIN windows ON age < window_days
    LEFT JOIN stays USING (source, day)
    GROUP BY window_days, source
),

fresh AS (
    SELECT
        source,
        CASE
            WHEN any_value(kind) = 'event'
                THEN max(first_seen) FILTER (WHERE first_seen <= known_from)
            ELSE max({'day': day, 'at': known_from}).at
        END AS newest_at
    FROM cleaned.indicators
    INNER JOIN aggregated.feeds USING (source)
    GROUP BY source
)

SELECT
    window_days,
    source,
    sightings,
    indicators,
    round(alone / indicators, 6) AS unique_share,
    coalesce(of_leads.compared, 0) AS compared,
    round(of_leads.firsts / of_leads.compared, 6) AS first_share,
    round(lead_hours, 2) AS lead_hours,
    dwell_days,
    round(churn, 6) AS churn,
    round(withdrawn, 6) AS withdrawn_share,
    round(warned / indicators, 6) AS warninglist_share,
    newest_at
FROM of_indicators
LEFT JOIN of_leads USING (window_days, source)
LEFT JOIN of_days USING (window_days, source)
LEFT JOIN fresh USING (source)
