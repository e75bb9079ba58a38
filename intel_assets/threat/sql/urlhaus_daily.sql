-- URLhaus in numbers, one row a day: volume, hosts, what still answers, the leading tag.
WITH days AS (
    SELECT
        day,
        count(*) AS urls,
        count(DISTINCT host) AS hosts,
        count(*) FILTER (WHERE url_status = 'online') AS online,
        count(*) FILTER (WHERE url_status <> 'online') AS offline,
        count(*) FILTER (WHERE tags IS NULL) AS untagged,
        count(DISTINCT reporter) AS reporters
    FROM cleaned.urlhaus
    GROUP BY day
),

tagged AS (
    SELECT day, unnest(tags) AS tag
    FROM cleaned.urlhaus
    WHERE tags IS NOT NULL
),

ranked AS (
    SELECT day, tag AS top_tag, count(*) AS top_tag_urls
    FROM tagged
    GROUP BY day, tag
    QUALIFY row_number() OVER (PARTITION BY day ORDER BY count(*) DESC, tag) = 1
)

SELECT days.*, ranked.top_tag, ranked.top_tag_urls
FROM days
LEFT JOIN ranked USING (day)
ORDER BY day
