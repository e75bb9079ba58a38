-- Which alerts stand, the worst and oldest first. The table is there once something was alerted.
SELECT
    severity,
    rule,
    source,
    subject,
    opened_at,
    round(date_diff('minute', opened_at, now()) / 60, 1) AS hours_open,
    message,
    advice
FROM ops.alerts
WHERE state <> 'resolved'
ORDER BY severity, opened_at
