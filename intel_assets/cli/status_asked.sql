-- When each source last answered, whether or not it had something new.
SELECT source, max(received_at) AS last_success
FROM ops.fetches
WHERE outcome IN ('fetched', 'not_modified', 'not_published')
GROUP BY source
