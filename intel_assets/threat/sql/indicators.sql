-- One row an indicator, over all feeds: who told of it, how sure that makes, and how old it is.
-- What hangs on time alone is counted from asked_at(): `--as-of`, or the present.
WITH by_source AS (
    SELECT
        indicator,
        indicator_type,
        source,
        min(first_seen) AS first_seen,
        max(coalesce(last_seen, first_seen)) FILTER (WHERE change = 'seen') AS last_event,
        max(day) FILTER (WHERE change NOT IN ('seen', 'gone')) AS last_listed,
        arg_max(change, day) AS last_change,
        max(confidence) AS confidence,
        bool_or(detect) AS detect,
        bool_or(reserved) AS reserved,
        min(host) AS host,
        min(registered_domain) AS registered_domain,
        list(DISTINCT threat) FILTER (WHERE threat IS NOT NULL) AS threats,
        list(DISTINCT malware) FILTER (WHERE malware IS NOT NULL) AS malware,
        flatten(list(tags) FILTER (WHERE tags IS NOT NULL)) AS tags,
        max(list_position(['clear', 'green', 'amber', 'amber+strict', 'red'], tlp)) AS scope
    FROM aggregated.sightings
    GROUP BY indicator, indicator_type, source
),

-- How sure each source makes: its own confidence, else the trust in it. Context, addresses that the
-- internet does not route, and what a list dropped are no evidence.
weighed AS (
    SELECT
        by_source.*,
        derived_from,
        redistributable,
        last_change = 'gone' AS dropped,
        greatest(
            last_event, last_listed::TIMESTAMPTZ + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND
        ) AS seen_at,
        CASE
            WHEN NOT detect OR reserved OR last_change = 'gone' THEN 0
            ELSE least(coalesce(confidence, trust) / 100.0, 0.999)
        END AS weight
    FROM by_source
    INNER JOIN aggregated.feeds USING (source)
),

gathered AS (
    SELECT
        indicator,
        indicator_type,
        min(weighed.first_seen) AS first_seen,
        -- A snapshot of today is as of now, and not of the end of the day.
        least(max(seen_at), asked_at()) AS last_seen,
        arg_min(source, (coalesce(weighed.first_seen, TIMESTAMPTZ '9999-01-01'), source))
            AS first_reporter,
        list(source ORDER BY source) AS sources,
        list(round(100 * weight, 1) ORDER BY source) AS source_confidences,
        list({'source': source, 'derived': derived_from, 'weight': weight}) AS reports,
        bool_and(dropped) AS withdrawn,
        bool_or(detect) AS detect,
        bool_or(reserved) AS reserved,
        max(scope) AS scope,
        bool_or(redistributable) AS redistributable,
        list_sort(list_distinct(flatten(list(threats)))) AS threats,
        list_sort(list_distinct(flatten(list(malware)))) AS malware,
        list_sort(list_distinct(flatten(list(tags)))) AS tags,
        min(host) AS host,
        min(registered_domain) AS registered_domain
    FROM weighed
    GROUP BY indicator, indicator_type
),

-- Independent reports make more certain together (noisy-OR): 1 - prod(1 - weight). Sources that are
-- made of nobody else's are independent. Of those that repeat others one counts at most, together
-- with the sources that it is not made of; what gives the most is taken, so that a further report
-- never lowers it.
evident AS (
    SELECT
        *,
        list_filter(reports, lambda r: len(r.derived) = 0) AS firsts,
        list_filter(reports, lambda r: len(r.derived) > 0) AS repeats
    FROM gathered
),

scored AS (
    SELECT
        * EXCLUDE (reports, firsts, repeats),
        100 * (1 - exp(least(
            coalesce(list_sum(list_transform(firsts, lambda f: ln(1 - f.weight))), 0),
            coalesce(list_min(list_transform(
                repeats,
                lambda r: ln(1 - r.weight) + coalesce(list_sum(list_transform(
                    list_filter(firsts, lambda f: NOT list_contains(r.derived, f.source)),
                    lambda f: ln(1 - f.weight)
                )), 0)
            )), 0)
        ))) AS evidence
    FROM evident
),

aged AS (
    SELECT
        scored.*,
        tau_days,
        delta,
        threshold,
        greatest(0, epoch(asked_at() - last_seen) / 86400) AS age_days,
        greatest(0, 1 - pow(least(1, age_days / tau_days), 1 / delta)) AS decay
    FROM scored
    INNER JOIN aggregated.decay USING (indicator_type)
),

-- One's own word goes before a warninglist's.
excused AS (
    SELECT
        indicator,
        indicator_type,
        arg_min(
            CASE kind WHEN 'allow' THEN 'allowlist:' ELSE 'warninglist:' END || list, (kind, list)
        ) AS suppressed_by,
        arg_min(list_title || ': ' || value, (kind, list)) AS suppression_reason
    FROM aggregated.list_hits
    WHERE kind IN ('allow', 'warninglist')
    GROUP BY indicator, indicator_type
)

SELECT
    indicator,
    indicator_type,
    first_seen,
    last_seen,
    first_reporter,
    sources,
    len(sources)::BIGINT AS source_count,
    source_confidences,
    round(evidence, 2) AS evidence,
    round(decay, 4) AS decay,
    round(evidence * decay, 2) AS confidence,
    CASE
        WHEN withdrawn THEN 'withdrawn'
        WHEN evidence * decay < threshold THEN 'expired'
        ELSE 'active'
    END AS status,
    detect,
    reserved,
    ['clear', 'green', 'amber', 'amber+strict', 'red'][scope] AS tlp,
    redistributable,
    threats,
    malware,
    tags,
    host,
    registered_domain,
    excused.suppressed_by IS NOT NULL AS suppressed,
    excused.suppressed_by,
    excused.suppression_reason,
    round(age_days, 3) AS age_days,
    tau_days,
    delta,
    threshold
FROM aged
LEFT JOIN excused USING (indicator, indicator_type)
