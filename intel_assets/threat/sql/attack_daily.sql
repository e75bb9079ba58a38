-- ATT&CK in numbers, one row a matrix and snapshot.
SELECT
    day,
    matrix,
    count(*) FILTER (WHERE kind = 'technique' AND NOT revoked AND NOT deprecated)::BIGINT
        AS techniques,
    count(*) FILTER (WHERE kind = 'group' AND NOT revoked AND NOT deprecated)::BIGINT AS groups,
    count(*) FILTER (WHERE kind = 'software' AND NOT revoked AND NOT deprecated)::BIGINT
        AS software,
    count(*) FILTER (WHERE kind = 'relationship')::BIGINT AS relationships
FROM cleaned.attack
GROUP BY day, matrix
ORDER BY day, matrix
