-- A MISP feed in numbers, one row a day.
SELECT
    day,
    count(*)::BIGINT AS attributes,
    count(DISTINCT indicator)::BIGINT AS indicators,
    count(DISTINCT event_uuid)::BIGINT AS events,
    count(*) FILTER (WHERE detect)::BIGINT AS detecting
FROM cleaned.{source}
GROUP BY day
ORDER BY day
