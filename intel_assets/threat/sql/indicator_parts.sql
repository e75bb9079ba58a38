-- What is known of each indicator over all feeds, as far as time alone does not change it: a pure
-- function of its sightings and of the newest warninglists. What hangs on the present, and on lists
-- of one's own, is in indicator_facts.sql and indicators.sql.
-- `place` is where one looks for it: the host of a URL, else itself, so that URLs stand beside their
-- host; ranges, which few feeds tell of, stand in a bucket of their own.
-- Texts are collected joined by the unit separator: lists of millions of groups do not fit in memory.
WITH numbered AS (
    SELECT
        source,
        trust,
        redistributable,
        derived_from,
        1::HUGEINT << row_number() OVER (ORDER BY source)::INTEGER AS bit
    FROM aggregated.feeds
),

-- A bit for each feed, and those of the feeds that it repeats.
feeds AS (
    SELECT
        feed.source,
        feed.trust,
        feed.redistributable,
        feed.bit,
        len(feed.derived_from) > 0 AS repeats,
        coalesce(bit_or(origin.bit), 0::HUGEINT) AS origins
    FROM numbered AS feed
    LEFT JOIN numbered AS origin ON list_contains(feed.derived_from, origin.source)
    GROUP BY ALL
),

by_source AS (
    SELECT
        indicator,
        indicator_type,
        source,
        min(first_seen) AS first_seen,
        max(coalesce(last_seen, first_seen)) FILTER (WHERE change = 'seen') AS last_event,
        max(day) FILTER (WHERE change NOT IN ('seen', 'gone')) AS last_listed,
        min(day) FILTER (WHERE change <> 'gone') AS first_day,
        max(day) FILTER (WHERE change <> 'gone') AS last_day,
        max(day) FILTER (WHERE change = 'gone') AS gone_on,
        count(*) FILTER (WHERE change <> 'gone') AS days,
        arg_max(change, day) = 'gone' AS dropped,
        max(confidence) AS confidence,
        bool_or(detect) AS detect,
        bool_or(reserved) AS reserved,
        min(host) AS host,
        min(registered_domain) AS registered_domain,
        string_agg(DISTINCT threat, chr(31)) AS threats,
        string_agg(DISTINCT malware, chr(31)) AS malware,
        string_agg(DISTINCT array_to_string(tags, chr(31)), chr(31)) AS tags,
        max(list_position(['clear', 'green', 'amber', 'amber+strict', 'red'], tlp)) AS scope
    FROM aggregated.sightings
    GROUP BY indicator, indicator_type, source
),

-- How sure each source makes: its own confidence, else the trust in it. Context, addresses that the
-- internet does not route, and what a list dropped are no evidence.
weighed AS (
    SELECT
        by_source.* EXCLUDE (last_event, last_listed, first_day, last_day, gone_on, days),
        redistributable,
        bit,
        origins,
        repeats,
        -- A snapshot counts until the end of its day.
        greatest(
            last_event, last_listed::TIMESTAMPTZ + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND
        ) AS seen_at,
        CASE
            WHEN NOT detect OR reserved OR dropped THEN 0
            ELSE least(coalesce(confidence, trust) / 100.0, 0.999)
        END AS weight,
        {
            'source': source,
            'first_day': first_day,
            'last_day': last_day,
            'days': days,
            'gone_on': CASE WHEN dropped THEN gone_on END,
            'confidence': round(100 * weight, 1)
        } AS listing,
        count(*) OVER (PARTITION BY indicator, indicator_type) AS tellers
    FROM by_source
    INNER JOIN feeds USING (source)
),

-- Most are told of by one feed, and there is nothing to put together.
alone AS (
    SELECT
        indicator, indicator_type, first_seen, seen_at AS last_seen, source AS first_reporter,
        [listing] AS listings, 1 - weight AS doubt, dropped AS withdrawn, redistributable, detect,
        reserved, host, registered_domain, threats, malware, tags, scope
    FROM weighed
    WHERE tellers = 1
),

gathered AS (
    SELECT
        indicator,
        indicator_type,
        min(first_seen) AS first_seen,
        max(seen_at) AS last_seen,
        arg_min(source, (coalesce(first_seen, TIMESTAMPTZ '9999-01-01'), source)) AS first_reporter,
        list_sort(list(listing)) AS listings,
        coalesce(product(1 - weight) FILTER (WHERE NOT repeats), 1) AS doubt,
        list({'doubt': 1 - weight, 'bit': bit}) FILTER (WHERE NOT repeats AND weight > 0) AS firsts,
        list({'doubt': 1 - weight, 'origins': origins})
            FILTER (WHERE repeats AND weight > 0) AS repeaters,
        bool_and(dropped) AS withdrawn,
        bool_or(redistributable) AS redistributable,
        bool_or(detect) AS detect,
        bool_or(reserved) AS reserved,
        min(host) AS host,
        min(registered_domain) AS registered_domain,
        string_agg(threats, chr(31)) AS threats,
        string_agg(malware, chr(31)) AS malware,
        string_agg(tags, chr(31)) AS tags,
        max(scope) AS scope
    FROM weighed
    WHERE tellers > 1
    GROUP BY indicator, indicator_type
),

-- Independent reports make more certain together (noisy-OR): 1 - prod(1 - weight). Feeds that repeat
-- nobody are independent. Of those that repeat others one counts at most, together with the feeds
-- that it does not repeat; what gives the most is taken, so that a further report never lowers it.
doubted AS (
    FROM alone
    UNION ALL
    SELECT
        * EXCLUDE (firsts, repeaters) REPLACE (
            CASE
                WHEN repeaters IS NULL THEN doubt
                ELSE least(doubt, list_min(list_transform(
                    repeaters,
                    lambda r: r.doubt * coalesce(list_aggregate(list_transform(
                        list_filter(firsts, lambda f: (f.bit & r.origins) = 0), lambda f: f.doubt
                    ), 'product'), 1)
                )))
            END AS doubt
        )
    FROM gathered
),

-- The newest snapshot of the warninglists counts.
entries AS (
    SELECT
        list,
        "match",
        value,
        first_address,
        last_address,
        matching_types,
        {'list': list, 'title': list_title, 'match': "match", 'value': value} AS warning
    FROM cleaned.warnings
    WHERE day = (SELECT max(day) FROM cleaned.warnings)
),

-- Addresses are compared as 32 hexadecimals (IPv4 as ::ffff:a.b.c.d), a range by its first address.
-- The host of a URL has one too: it lies in a range of one's own, and in no warninglist's.
based AS (
    SELECT
        indicator,
        indicator_type,
        CASE
            WHEN indicator_type IN ('ipv4', 'ipv6', 'cidr') THEN split_part(indicator, '/', 1)
            WHEN
                indicator_type = 'url'
                AND (regexp_full_match(host, '([0-9]{1,3}[.]){3}[0-9]{1,3}') OR contains(host, ':'))
                THEN trim(host, '[]')
        END AS base
    FROM doubted
),

-- Eight groups of four: those before `::`, zeros, those behind it.
grouped AS (
    SELECT
        *,
        list_filter(string_split(split_part(base, '::', 1), ':'), lambda g: g <> '') AS head,
        list_filter(string_split(split_part(base, '::', 2), ':'), lambda g: g <> '') AS tail
    FROM based
    WHERE contains(base, ':')
),

addressed AS (
    SELECT
        indicator,
        indicator_type,
        '00000000000000000000ffff' || printf(
            '%02x%02x%02x%02x',
            try_cast(split_part(base, '.', 1) AS INTEGER),
            try_cast(split_part(base, '.', 2) AS INTEGER),
            try_cast(split_part(base, '.', 3) AS INTEGER),
            try_cast(split_part(base, '.', 4) AS INTEGER)
        ) AS address
    FROM based
    WHERE NOT contains(base, ':')
    UNION ALL
    SELECT
        indicator,
        indicator_type,
        array_to_string(
            list_transform(
                head || list_transform(range(8 - len(head) - len(tail)), lambda n: '0') || tail,
                lambda g: lpad(g, 4, '0')
            ),
            ''
        )
    FROM grouped
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
    FROM doubted
    WHERE host IS NOT NULL AND indicator_type IN ('domain', 'hostname', 'url')
),

met AS (
    SELECT indicator, indicator_type, warning
    FROM addressed
    INNER JOIN entries ON
        address >= first_address
        AND address <= last_address
        AND "match" = 'cidr'
        AND indicator_type <> 'url'
    UNION ALL
    SELECT indicator, indicator_type, warning
    FROM named
    INNER JOIN entries ON "match" = 'hostname' AND value = name
    WHERE list_contains(matching_types, indicator_type)
    UNION ALL
    SELECT indicator, indicator_type, warning
    FROM doubted
    INNER JOIN entries ON "match" = 'string' AND value = lower(indicator)
    WHERE list_contains(matching_types, indicator_type)
    UNION ALL
    SELECT indicator, indicator_type, warning
    FROM doubted
    INNER JOIN entries ON "match" = 'substring' AND contains(lower(indicator), value)
    WHERE
        list_contains(matching_types, indicator_type)
        AND indicator_type IN ('domain', 'hostname', 'url', 'email')
    UNION ALL
    SELECT indicator, indicator_type, warning
    FROM doubted
    INNER JOIN entries ON
        "match" = 'regex'
        AND regexp_matches(indicator, regexp_replace(value, '^/(.*)/[a-z]*$', '\1'), 'i')
    WHERE list_contains(matching_types, indicator_type)
),

warned AS (
    SELECT indicator, indicator_type, list_sort(list(DISTINCT warning)) AS warnings
    FROM met
    GROUP BY indicator, indicator_type
)

SELECT
    'base' AS part,
    CASE
        WHEN indicator_type = 'url'
            THEN trim(
                regexp_extract(indicator, '^[a-z0-9+.-]+://([^/?#]*@)?(\[[^]]*\]|[^/:?#]*)', 2), '[]'
            )
        ELSE indicator
    END AS place,
    CASE WHEN indicator_type = 'cidr' THEN 'ranges' ELSE left(sha256(place), 1) END AS bucket,
    0 AS written,
    indicator,
    indicator_type,
    address,
    host,
    registered_domain,
    first_seen,
    last_seen,
    first_reporter,
    listings,
    -- The order in which reports are put together is not fixed, nor are the last digits.
    round(100 * (1 - doubt), 6) AS evidence,
    withdrawn,
    detect,
    reserved,
    ['clear', 'green', 'amber', 'amber+strict', 'red'][scope] AS tlp,
    redistributable,
    list_sort(list_distinct(coalesce(string_split(threats, chr(31)), []))) AS threats,
    list_sort(list_distinct(coalesce(string_split(malware, chr(31)), []))) AS malware,
    list_sort(list_distinct(coalesce(string_split(tags, chr(31)), []))) AS tags,
    warnings
FROM doubted
LEFT JOIN addressed USING (indicator, indicator_type)
LEFT JOIN warned USING (indicator, indicator_type)
