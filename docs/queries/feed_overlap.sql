-- The indicators that two feeds have in common, with what each says of them: put in the feeds.
SELECT
    indicator,
    indicator_type,
    min(day) FILTER (WHERE source = 'malicious_ip') AS malicious_ip_since,
    min(day) FILTER (WHERE source = 'ipsum') AS ipsum_since,
    list(DISTINCT malware) FILTER (WHERE malware IS NOT NULL) AS malware
FROM aggregated.sightings
WHERE source IN ('malicious_ip', 'ipsum') AND change <> 'gone'
GROUP BY indicator, indicator_type
HAVING count(DISTINCT source) = 2
ORDER BY indicator
