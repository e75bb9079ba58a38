-- AbuseIPDB in numbers, one row a snapshot.
SELECT
    day,
    count(DISTINCT indicator)::BIGINT AS addresses,
    count(DISTINCT indicator) FILTER (WHERE indicator_type = 'ipv6')::BIGINT AS six,
    count(DISTINCT country)::BIGINT AS countries,
    mode(country ORDER BY country) AS top_country
FROM cleaned.abuseipdb
GROUP BY day
ORDER BY day
