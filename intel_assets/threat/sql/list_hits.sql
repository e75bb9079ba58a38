-- The indicators that stand on a list, each with every list and entry that it meets. `kind` is
-- `warninglist`, or `allow` and `watch` for the lists of one's own, of which `list` is the owner.
-- The newest snapshot of the warninglists counts. An address is compared as 32 hexadecimals (IPv4 as
-- ::ffff:a.b.c.d), a range by its first address; a name with itself and its parents.
WITH entries AS (
    SELECT
        'warninglist' AS kind,
        list,
        list_title,
        "match",
        value,
        first_address,
        last_address,
        matching_types
    FROM cleaned.warnings
    WHERE day = (SELECT max(day) FROM cleaned.warnings)
    UNION ALL
    SELECT
        list,
        owner,
        reason,
        "match",
        value,
        first_address,
        last_address,
        -- An entry says by its form what it is compared with.
        (SELECT list(DISTINCT indicator_type) FROM aggregated.sightings)
    FROM aggregated.own_entries
),

indicators AS (
    SELECT DISTINCT indicator, indicator_type, host
    FROM aggregated.sightings
),

addresses AS (
    SELECT
        indicator,
        indicator_type,
        split_part(indicator, '/', 1) AS base,
        position(':' IN indicator) > 0 AS six
    FROM indicators
    WHERE indicator_type IN ('ipv4', 'ipv6', 'cidr')
    UNION ALL
    -- The host of a URL lies in a range of one's own too.
    SELECT
        indicator,
        indicator_type,
        trim(host, '[]'),
        position(':' IN host) > 0
    FROM indicators
    WHERE
        indicator_type = 'url'
        AND (regexp_full_match(host, '([0-9]{1,3}[.]){3}[0-9]{1,3}') OR position(':' IN host) > 0)
),

fours AS (
    SELECT
        indicator,
        indicator_type,
        '00000000000000000000ffff' || printf(
            '%02x%02x%02x%02x',
            split_part(base, '.', 1)::INTEGER,
            split_part(base, '.', 2)::INTEGER,
            split_part(base, '.', 3)::INTEGER,
            split_part(base, '.', 4)::INTEGER
        ) AS address
    FROM addresses
    WHERE NOT six
),

-- Eight groups: those before `::`, zeros, those behind it.
groups AS (
    SELECT
        indicator,
        indicator_type,
        list_filter(string_split(split_part(base, '::', 1), ':'), lambda g: g <> '') AS head,
        list_filter(string_split(split_part(base, '::', 2), ':'), lambda g: g <> '') AS tail
    FROM addresses
    WHERE six
),

sixes AS (
    SELECT
        indicator,
        indicator_type,
        array_to_string(
            list_transform(
                head || list_transform(range(8 - len(head) - len(tail)), lambda n: '0') || tail,
                lambda g: lpad(g, 4, '0')
            ),
            ''
        ) AS address
    FROM groups
),

in_ranges AS (
    SELECT indicator, indicator_type, kind, list, list_title, "match", value
    FROM (FROM fours UNION ALL FROM sixes) AS placed
    INNER JOIN entries ON
        address >= first_address
        AND address <= last_address
        AND "match" = 'cidr'
        AND (indicator_type <> 'url' OR kind <> 'warninglist')
),

-- A name and its parents, for `hostname`: `a.b.c`, `b.c`, `c`.
named AS (
    SELECT
        indicator,
        indicator_type,
        unnest(list_transform(
            range(1, len(string_split(host, '.')) + 1),
            lambda n: array_to_string(string_split(host, '.')[n:], '.')
        )) AS name
    FROM indicators
    WHERE host IS NOT NULL AND indicator_type IN ('domain', 'hostname', 'url')
),

by_name AS (
    SELECT named.indicator, named.indicator_type, kind, list, list_title, "match", value
    FROM named
    INNER JOIN entries ON "match" = 'hostname' AND value = name
    WHERE list_contains(matching_types, named.indicator_type)
),

equal AS (
    SELECT indicator, indicator_type, kind, list, list_title, "match", value
    FROM indicators
    INNER JOIN entries ON "match" = 'string' AND value = lower(indicator)
    WHERE list_contains(matching_types, indicator_type)
),

within AS (
    SELECT indicator, indicator_type, kind, list, list_title, "match", value
    FROM indicators
    INNER JOIN entries ON "match" = 'substring' AND contains(lower(indicator), value)
    WHERE
        list_contains(matching_types, indicator_type)
        AND indicator_type IN ('domain', 'hostname', 'url', 'email')
),

by_rule AS (
    SELECT indicator, indicator_type, kind, list, list_title, "match", value
    FROM indicators
    INNER JOIN entries ON
        "match" = 'regex'
        AND regexp_matches(indicator, regexp_replace(value, '^/(.*)/[a-z]*$', '\1'), 'i')
    WHERE list_contains(matching_types, indicator_type)
)

FROM in_ranges
UNION
FROM by_name
UNION
FROM equal
UNION
FROM within
UNION
FROM by_rule
