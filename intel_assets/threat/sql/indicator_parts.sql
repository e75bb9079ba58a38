-- What is known of each indicator over all feeds, as far as time alone does not change it: a pure
-- function of its sightings. What hangs on the present is in indicators.sql.
-- Texts are collected joined by the unit separator: lists of millions of groups do not fit in memory.
WITH numbered AS (
    SELECT
        source,
        trust / 100.0 AS trust,
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
        max(greatest(first_seen, last_seen)) FILTER (WHERE change = 'seen') AS told_at,
        max(day) FILTER (WHERE change = 'seen') AS event_day,
        max(day) FILTER (WHERE change NOT IN ('seen', 'gone')) AS listed_day,
        max(day) FILTER (WHERE change = 'gone') AS gone_day,
        count(*) FILTER (WHERE change <> 'gone') AS days,
        -- What the feed said last; context and what is not routed make nothing sure.
        arg_max(confidence, day) FILTER (WHERE detect AND NOT reserved) AS confidence,
        bool_or(detect AND NOT reserved) AS tells,
        bool_or(detect) AS detect,
        bool_or(reserved) AS reserved,
        min(host) AS host,
        min(registered_domain) AS registered_domain,
        string_agg(threat, chr(31)) AS threats,
        string_agg(malware, chr(31)) AS malware,
        string_agg(array_to_string(tags, chr(31)), chr(31)) AS tags,
        max(CASE tlp
            WHEN 'clear' THEN 1
            WHEN 'green' THEN 2
            WHEN 'amber' THEN 3
            WHEN 'amber+strict' THEN 4
            ELSE 5
        END) AS scope
    FROM aggregated.sightings
    GROUP BY indicator, indicator_type, source
),

weighed AS (
    SELECT
        indicator,
        indicator_type,
        source,
        first_seen,
        -- A snapshot counts until the end of its day.
        greatest(
            told_at,
            make_timestamptz(epoch_us(event_day)),
            make_timestamptz(epoch_us(listed_day) + 86399999999)
        ) AS last_seen,
        event_day,
        gone_day,
        coalesce(gone_day > listed_day, gone_day IS NOT NULL) AS dropped,
        CASE
            WHEN NOT tells OR dropped THEN 0
            ELSE coalesce(confidence / 100, trust)
        END AS weight,
        bit,
        origins,
        repeats,
        {
            'source': source,
            'first_seen': first_seen,
            'last_seen': last_seen,
            'last_day': greatest(event_day, listed_day),
            'days': days,
            'confidence': round(100 * weight, 1),
            'dropped': dropped
        } AS listing,
        redistributable,
        detect,
        reserved,
        host,
        registered_domain,
        threats,
        malware,
        tags,
        scope,
        count(*) OVER (PARTITION BY indicator, indicator_type) AS tellers
    FROM by_source
    INNER JOIN feeds USING (source)
),

-- Most are told of by one feed, and there is nothing to put together.
alone AS (
    SELECT
        indicator,
        indicator_type,
        first_seen,
        last_seen,
        source AS first_reporter,
        [listing] AS listings,
        1 - weight AS doubt,
        dropped AS withdrawn,
        redistributable,
        detect,
        reserved,
        host,
        registered_domain,
        threats,
        malware,
        tags,
        scope
    FROM weighed
    WHERE tellers = 1
),

gathered AS (
    SELECT
        indicator,
        indicator_type,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        -- Who said so on the first day; a feed that repeats others comes behind them.
        min({
            'day': coalesce(epoch_us(first_seen) // 86400000000, 1000000),
            'repeats': repeats,
            'at': first_seen,
            'source': source
        }).source AS first_reporter,
        list_sort(list(listing)) AS listings,
        coalesce(product(1 - weight) FILTER (WHERE NOT repeats), 1) AS doubt,
        list({'doubt': 1 - weight, 'bit': bit}) FILTER (WHERE NOT repeats AND weight > 0) AS firsts,
        list({'doubt': 1 - weight, 'origins': origins})
            FILTER (WHERE repeats AND weight > 0) AS repeaters,
        -- Every list dropped it, and no event feed told of it since.
        bool_and(dropped OR event_day IS NOT NULL)
        AND coalesce(
            max(gone_day) FILTER (WHERE dropped) > coalesce(max(event_day), DATE '1970-01-01'),
            false
        ) AS withdrawn,
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

warned AS (
    SELECT
        indicator,
        indicator_type,
        min({'list': list, 'reason': list_title || ': ' || value}) AS first
    FROM aggregated.warninglist_hits
    GROUP BY indicator, indicator_type
)

SELECT
    'base' AS part,
    left(sha256(indicator), 1) AS bucket,
    0 AS written,
    indicator,
    indicator_type,
    host,
    registered_domain,
    first_seen,
    last_seen,
    first_reporter,
    [listing.source FOR listing IN listings] AS sources,
    round(100 * (1 - doubt), 2) AS evidence,
    withdrawn,
    detect,
    reserved,
    ['clear', 'green', 'amber', 'amber+strict', 'red'][scope] AS tlp,
    redistributable,
    list_sort(list_distinct(string_split(threats, chr(31)))) AS threats,
    list_sort(list_distinct(string_split(malware, chr(31)))) AS malware,
    list_sort(list_distinct(string_split(tags, chr(31)))) AS tags,
    listings,
    warned.first.list AS warninglist,
    warned.first.reason AS warning
FROM doubted
LEFT JOIN warned USING (indicator, indicator_type)
