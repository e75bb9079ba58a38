-- Which days are not there, by how long that has been known, and when the next of them is lost.
-- `intel gaps` judges anew; this is as the days were judged last.
SELECT
    source,
    state,
    CASE
        WHEN age < INTERVAL 1 HOUR THEN '1: under an hour'
        WHEN age < INTERVAL 1 DAY THEN '2: under a day'
        WHEN age < INTERVAL 7 DAYS THEN '3: under a week'
        ELSE '4: a week and more'
    END AS known_for,
    count(*) AS days,
    min(day) AS first_day,
    max(day) AS last_day,
    min(deadline) AS next_deadline,
    max(attempts) AS most_attempts
FROM (SELECT *, now() - since AS age FROM aggregated.coverage_daily)
WHERE state IN ('missing', 'filling', 'rejected', 'failed', 'lost')
GROUP BY ALL
ORDER BY known_for DESC, days DESC, source
