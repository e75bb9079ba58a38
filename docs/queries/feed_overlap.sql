-- Which indicators two feeds have in common, with what each says of them: put in the feeds and the
-- window in days. aggregated.feed_overlap counts them for every pair.
WITH asked AS (SELECT 'malicious_ip' AS feed, 'ipsum' AS other, 90 AS window_days),

newest AS (SELECT max(day) AS day FROM aggregated.sightings)

SELECT
    indicator,
    indicator_type,
    min(sightings.day) FILTER (WHERE source = asked.feed) AS feed_since,
    max(sightings.day) FILTER (WHERE source = asked.feed) AS feed_until,
    min(sightings.day) FILTER (WHERE source = asked.other) AS other_since,
    max(sightings.day) FILTER (WHERE source = asked.other) AS other_until,
    list(DISTINCT malware) FILTER (WHERE malware IS NOT NULL) AS malware
FROM aggregated.sightings
INNER JOIN asked ON source IN (asked.feed, asked.other)
INNER JOIN newest ON sightings.day > newest.day - window_days
WHERE change <> 'gone'
GROUP BY indicator, indicator_type
HAVING count(DISTINCT source) = 2
ORDER BY indicator
