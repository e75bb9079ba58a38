"""The plain lists that are taken: where each is, who makes it, and of what it is made.

All are asked several times a day, since a day that was missed is lost. An unchanged one costs a
304.
"""

from __future__ import annotations

from datetime import date, timedelta

from intel_assets.threat.plain_list import plain_list

BLOCKLIST_DE = plain_list(
    name="blocklist_de",
    url="https://lists.blocklist.de/lists/all.txt",
    title="blocklist.de",
    description="The addresses that attacked servers of its members in the last two days.",
    homepage="https://www.blocklist.de",
    licence="none stated",
    redistributable=False,
    start=date(2018, 1, 1),
    cadence="10 */3 * * *",
    threat="scanner",
    stale_after=timedelta(days=2),
)

EMERGINGTHREATS = plain_list(
    name="emergingthreats",
    url="https://rules.emergingthreats.net/fwrules/emerging-Block-IPs.txt",
    title="Emerging Threats, block list",
    description="Addresses and ranges that a firewall may well block, put together of other lists.",
    homepage="https://rules.emergingthreats.net",
    licence="BSD 3-Clause",
    redistributable=True,
    start=date(2018, 1, 1),
    cadence="25 */6 * * *",
    stale_after=timedelta(days=5),
    # So its comments divide it.
    derived_from=("dshield", "feodo", "spamhaus_drop"),
)

IPSUM = plain_list(
    name="ipsum",
    url="https://raw.githubusercontent.com/stamparm/ipsum/master/ipsum.txt",
    title="IPsum",
    description="Addresses that stand on block lists, each with the number of lists it stands on.",
    homepage="https://github.com/stamparm/ipsum",
    licence="The Unlicense",
    redistributable=True,
    start=date(2018, 1, 1),
    # Made once a day, at about one o'clock.
    cadence="40 1,3,9,15,21 * * *",
    stale_after=timedelta(days=3),
    # It says "30+ lists" and names none; these are what its maker's tool reads.
    derived_from=(
        "abuseipdb",
        "otx",
        "binarydefense",
        "blocklist_de",
        "bruteforceblocker",
        "cins",
        "cleantalk",
        "dataplane",
        "dshield",
        "emergingthreats",
        "feodo",
        "greensnow",
    ),
)

MALICIOUS_IP = plain_list(
    name="malicious_ip",
    url="https://raw.githubusercontent.com/romainmarcoux/malicious-ip/main/full-40k.txt",
    title="malicious-ip, the worst 40,000",
    description="The 40,000 addresses that scan and try passwords according to most lists.",
    homepage="https://github.com/romainmarcoux/malicious-ip",
    licence="MIT",
    redistributable=True,
    start=date(2023, 9, 26),
    cadence="50 */4 * * *",
    threat="scanner",
    stale_after=timedelta(days=2),
    derived_from=(
        "abuseipdb",
        "otx",
        "binarydefense",
        "blocklist_de",
        "cins",
        "emergingthreats",
        "greensnow",
        "dshield",
        "ipsum",
        "nxdomain_no",
        "projecthoneypot",
        "snort",
    ),
)

SPAMHAUS_DROP = plain_list(
    name="spamhaus_drop",
    url="https://www.spamhaus.org/drop/drop.txt",
    title="Spamhaus DROP",
    description="Ranges that criminals took over or rent: do not route or peer.",
    homepage="https://www.spamhaus.org/blocklists/do-not-route-or-peer/",
    licence="free of charge, with credit to Spamhaus",
    redistributable=False,
    start=date(2018, 1, 1),
    cadence="35 */6 * * *",
    # A range stays for months.
    stale_after=timedelta(days=14),
)

THREATFOX_IPS = plain_list(
    name="threatfox_ips",
    url="https://raw.githubusercontent.com/elliotwutingfeng/ThreatFox-IOC-IPs/main/ips.txt",
    title="ThreatFox IPs",
    description="The addresses among the indicators that ThreatFox of abuse.ch holds.",
    homepage="https://github.com/elliotwutingfeng/ThreatFox-IOC-IPs",
    licence="CC0 1.0",
    redistributable=True,
    start=date(2022, 10, 29),
    cadence="20 */3 * * *",
    stale_after=timedelta(days=2),
    derived_from=("threatfox",),
)
