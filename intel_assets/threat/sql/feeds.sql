-- The threat feeds as the registry has them: a test holds this file equal to it, and
-- says how to write it anew. `derived_from` names all that a feed repeats, also through
-- others.
SELECT
    source,
    title,
    kind,
    trust,
    derived_from::VARCHAR[] AS derived_from,
    redistributable,
    licence
FROM (VALUES
    ('abuseipdb', 'AbuseIPDB', 'state', 50, [],
        false, 'AbuseIPDB terms of service'),
    ('abuseipdb_check', 'AbuseIPDB check', 'lookup', 50, [],
        false, 'AbuseIPDB terms of service'),
    ('botvrij', 'Botvrij.eu OSINT', 'event', 60, [],
        false, 'none stated'),
    ('circl_osint', 'CIRCL OSINT', 'event', 70, [],
        false, 'none stated'),
    ('feodo', 'Feodo Tracker', 'state', 90, [],
        true, 'CC0 1.0'),
    ('greynoise', 'GreyNoise Community', 'lookup', 50, [],
        false, 'GreyNoise terms of service'),
    ('ipsum', 'IPsum', 'state', 50, ['abuseipdb', 'binarydefense', 'blocklist_de', 'bruteforceblocker', 'cins', 'cleantalk', 'dataplane', 'dshield', 'emergingthreats', 'feodo', 'greensnow', 'otx'],
        true, 'The Unlicense'),
    ('kev', 'CISA KEV', 'state', 95, [],
        true, 'CC0 1.0'),
    ('malicious_ip', 'malicious-ip, the worst 40,000', 'state', 50, ['abuseipdb', 'binarydefense', 'blocklist_de', 'bruteforceblocker', 'cins', 'cleantalk', 'dataplane', 'dshield', 'emergingthreats', 'feodo', 'greensnow', 'ipsum', 'nxdomain_no', 'otx', 'projecthoneypot', 'snort'],
        true, 'MIT'),
    ('malwarebazaar', 'MalwareBazaar', 'event', 80, [],
        true, 'CC0 1.0'),
    ('otx', 'AlienVault OTX', 'event', 40, [],
        false, 'OTX terms of use'),
    ('sslbl', 'SSLBL', 'state', 80, [],
        true, 'CC0 1.0'),
    ('threatfox', 'ThreatFox', 'event', 70, [],
        true, 'CC0 1.0'),
    ('threatfox_ips', 'ThreatFox IPs', 'state', 50, ['threatfox'],
        true, 'CC0 1.0'),
    ('tweetfeed', 'TweetFeed', 'event', 50, [],
        true, 'CC0 1.0'),
    ('urlhaus', 'URLhaus', 'event', 50, [],
        true, 'CC0 1.0'),
    ('urlhaus_payloads', 'URLhaus payloads', 'event', 60, [],
        true, 'CC0 1.0'),
    ('virustotal', 'VirusTotal', 'lookup', 50, [],
        false, 'VirusTotal terms of service (the public API is not for commercial use)')
) AS feeds (
    source, title, kind, trust, derived_from, redistributable, licence
)
