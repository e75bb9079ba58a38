-- Which hosts are slow: seconds of a request, waits for rate limits and retries included, half of
-- them and 19 of 20 at most, and the slowest; the last 30 days.
SELECT
    regexp_extract(url, '^https?://([^/:?]+)', 1) AS host,
    source,
    count(*) AS requests,
    round(quantile_cont(seconds, 0.5), 2) AS p50_seconds,
    round(quantile_cont(seconds, 0.95), 2) AS p95_seconds,
    round(max(seconds), 2) AS slowest_seconds,
    round(avg(attempts), 2) AS attempts_each,
    round(sum(bytes) / nullif(sum(seconds), 0) / 1e6, 2) AS megabytes_per_second
FROM ops.fetches
WHERE outcome <> 'landed' AND received_at > now() - INTERVAL 30 DAYS
GROUP BY ALL
ORDER BY p95_seconds DESC, host
