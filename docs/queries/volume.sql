-- How much came in: by day of receipt and source, requests, bytes, and what became of the records.
SELECT
    received_at::DATE AS received,
    source,
    count(*) AS requests,
    count(*) FILTER (WHERE outcome = 'not_modified') AS unchanged_bodies,
    sum(bytes) AS bytes,
    sum(parsed) AS records,
    sum(added) AS added,
    sum(changed) AS changed,
    sum(withdrawn) AS withdrawn
FROM ops.fetches
GROUP BY ALL
ORDER BY received DESC, source
