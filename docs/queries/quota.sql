-- How often each source was asked, retries included, by UTC day and in the month until that day:
-- what its terms count. ops.quota says what is left today.
WITH asked AS (
    SELECT source, received_at::DATE AS day, sum(attempts) AS requests
    FROM ops.fetches
    WHERE outcome <> 'landed'
    GROUP BY ALL
)

SELECT
    source,
    day,
    requests,
    sum(requests) OVER (
        PARTITION BY source, date_trunc('month', day) ORDER BY day
    ) AS requests_this_month
FROM asked
ORDER BY day DESC, source
