-- One row an indicator, over all feeds: who told of it, how sure that makes, and how old it is.
-- What hangs on time alone is counted from asked_at(): `--as-of`, or the present.
WITH aged AS NOT MATERIALIZED (
    SELECT
        facts.* REPLACE (
            -- A snapshot of today is as of now, and not of the end of the day.
            least(last_seen, asked_at()) AS last_seen
        ),
        tau_days,
        delta,
        threshold,
        greatest(0, epoch(asked_at() - facts.last_seen) / 86400) AS age_days,
        greatest(0, 1 - pow(least(1, age_days / tau_days), 1 / delta)) AS decay,
        list_filter(own, lambda e: e.list = 'allow')[1] AS permit
    FROM aggregated.indicator_facts AS facts
    INNER JOIN aggregated.decay USING (indicator_type)
)

SELECT
    indicator,
    indicator_type,
    first_seen,
    last_seen,
    first_reporter,
    [listing.source FOR listing IN listings] AS sources,
    len(listings)::BIGINT AS source_count,
    [listing.confidence FOR listing IN listings] AS source_confidences,
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
    tlp,
    redistributable,
    threats,
    malware,
    tags,
    host,
    registered_domain,
    -- One's own word goes before a warninglist's.
    permit IS NOT NULL OR warnings IS NOT NULL AS suppressed,
    coalesce('allowlist:' || permit.owner, 'warninglist:' || warnings[1].list) AS suppressed_by,
    coalesce(
        permit.reason || ': ' || permit.value, warnings[1].title || ': ' || warnings[1].value
    ) AS suppression_reason,
    round(age_days, 3) AS age_days,
    tau_days,
    delta,
    threshold,
    listings,
    place,
    bucket
FROM aged
