-- What is told of, day by day: by type, threat, malware, tag and country. Of each, a day has the fifty
-- values with the most sightings; what the others have together is `(other)`.
-- What is usual, and what is odd, is computed when it is asked: threat_anomalies.sql.
WITH told AS MATERIALIZED (
    SELECT day, source, indicator, indicator_type, change, threat, malware, tags
    FROM aggregated.sightings
    WHERE change <> 'gone'
),

-- What no feed told of in the ninety days before.
fresh AS NOT MATERIALIZED (
    SELECT DISTINCT told.day, told.indicator, told.indicator_type, true AS is_new
    FROM told
    ANTI JOIN aggregated.sightings AS earlier
        ON earlier.indicator = told.indicator
        AND earlier.indicator_type = told.indicator_type
        AND earlier.day < told.day
        AND earlier.day >= told.day - 90
        AND earlier.change <> 'gone'
    WHERE told.change IN ('seen', 'added')
),

valued AS NOT MATERIALIZED (
    SELECT day, source, indicator, indicator_type, 'type' AS dimension, indicator_type AS value
    FROM told
    UNION ALL
    SELECT day, source, indicator, indicator_type, 'threat', threat
    FROM told
    WHERE threat IS NOT NULL
    UNION ALL
    SELECT day, source, indicator, indicator_type, 'malware', malware
    FROM told
    WHERE malware IS NOT NULL
    UNION ALL
    SELECT day, source, indicator, indicator_type, 'tag', unnest(tags)
    FROM told
    WHERE tags IS NOT NULL
    UNION ALL
    -- Of a file, feeds say from where it was sent, and not where it is.
    SELECT DISTINCT day, source, indicator, indicator_type, 'country', country
    FROM cleaned.contexts
    SEMI JOIN (SELECT source FROM aggregated.feeds WHERE kind IN ('event', 'state')) USING (source)
    WHERE country IS NOT NULL AND indicator_type IN ('ipv4', 'ipv6', 'cidr')
),

largest AS NOT MATERIALIZED (
    SELECT day, dimension, value
    FROM valued
    GROUP BY day, dimension, value
    QUALIFY row_number() OVER (
        PARTITION BY day, dimension ORDER BY count(*) DESC, value
    ) <= 50
),

bounded AS NOT MATERIALIZED (
    SELECT day, source, indicator, indicator_type, dimension, value
    FROM valued
    SEMI JOIN largest USING (day, dimension, value)
    UNION ALL
    -- What has several of the other tags counts once.
    SELECT DISTINCT day, source, indicator, indicator_type, dimension, '(other)'
    FROM valued
    ANTI JOIN largest USING (day, dimension, value)
),

by_indicator AS NOT MATERIALIZED (
    SELECT day, dimension, value, indicator, indicator_type, count(*) AS sightings
    FROM bounded
    GROUP BY day, dimension, value, indicator, indicator_type
)

SELECT
    day,
    dimension,
    value,
    sum(sightings)::BIGINT AS sightings,
    count(*) AS indicators,
    count(is_new) AS new_indicators
FROM by_indicator
LEFT JOIN fresh USING (day, indicator, indicator_type)
GROUP BY day, dimension, value
