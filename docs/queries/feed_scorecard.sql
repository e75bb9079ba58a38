-- Which feeds are worth it: volume, what they alone know, how early, and how much of it is noise.
SELECT
    source, indicators, unique_share, first_share, lead_hours, dwell_days, churn, warninglist_share,
    hours_since_newest
FROM aggregated.feed_scorecard
WHERE window_days = 30
ORDER BY indicators DESC
