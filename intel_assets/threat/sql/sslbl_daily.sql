-- SSLBL in numbers, one row a snapshot.
SELECT
    day,
    count(*)::BIGINT AS certificates,
    count(DISTINCT malware)::BIGINT AS families,
    count(*) FILTER (WHERE first_seen::DATE > day - 30)::BIGINT AS added,
    mode(malware ORDER BY malware) AS top_family
FROM cleaned.sslbl
GROUP BY day
ORDER BY day
