-- How every expected day of every source stands, one row a source and day. `level` is the state as
-- a number for plotting: the higher, the worse.
SELECT
    source,
    day,
    state,
    CASE state
        WHEN 'disabled' THEN 0
        WHEN 'not_configured' THEN 0
        WHEN 'not_due' THEN 1
        WHEN 'complete' THEN 2
        WHEN 'empty' THEN 3
        WHEN 'filling' THEN 4
        WHEN 'stale' THEN 5
        WHEN 'collapsed' THEN 6
        WHEN 'missing' THEN 7
        WHEN 'rejected' THEN 8
        WHEN 'failed' THEN 9
        WHEN 'lost' THEN 10
    END AS level,
    state IN ('complete', 'empty', 'stale', 'collapsed') AS held,
    rows,
    attempts,
    reason,
    remedy,
    deadline,
    since,
    recorded_at
FROM ops.coverage
ORDER BY source, day
