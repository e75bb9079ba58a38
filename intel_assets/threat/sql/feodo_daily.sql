-- Feodo Tracker in numbers, one row a snapshot.
SELECT
    day,
    count(*)::BIGINT AS servers,
    count(*) FILTER (WHERE status = 'online')::BIGINT AS online,
    count(DISTINCT malware)::BIGINT AS families,
    count(DISTINCT country)::BIGINT AS countries,
    mode(malware ORDER BY malware) AS top_family
FROM cleaned.feodo
GROUP BY day
ORDER BY day
