-- The indicators that stand on a list, each with every list and entry that it meets. `kind` is
-- `warninglist`, or `allow` and `watch` for the lists of one's own, of which `list` is the owner.
SELECT
    indicator,
    indicator_type,
    'warninglist' AS kind,
    warning.list AS list,
    warning.title AS list_title,
    warning."match" AS "match",
    warning.value AS value
FROM (SELECT indicator, indicator_type, unnest(warnings) AS warning FROM aggregated.indicator_facts)
UNION ALL
SELECT
    indicator,
    indicator_type,
    entry.list,
    entry.owner,
    entry.reason,
    entry."match",
    entry.value
FROM (SELECT indicator, indicator_type, unnest(own) AS entry FROM aggregated.indicator_facts)
