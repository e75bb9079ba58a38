-- The KEV catalogue in numbers, one row a snapshot.
SELECT
    day,
    count(*)::BIGINT AS vulnerabilities,
    count(*) FILTER (WHERE first_seen::DATE > day - 30)::BIGINT AS added,
    count(DISTINCT vendor)::BIGINT AS vendors,
    count(*) FILTER (WHERE ransomware)::BIGINT AS ransomware
FROM cleaned.kev
GROUP BY day
ORDER BY day
