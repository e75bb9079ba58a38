-- What stands on the lists of one's own: the newest word on each value, until it expires.
WITH newest AS (
    SELECT *
    FROM ops.own_lists
    WHERE recorded_at <= asked_at()
    QUALIFY row_number() OVER (PARTITION BY list, value ORDER BY recorded_at DESC) = 1
)

SELECT
    list,
    value,
    indicator_type,
    "match",
    first_address,
    last_address,
    owner,
    reason,
    expires_at,
    recorded_at AS since
FROM newest
WHERE entered AND (expires_at IS NULL OR expires_at > asked_at())
