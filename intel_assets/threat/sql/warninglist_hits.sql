-- The indicators that stand on a warninglist, each with every list and entry that it meets.
SELECT indicator, indicator_type, list, list_title, "match", value
FROM aggregated.list_hits
WHERE kind = 'warninglist'
