-- URLhaus's payloads in numbers, one row a day.
SELECT
    day,
    count(*)::BIGINT AS payloads,
    count(DISTINCT malware)::BIGINT AS families,
    count(*) FILTER (WHERE malware IS NULL)::BIGINT AS unnamed,
    mode(malware ORDER BY malware) AS top_family
FROM cleaned.urlhaus_payloads
GROUP BY day
ORDER BY day
