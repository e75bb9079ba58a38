-- Each entry of the KEV catalogue in its versions: from which snapshot to before which it stood so.
-- `valid_to` is the first snapshot that said otherwise; null while it holds.
WITH snapshots AS (
    SELECT day, lead(day) OVER (ORDER BY day) AS next_day
    FROM (SELECT DISTINCT day FROM cleaned.kev)
),

seen AS (
    SELECT
        kev.*,
        next_day,
        lag(next_day) OVER entry IS DISTINCT FROM kev.day
        OR lag(record_digest) OVER entry IS DISTINCT FROM record_digest AS begins
    FROM cleaned.kev
    INNER JOIN snapshots USING (day)
    WINDOW entry AS (PARTITION BY indicator ORDER BY kev.day)
),

versions AS (
    SELECT *, sum(begins::INTEGER) OVER (PARTITION BY indicator ORDER BY day) AS version
    FROM seen
)

SELECT
    indicator AS cve,
    version::BIGINT AS version,
    min(day) AS valid_from,
    nullif(max(coalesce(next_day, DATE '9999-12-31')), DATE '9999-12-31') AS valid_to,
    first(vendor) AS vendor,
    first(product) AS product,
    first(title) AS title,
    first(first_seen) AS added,
    first(due) AS due,
    first(ransomware) AS ransomware,
    first(cwes) AS cwes
FROM versions
GROUP BY indicator, version
ORDER BY cve, version
