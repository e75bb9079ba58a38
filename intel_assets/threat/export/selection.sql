-- Each indicator with what is told of it by those feeds alone that may be passed on, or that are asked
-- for by name, and why it stays here if it does. Of its numbers (confidence, first and last seen) all
-- feeds are the evidence; of words, nobody's are told whose terms forbid it. An ATT&CK technique is
-- the word of the report that names it: it leaves if that may.
WITH allowed AS (
    SELECT source
    FROM aggregated.feeds
    WHERE redistributable OR list_contains($restricted::VARCHAR [], source)
),

told AS (
    SELECT
        indicator,
        indicator_type,
        arg_min(source, (coalesce(first_seen, TIMESTAMPTZ '9999-01-01'), source)) AS first_reporter,
        list_sort(list(DISTINCT source)) AS sources,
        list_sort(list(DISTINCT threat) FILTER (WHERE threat IS NOT NULL)) AS threats,
        list_sort(list(DISTINCT malware) FILTER (WHERE malware IS NOT NULL)) AS malware,
        list_sort(list_distinct(flatten(list(tags) FILTER (WHERE tags IS NOT NULL)))) AS tags
    FROM aggregated.sightings
    SEMI JOIN allowed USING (source)
    GROUP BY indicator, indicator_type
),

used AS (
    SELECT
        indicator,
        indicator_type,
        list_sort(list_distinct(flatten(list(techniques)))) AS techniques
    FROM cleaned.contexts
    SEMI JOIN allowed USING (source)
    WHERE
        techniques IS NOT NULL
        AND list_position($scopes::VARCHAR [], coalesce(tlp, 'amber'))
        <= list_position($scopes::VARCHAR [], $tlp)
    GROUP BY indicator, indicator_type
)

SELECT
    -- Where it lies and what each feed says of it stays.
    every.* EXCLUDE (listings, place, bucket) REPLACE (
        told.first_reporter AS first_reporter,
        coalesce(told.sources, []) AS sources,
        len(coalesce(told.sources, []))::BIGINT AS source_count,
        list_transform(
            list_filter(
                list_zip(every.sources, every.source_confidences),
                lambda one: list_contains(told.sources, one[1])
            ),
            lambda one: one[2]
        ) AS source_confidences,
        coalesce(told.threats, []) AS threats,
        coalesce(told.malware, []) AS malware,
        coalesce(told.tags, []) AS tags
    ),
    coalesce(used.techniques, []) AS techniques,
    CASE
        WHEN every.reserved THEN 'reserved address'
        WHEN NOT every.detect THEN 'context, not for detection'
        WHEN every.status <> 'active' THEN every.status
        WHEN every.suppressed THEN 'suppressed by a warninglist'
        WHEN every.confidence < $min_confidence THEN 'confidence too low'
        WHEN list_position($scopes::VARCHAR [], every.tlp) > list_position($scopes::VARCHAR [], $tlp)
            THEN 'sharing scope too narrow'
        WHEN told.sources IS NULL THEN 'terms forbid passing on'
    END AS reason
FROM aggregated.indicators AS every
LEFT JOIN told USING (indicator, indicator_type)
LEFT JOIN used USING (indicator, indicator_type)
WHERE len($types::VARCHAR []) = 0 OR list_contains($types::VARCHAR [], every.indicator_type)
