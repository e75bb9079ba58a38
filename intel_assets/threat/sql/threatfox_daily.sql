-- ThreatFox in numbers, one row a day.
SELECT
    day,
    count(DISTINCT indicator)::BIGINT AS indicators,
    count(DISTINCT indicator) FILTER (WHERE indicator_type IN ('ipv4', 'ipv6'))::BIGINT AS addresses,
    count(DISTINCT indicator) FILTER (WHERE indicator_type IN ('domain', 'hostname'))::BIGINT AS names,
    count(DISTINCT indicator) FILTER (WHERE indicator_type = 'url')::BIGINT AS urls,
    count(DISTINCT indicator) FILTER (
        WHERE indicator_type IN ('md5', 'sha1', 'sha256')
    )::BIGINT AS hashes,
    count(DISTINCT malware)::BIGINT AS families,
    mode(malware ORDER BY malware) AS top_family,
    avg(confidence) AS confidence
FROM cleaned.threatfox
GROUP BY day
ORDER BY day
