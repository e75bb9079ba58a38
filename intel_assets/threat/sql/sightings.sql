-- Which feed told of which indicator on which day.
-- A feed whose body is the whole truth of its day (state) has a snapshot a day: what stands in it is
-- `added`, `still` there or `back`, and what stood in the snapshot before and does not any more is
-- `gone`. `back` is what had stood there in the ninety days before; the snapshot before lies no
-- further back than that either. A day without a snapshot says nothing.
-- Of the days that are not asked for, only the keys are read (therefore NOT MATERIALIZED).
WITH feeds AS (
    SELECT source, kind FROM aggregated.feeds WHERE kind IN ('event', 'state')
),

-- A record's other indicators are told of as well as its first.
told AS NOT MATERIALIZED (
    SELECT
        day, source, indicator, indicator_type, first_seen, last_seen, confidence, detect,
        reserved, host, registered_domain, threat, malware, tags, tlp
    FROM cleaned.indicators
    UNION ALL
    SELECT
        day, source, value, type, first_seen, last_seen, confidence, detect,
        -- As canonical.reserved says; a test holds it.
        type IN ('ipv4', 'ipv6', 'cidr') AND regexp_matches(
            value,
            '^(0|10|127|22[4-9]|2[3-5][0-9])\.|^100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.'
            || '|^169\.254\.|^172\.(1[6-9]|2[0-9]|3[01])\.|^192\.(0\.0|168)\.'
            || '|^::1?(/|$)|^f[cd]..:|^fe[89ab].:|^ff..:'
        ),
        CASE WHEN type IN ('ipv4', 'ipv6', 'domain', 'hostname') THEN value END,
        CASE WHEN type IN ('domain', 'hostname') AND value = registered_domain THEN value END,
        threat, malware, tags, tlp
    FROM (
        SELECT
            * EXCLUDE (also),
            split_part(entry, ':', 1) AS type,
            substr(entry, position(':' IN entry) + 1) AS value
        FROM (SELECT *, unnest(also) AS entry FROM cleaned.indicators)
    )
),

listed AS NOT MATERIALIZED (
    SELECT told.*
    FROM told
    SEMI JOIN (SELECT source FROM feeds WHERE kind = 'state') USING (source)
),

-- A snapshot and the next; the last one has none yet.
snapshots AS (
    SELECT source, day, lead(day) OVER (PARTITION BY source ORDER BY day) AS next
    FROM (SELECT DISTINCT source, day FROM listed)
    QUALIFY next <= day + 90
),

-- What a snapshot holds, and what the one before it held: fresh is what only the first does.
fresh AS NOT MATERIALIZED (
    SELECT day, source, indicator, indicator_type
    FROM (
        SELECT day, source, indicator, indicator_type, true AS here FROM listed
        UNION ALL
        SELECT next, source, indicator, indicator_type, false
        FROM listed
        INNER JOIN snapshots USING (source, day)
    )
    GROUP BY day, source, indicator, indicator_type
    HAVING bool_and(here)
),

returned AS NOT MATERIALIZED (
    SELECT DISTINCT fresh.day, fresh.source, fresh.indicator, fresh.indicator_type
    FROM fresh
    INNER JOIN listed AS earlier
        ON earlier.source = fresh.source
        AND earlier.indicator = fresh.indicator
        AND earlier.indicator_type = fresh.indicator_type
        AND earlier.day < fresh.day
        AND earlier.day >= fresh.day - 90
),

placed AS NOT MATERIALIZED (
    SELECT told.*, kind, true AS here
    FROM told
    INNER JOIN feeds USING (source)
    UNION ALL
    SELECT
        next, source, indicator, indicator_type, NULL, NULL, NULL, detect, reserved, host,
        registered_domain, NULL, NULL, NULL, tlp, 'before', false
    FROM listed
    INNER JOIN snapshots USING (source, day)
    UNION ALL
    SELECT
        day, source, indicator, indicator_type, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, 'earlier', false
    FROM returned
),

sighted AS NOT MATERIALIZED (
    SELECT
        day,
        source,
        indicator,
        indicator_type,
        bool_or(kind = 'event') AS is_event,
        bool_or(here) AS here,
        bool_or(kind = 'before') AS stood_before,
        bool_or(kind = 'earlier') AS stood_earlier,
        count(*) FILTER (WHERE here) AS records,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        max(confidence) AS confidence,
        coalesce(bool_or(detect) FILTER (WHERE here), bool_or(detect)) AS detect,
        bool_or(reserved) AS reserved,
        min(host) AS host,
        min(registered_domain) AS registered_domain,
        min(threat) AS threat,
        min(malware) AS malware,
        list_sort(list_distinct(flatten(list(tags) FILTER (WHERE tags IS NOT NULL)))) AS tags,
        ['clear', 'green', 'amber', 'amber+strict', 'red'][coalesce(
            max(list_position(
                ['clear', 'green', 'amber', 'amber+strict', 'red'], coalesce(tlp, 'amber')
            )) FILTER (WHERE here),
            max(list_position(
                ['clear', 'green', 'amber', 'amber+strict', 'red'], coalesce(tlp, 'amber')
            ))
        )] AS tlp
    FROM placed
    GROUP BY day, source, indicator, indicator_type
)

SELECT
    day,
    source,
    indicator,
    indicator_type,
    CASE
        WHEN is_event THEN 'seen'
        WHEN NOT here THEN 'gone'
        WHEN stood_before THEN 'still'
        WHEN stood_earlier THEN 'back'
        ELSE 'added'
    END AS change,
    records, first_seen, last_seen, confidence, detect, reserved, host, registered_domain, threat,
    malware, tags, tlp
FROM sighted
