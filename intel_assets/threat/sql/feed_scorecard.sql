-- What each feed is worth: feed_measures, with the feed that it has the most in common with, and how
-- fresh it is at asked_at(). What the numbers mean: ../gold/scorecard.py.
WITH nearest AS (
    SELECT
        window_days,
        feed AS source,
        max({'share': share_of_feed, 'feed': other}) AS closest
    FROM aggregated.feed_overlap
    WHERE indicator_type = 'all' AND shared > 0
    GROUP BY window_days, feed
)

SELECT
    feed_measures.* EXCLUDE (newest_at),
    closest.feed AS closest_feed,
    closest.share AS closest_share,
    newest_at,
    round((epoch(asked_at()) - epoch(newest_at)) / 3600, 2) AS hours_since_newest
FROM aggregated.feed_measures
LEFT JOIN nearest USING (window_days, source)
ORDER BY window_days, source
