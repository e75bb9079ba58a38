-- How fresh each source is: when it last answered, when something in it last changed, the newest
-- day of which it has records, and how many hours ago that was.
WITH answered AS (
    SELECT
        source,
        max(received_at) AS answered_at,
        max(received_at) FILTER (WHERE added + changed + withdrawn > 0) AS changed_at
    FROM ops.fetches
    WHERE outcome IN ('fetched', 'not_modified', 'not_published', 'landed')
    GROUP BY source
),

held AS (
    SELECT source, max(day) AS newest_day
    FROM ops.partitions
    WHERE layer = 'raw' AND state = 'complete'
    GROUP BY source
)

SELECT
    source,
    answered_at,
    changed_at,
    newest_day,
    round(date_diff('minute', answered_at, now()) / 60, 1) AS hours_since_answer,
    round(date_diff('minute', changed_at, now()) / 60, 1) AS hours_since_change
FROM answered
LEFT JOIN held USING (source)
ORDER BY hours_since_answer DESC, source
