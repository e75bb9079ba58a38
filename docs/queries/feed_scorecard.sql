-- Which feeds are worth it: volume, what they alone know, how early, how much of it moves or is noise,
-- and how old their newest record is. The last 30 days of which any feed told.
SELECT
    source,
    indicators,
    unique_share,
    closest_feed,
    closest_share,
    compared,
    first_share,
    lead_hours,
    dwell_days,
    churn,
    withdrawn_share,
    warninglist_share,
    hours_since_newest
FROM aggregated.feed_scorecard
WHERE window_days = 30
ORDER BY indicators DESC
