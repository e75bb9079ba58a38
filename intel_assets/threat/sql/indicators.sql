-- One row an indicator, over all feeds: who told of it, how sure that makes, and how old it is.
-- The facts stand in indicator_parts. What hangs on time alone is counted from asked_at(): `--as-of`,
-- or the present. `bucket` is the first hexadecimal of the indicator's SHA-256: who looks one up and
-- names it reads a sixteenth of the table.
WITH newer AS NOT MATERIALIZED (
    SELECT *
    FROM aggregated.indicator_parts
    WHERE part = 'recent'
    QUALIFY row_number() OVER (
        PARTITION BY bucket, indicator, indicator_type ORDER BY written DESC
    ) = 1
),

facts AS NOT MATERIALIZED (
    FROM newer
    UNION ALL
    SELECT base.*
    FROM aggregated.indicator_parts AS base
    LEFT JOIN (
        SELECT DISTINCT bucket, indicator, indicator_type, true AS made_newer
        FROM aggregated.indicator_parts
        WHERE part = 'recent'
    ) AS replaced USING (bucket, indicator, indicator_type)
    WHERE part = 'base' AND made_newer IS NULL
),

-- The user's own list: of each value the newest row counts.
entries AS (
    SELECT
        value,
        owner,
        reason,
        first_address,
        last_address,
        CASE
            WHEN contains(value, '/') THEN split_part(value, '/', 2)::INTEGER
            WHEN contains(value, ':') THEN 128
            ELSE 32
        END AS bits
    FROM (
        SELECT * FROM ops.allowlist
        QUALIFY row_number() OVER (PARTITION BY value ORDER BY recorded_at DESC) = 1
    )
    WHERE NOT removed AND (expires_at IS NULL OR expires_at > asked_at())
),

allowed AS (
    SELECT
        list(entries ORDER BY value) AS entries,
        coalesce(bool_or(first_address IS NOT NULL), false) AS has_ranges
    FROM entries
),

-- Where an address or a range begins, if the list has a range that it may lie in.
located AS NOT MATERIALIZED (
    SELECT
        facts.*,
        allowed.entries AS entries,
        CASE
            WHEN NOT allowed.has_ranges THEN NULL
            WHEN indicator_type = 'cidr' THEN split_part(indicator, '/', 1)
            WHEN contains(host, ':') OR regexp_full_match(host, '[0-9.]+') THEN host
        END AS address,
        list_filter(string_split(split_part(address, '::', 1), ':'), lambda g: g <> '') AS head,
        list_filter(string_split(split_part(address, '::', 2), ':'), lambda g: g <> '') AS tail
    FROM facts
    CROSS JOIN allowed
    WHERE len(sources) > 0
),

-- As 32 hexadecimals, IPv4 as ::ffff:a.b.c.d: so is canonical.bounds.
placed AS NOT MATERIALIZED (
    SELECT
        * EXCLUDE (head, tail) REPLACE (
            CASE
                WHEN contains(address, ':') THEN array_to_string(list_transform(
                    head || list_resize(['0'][2:], 8 - len(head) - len(tail), '0') || tail,
                    lambda g: lpad(g, 4, '0')
                ), '')
                WHEN address IS NOT NULL THEN '00000000000000000000ffff' || array_to_string(
                    list_transform(
                        string_split(address, '.'), lambda octet: printf('%02x', octet::INTEGER)
                    ),
                    ''
                )
            END AS address
        )
    FROM located
),

met AS NOT MATERIALIZED (
    SELECT
        * EXCLUDE (entries, address),
        CASE WHEN entries IS NOT NULL THEN list_filter(
            entries,
            lambda entry:
            entry.value = indicator
            OR entry.value = host
            OR ends_with(host, '.' || entry.value)
            OR (
                address BETWEEN entry.first_address AND entry.last_address
                -- A range that reaches beyond the allowed one is none.
                AND (
                    indicator_type <> 'cidr'
                    OR split_part(indicator, '/', 2)::INTEGER >= entry.bits
                )
            )
        )[1] END AS permit
    FROM placed
),

aged AS NOT MATERIALIZED (
    SELECT
        met.* REPLACE (least(last_seen, asked_at()) AS last_seen),
        tau_days,
        delta,
        threshold,
        greatest(0, epoch_us(asked_at()) - epoch_us(met.last_seen)) / 86400e6 AS age_days,
        greatest(0, 1 - pow(least(1, age_days / tau_days), 1 / delta)) AS decay
    FROM met
    INNER JOIN aggregated.decay USING (indicator_type)
)

SELECT
    indicator,
    indicator_type,
    first_seen,
    last_seen,
    first_reporter,
    sources,
    len(sources)::BIGINT AS source_count,
    [listing.confidence FOR listing IN listings] AS source_confidences,
    evidence,
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
    permit IS NOT NULL OR warninglist IS NOT NULL AS suppressed,
    coalesce('allowlist:' || permit.value, 'warninglist:' || warninglist) AS suppressed_by,
    coalesce(permit.reason || ' (' || permit.owner || ')', warning) AS suppression_reason,
    round(age_days, 3) AS age_days,
    tau_days,
    delta,
    threshold,
    listings,
    bucket
FROM aged
