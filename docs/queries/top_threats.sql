-- The indicators that are surest now, and who told of them first.
SELECT indicator, indicator_type, confidence, first_reporter, sources, malware, last_seen
FROM aggregated.indicators
WHERE status = 'active' AND NOT suppressed
ORDER BY confidence DESC, indicator
LIMIT 50
