-- What each feed brought, day by day and by type of indicator.
WITH records AS (
    SELECT day, 'ipsum' AS feed, indicator_type, indicator FROM cleaned.ipsum
    UNION ALL
    SELECT day, 'malicious_ip', indicator_type, indicator FROM cleaned.malicious_ip
    UNION ALL
    SELECT day, 'threatfox_ips', indicator_type, indicator FROM cleaned.threatfox_ips
    UNION ALL
    SELECT day, 'tweetfeed', indicator_type, indicator FROM cleaned.tweetfeed
    UNION ALL
    SELECT day, 'urlhaus', indicator_type, indicator FROM cleaned.urlhaus
),

feeds AS (
    SELECT day, indicator_type, indicator, count(DISTINCT feed) AS feeds
    FROM records
    GROUP BY day, indicator_type, indicator
)

SELECT
    records.day,
    records.feed,
    records.indicator_type,
    count(*)::BIGINT AS records,
    count(DISTINCT records.indicator)::BIGINT AS indicators,
    count(DISTINCT records.indicator) FILTER (WHERE feeds.feeds > 1)::BIGINT AS shared
FROM records
INNER JOIN feeds USING (day, indicator_type, indicator)
GROUP BY records.day, records.feed, records.indicator_type
ORDER BY records.day, records.feed, records.indicator_type
