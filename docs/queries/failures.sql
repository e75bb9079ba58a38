-- Which sources fail, and how: requests of the last 30 days that got no usable body, by source and
-- class of error. `not_published` is the source's own word that it has nothing, and no failure.
SELECT
    source,
    coalesce(error_class, outcome) AS class,
    count(*) AS requests,
    sum(attempts) AS attempts,
    count(DISTINCT window_first) AS days,
    max(received_at) AS last_at,
    arg_max(status, received_at) AS last_status,
    arg_max(error, received_at) AS last_error
FROM ops.fetches
WHERE
    (outcome IN ('failed', 'not_published') OR error_class IS NOT NULL)
    AND received_at > now() - INTERVAL 30 DAYS
GROUP BY ALL
ORDER BY requests DESC, source, class
