-- How indicators grow old: confidence is multiplied by 1 - (age / tau)^(1 / delta), age in days
-- since the last sighting (MISP's polynomial decay, https://www.misp-project.org/decaying-indicators).
-- Below `threshold` an indicator is expired. MISP's own model for network indicators has tau 120,
-- delta 2, threshold 30. Addresses change hands within weeks; a file's hash stays what it is.
-- What was said of a type (ops.decay_rules, `intel decay`) counts before it, as of the moment asked.
WITH defaults AS (
    SELECT * FROM (VALUES
        ('ipv4', 60, 2, 30),
        ('ipv6', 60, 2, 30),
        ('cidr', 90, 2, 30),
        ('url', 60, 2, 30),
        ('uri', 60, 2, 30),
        ('domain', 120, 2, 30),
        ('hostname', 120, 2, 30),
        ('email', 180, 2, 30),
        ('md5', 730, 3, 30),
        ('sha1', 730, 3, 30),
        ('sha256', 730, 3, 30),
        ('sha384', 730, 3, 30),
        ('sha512', 730, 3, 30),
        ('imphash', 365, 3, 30),
        ('pehash', 365, 3, 30),
        ('ja3', 365, 3, 30),
        ('cve', 1825, 3, 30),
        ('filename', 90, 2, 30),
        ('filepath', 180, 2, 30),
        ('mutex', 365, 2, 30),
        ('yara', 730, 3, 30)
    ) AS decays (indicator_type, tau_days, delta, threshold)
),

said AS (
    SELECT indicator_type, tau_days, delta, threshold
    FROM ops.decay_rules
    WHERE recorded_at <= asked_at()
    QUALIFY row_number() OVER (PARTITION BY indicator_type ORDER BY recorded_at DESC) = 1
)

SELECT
    indicator_type,
    coalesce(said.tau_days, defaults.tau_days)::DOUBLE AS tau_days,
    coalesce(said.delta, defaults.delta)::DOUBLE AS delta,
    coalesce(said.threshold, defaults.threshold)::DOUBLE AS threshold,
    said.tau_days IS NOT NULL AS is_own
FROM defaults
LEFT JOIN said USING (indicator_type)
