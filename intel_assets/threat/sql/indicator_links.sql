-- What ties indicators to each other and to malware, by day and feed; a link a day and feed once.
-- `hosted on`: a URL and its host. `part of`: a name and what somebody registered of it. `same file`:
-- hashes of one file. `resolves to`: a name and an address of one record. `same record`: other
-- indicators of one record. `malware`: a family. `pulse`: the OTX pulse that names it.
WITH records AS (
    SELECT DISTINCT
        day, source, indicator, indicator_type, host, registered_domain, malware, also, reference
    FROM cleaned.indicators
),

others AS (
    SELECT
        day,
        source,
        indicator,
        indicator_type,
        substr(entry, position(':' IN entry) + 1) AS target,
        split_part(entry, ':', 1) AS target_type
    FROM (SELECT * EXCLUDE (also), unnest(also) AS entry FROM records)
),

hashes AS (
    SELECT unnest(['md5', 'sha1', 'sha256', 'sha384', 'sha512', 'imphash', 'pehash']) AS kind
)

SELECT DISTINCT
    day,
    source,
    indicator,
    indicator_type,
    'hosted on' AS relation,
    host AS target,
    CASE
        WHEN host SIMILAR TO '[0-9.]+' THEN 'ipv4'
        WHEN contains(host, ':') THEN 'ipv6'
        WHEN host = registered_domain THEN 'domain'
        ELSE 'hostname'
    END AS target_type
FROM records
WHERE indicator_type = 'url' AND host IS NOT NULL
UNION
SELECT day, source, host, 'hostname', 'part of', registered_domain, 'domain'
FROM records
WHERE registered_domain <> host
UNION
SELECT
    day,
    source,
    indicator,
    indicator_type,
    CASE
        WHEN indicator_type IN (SELECT kind FROM hashes)
            AND target_type IN (SELECT kind FROM hashes) THEN 'same file'
        WHEN indicator_type IN ('domain', 'hostname') AND target_type IN ('ipv4', 'ipv6')
            THEN 'resolves to'
        ELSE 'same record'
    END,
    target,
    target_type
FROM others
UNION
SELECT day, source, indicator, indicator_type, 'malware', malware, 'malware'
FROM records
WHERE malware IS NOT NULL
UNION
SELECT day, source, indicator, indicator_type, 'pulse', reference, 'pulse'
FROM records
WHERE source = 'otx' AND reference IS NOT NULL
