-- A plain list in numbers, one row a day: the snapshot by kinds of indicators.
SELECT
    day,
    count(*) AS entries,
    count(DISTINCT indicator) AS indicators,
    count(DISTINCT indicator) FILTER (WHERE indicator_type IN ('ipv4', 'ipv6')) AS addresses,
    count(DISTINCT indicator) FILTER (WHERE indicator_type = 'cidr') AS ranges,
    count(DISTINCT indicator) FILTER (WHERE indicator_type = 'domain') AS domains,
    max(score) AS highest_score
FROM cleaned.{source}
GROUP BY day
ORDER BY day
