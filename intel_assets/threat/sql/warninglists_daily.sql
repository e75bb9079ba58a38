-- The warninglists in numbers, one row a list and snapshot.
SELECT
    day,
    list,
    first("match") AS "match",
    count(*)::BIGINT AS entries,
    max(version) AS version
FROM cleaned.warninglists
GROUP BY day, list
ORDER BY day, list
