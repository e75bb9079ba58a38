-- What feeds told of that stands on the watch-list, a row for each indicator and entry.
SELECT
    hits.indicator,
    hits.indicator_type,
    hits.value AS watched,
    hits.list AS owner,
    hits.list_title AS reason,
    list_sort(list(DISTINCT source)) AS sources,
    min(day) AS first_day,
    max(day) AS last_day
FROM aggregated.list_hits AS hits
INNER JOIN aggregated.sightings AS told USING (indicator, indicator_type)
WHERE hits.kind = 'watch' AND told.change <> 'gone'
GROUP BY ALL
