-- The newest row of each indicator, and the entries of one's own lists that it meets: an address or
-- a range what lies in it, a name what lies below it, anything else what is equal. Entries are few,
-- and hold at once: they are looked through at each reading.
WITH entries AS (
    SELECT coalesce(
        list(
            {
                'list': list,
                'value': value,
                'owner': owner,
                'reason': reason,
                'match': "match",
                'first_address': first_address,
                'last_address': last_address,
                'bits': CASE
                    WHEN "match" <> 'cidr' THEN NULL
                    WHEN contains(value, '/') THEN split_part(value, '/', 2)::INTEGER
                    WHEN contains(value, ':') THEN 128
                    ELSE 32
                END
            }
            ORDER BY list, owner, value
        ),
        []
    ) AS own
    FROM aggregated.own_entries
),

newest AS NOT MATERIALIZED (
    SELECT
        *,
        CASE WHEN indicator_type = 'cidr' THEN split_part(indicator, '/', 2)::INTEGER END AS bits
    FROM aggregated.indicator_parts
    QUALIFY row_number() OVER (
        PARTITION BY bucket, place, indicator, indicator_type ORDER BY written DESC
    ) = 1
)

SELECT
    newest.* EXCLUDE (bits),
    CASE WHEN len(entries.own) > 0 THEN list_filter(
        entries.own,
        lambda e: CASE e."match"
            WHEN 'cidr' THEN
                address BETWEEN e.first_address AND e.last_address
                -- A range that reaches beyond the entry's does not lie in it.
                AND (bits IS NULL OR bits >= e.bits)
            WHEN 'hostname' THEN
                indicator_type IN ('domain', 'hostname', 'url')
                AND (host = e.value OR ends_with(host, '.' || e.value))
            ELSE lower(indicator) = e.value
        END
    ) ELSE [] END AS own
FROM newest
CROSS JOIN entries
-- One without a sighting is one that was withdrawn as if it had never been.
WHERE len(listings) > 0
