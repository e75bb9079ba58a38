-- ATT&CK's techniques by their identifier, as the newest snapshot that names them has them. One of
-- several matrices stands once. Those that were revoked or given up are here too: old reports name
-- them.
SELECT
    external_id AS technique,
    name,
    tactics,
    platforms,
    matrix,
    url,
    revoked OR deprecated AS outdated,
    day AS as_of_day
FROM cleaned.attack_objects
WHERE kind = 'technique' AND external_id IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY external_id ORDER BY day DESC, revoked OR deprecated, matrix, modified DESC
) = 1
