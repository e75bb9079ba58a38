-- Which feed told of which indicator on which day.
-- A feed whose body is the whole truth of its day (state) has a snapshot a day: what stands in it is
-- `added`, `still` there or `back`, and what stood in the snapshot before and does not any more is
-- `gone`. The snapshot before may lie up to 7 days back. A day without a snapshot says nothing.
WITH kinds AS (
    SELECT source, kind FROM aggregated.feeds
),

-- A record's other indicators are told of as well as its first.
told AS (
    SELECT
        day, source, indicator, indicator_type, first_seen, last_seen, confidence, detect,
        reserved, host, registered_domain, threat, malware, tags, tlp
    FROM cleaned.indicators
    UNION ALL
    SELECT
        day,
        source,
        substr(entry, position(':' IN entry) + 1),
        split_part(entry, ':', 1),
        first_seen,
        last_seen,
        confidence,
        detect,
        false,
        NULL,
        NULL,
        threat,
        malware,
        tags,
        tlp
    FROM (SELECT * EXCLUDE (also), unnest(also) AS entry FROM cleaned.indicators)
),

sighted AS (
    SELECT
        day,
        source,
        indicator,
        indicator_type,
        count(*)::BIGINT AS records,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        max(confidence) AS confidence,
        bool_or(detect) AS detect,
        bool_or(reserved) AS reserved,
        min(host) AS host,
        min(registered_domain) AS registered_domain,
        min(threat) AS threat,
        min(malware) AS malware,
        list_sort(list_distinct(flatten(list(tags) FILTER (WHERE tags IS NOT NULL)))) AS tags,
        ['clear', 'green', 'amber', 'amber+strict', 'red'][max(list_position(
            ['clear', 'green', 'amber', 'amber+strict', 'red'], coalesce(tlp, 'amber')
        ))] AS tlp
    FROM told
    GROUP BY day, source, indicator, indicator_type
),

snapshots AS (
    SELECT
        source,
        day,
        lag(day) OVER (PARTITION BY source ORDER BY day) AS before,
        lead(day) OVER (PARTITION BY source ORDER BY day) AS after
    FROM (SELECT DISTINCT source, day FROM sighted)
),

listed AS (
    SELECT
        sighted.*,
        before,
        after,
        lag(sighted.day) OVER entry AS stood,
        lead(sighted.day) OVER entry AS stands
    FROM sighted
    INNER JOIN snapshots USING (source, day)
    INNER JOIN kinds USING (source)
    WHERE kind = 'state'
    WINDOW entry AS (
        PARTITION BY source, indicator, indicator_type ORDER BY sighted.day
    )
)

SELECT
    day, source, indicator, indicator_type, 'seen' AS change, records, first_seen, last_seen,
    confidence, detect, reserved, host, registered_domain, threat, malware, tags, tlp
FROM sighted
INNER JOIN kinds USING (source)
WHERE kind <> 'state'
UNION ALL
SELECT
    day,
    source,
    indicator,
    indicator_type,
    CASE
        WHEN stood = before AND before >= day - 7 THEN 'still'
        WHEN stood >= day - 7 THEN 'back'
        ELSE 'added'
    END,
    records, first_seen, last_seen, confidence, detect, reserved, host, registered_domain, threat,
    malware, tags, tlp
FROM listed
UNION ALL
SELECT
    after, source, indicator, indicator_type, 'gone', 0, first_seen, last_seen, confidence, detect,
    reserved, host, registered_domain, threat, malware, tags, tlp
FROM listed
WHERE after <= day + 7 AND stands IS DISTINCT FROM after
