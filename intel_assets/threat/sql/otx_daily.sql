-- OTX in numbers, one row a day.
SELECT
    day,
    count(*)::BIGINT AS records,
    count(DISTINCT indicator)::BIGINT AS indicators,
    count(DISTINCT pulse_id)::BIGINT AS pulses,
    count(DISTINCT malware)::BIGINT AS families,
    count(*) FILTER (WHERE NOT detect)::BIGINT AS expired,
    mode(indicator_type ORDER BY indicator_type) AS top_type
FROM cleaned.otx
GROUP BY day
ORDER BY day
