-- How many expected days of each source stand how, as they were last judged.
SELECT
    source,
    state,
    count(*) AS days,
    max(recorded_at) AS recorded_at
FROM ops.coverage
GROUP BY source, state
