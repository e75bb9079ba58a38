-- What each source allows, and how much of it is used: by the requests of ops.fetches, retries
-- included, of the running day or month (UTC). Nothing that is restarted forgets it.
WITH allowed AS (
    SELECT *, date_trunc(per, asked_at()) AS since
    FROM (VALUES
        ('abuseipdb', 5, 'day'),
        ('abuseipdb_check', 1000, 'day'),
        ('greynoise', 50, 'day'),
        ('virustotal', 500, 'day')
    ) AS quotas (source, requests, per)
),

counted AS (
    SELECT
        allowed.source,
        per,
        requests,
        since,
        coalesce(sum(attempts) FILTER (WHERE outcome <> 'landed'), 0)::BIGINT AS used
    FROM allowed
    LEFT JOIN ops.fetches AS asked ON asked.source = allowed.source AND received_at >= since
    GROUP BY ALL
)

SELECT
    source,
    per,
    requests AS allowed,
    used,
    greatest(0, requests - used)::BIGINT AS remaining,
    since,
    since + CASE per WHEN 'month' THEN INTERVAL 1 MONTH ELSE INTERVAL 1 DAY END AS renewed_at
FROM counted
ORDER BY source
