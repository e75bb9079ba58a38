-- What ties indicators to each other, to malware, and to those who report them: by day and feed, each
-- link once. What the relations mean is said in ../gold/links.py. Names of techniques are in
-- techniques.sql.
WITH told AS NOT MATERIALIZED (
    SELECT
        *,
        CASE
            WHEN regexp_full_match(host, '[0-9.]+') THEN 'ipv4'
            WHEN contains(host, ':') THEN 'ipv6'
            WHEN host = registered_domain THEN 'domain'
            ELSE 'hostname'
        END AS host_type,
        CASE WHEN host <> registered_domain THEN substr(host, position('.' IN host) + 1) END AS parent
    FROM cleaned.contexts
    SEMI JOIN (SELECT source FROM aggregated.feeds WHERE kind IN ('event', 'state')) USING (source)
    -- Most are bare addresses, which nothing is tied to.
    WHERE
        host <> indicator OR host <> registered_domain OR malware IS NOT NULL OR also IS NOT NULL
        OR pulse_id IS NOT NULL OR event_uuid IS NOT NULL OR techniques IS NOT NULL
),

links AS NOT MATERIALIZED (
    SELECT
        day,
        source,
        first_seen,
        unnest(
            [
                {
                    'indicator': indicator, 'indicator_type': indicator_type,
                    'relation': 'hosted on',
                    'target': CASE WHEN indicator_type = 'url' THEN host END,
                    'target_type': host_type, 'target_label': NULL::VARCHAR
                },
                {
                    'indicator': host, 'indicator_type': host_type,
                    'relation': 'part of',
                    'target': CASE WHEN host <> registered_domain THEN registered_domain END,
                    'target_type': 'domain', 'target_label': NULL
                },
                {
                    'indicator': host, 'indicator_type': host_type,
                    'relation': 'subdomain of',
                    'target': nullif(parent, registered_domain),
                    'target_type': 'hostname', 'target_label': NULL
                },
                {
                    'indicator': indicator, 'indicator_type': indicator_type,
                    'relation': 'malware',
                    'target': malware, 'target_type': 'malware', 'target_label': NULL
                },
                {
                    'indicator': indicator, 'indicator_type': indicator_type,
                    'relation': 'pulse',
                    'target': pulse_id, 'target_type': 'pulse', 'target_label': pulse_name
                },
                {
                    'indicator': indicator, 'indicator_type': indicator_type,
                    'relation': 'event',
                    'target': event_uuid, 'target_type': 'event', 'target_label': event_info
                }
            ]
            || coalesce(list_transform(techniques, lambda technique: {
                'indicator': indicator, 'indicator_type': indicator_type,
                'relation': 'technique',
                'target': technique, 'target_type': 'technique', 'target_label': NULL
            }), [])
            || coalesce(list_transform(also, lambda entry: {
                'indicator': indicator, 'indicator_type': indicator_type,
                'relation': 'same record',
                'target': substr(entry, position(':' IN entry) + 1),
                'target_type': split_part(entry, ':', 1), 'target_label': NULL
            }), [])
        ) AS link
    FROM told
)

SELECT
    day,
    source,
    link.indicator AS indicator,
    link.indicator_type AS indicator_type,
    CASE
        WHEN link.relation <> 'same record' THEN link.relation
        WHEN
            regexp_full_match(link.indicator_type, 'md5|sha[0-9]+')
            AND regexp_full_match(link.target_type, 'md5|sha[0-9]+') THEN 'same file'
        WHEN
            link.indicator_type IN ('domain', 'hostname')
            AND link.target_type IN ('ipv4', 'ipv6') THEN 'resolves to'
        ELSE 'same record'
    END AS relation,
    link.target AS target,
    link.target_type AS target_type,
    min(link.target_label) AS target_label,
    min(first_seen) AS first_seen
FROM links
WHERE link.target IS NOT NULL
GROUP BY ALL
