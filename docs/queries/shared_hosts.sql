-- Which hosts many URLs lead to, who tells of them, and of what domain they are part.
WITH part_of AS (
    SELECT indicator AS host, any_value(target) AS registered_domain
    FROM aggregated.indicator_links
    WHERE relation = 'part of'
    GROUP BY indicator
)

SELECT
    target AS host,
    registered_domain,
    count(DISTINCT indicator) AS urls,
    list(DISTINCT source ORDER BY source) AS sources,
    min(day) AS first_day,
    max(day) AS last_day
FROM aggregated.indicator_links AS links
LEFT JOIN part_of ON part_of.host = target
WHERE relation = 'hosted on'
GROUP BY target, registered_domain
ORDER BY urls DESC, target
LIMIT 50
