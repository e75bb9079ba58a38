-- TweetFeed in numbers, one row a day: indicators by kind, posts, people, the leading tag.
WITH days AS (
    SELECT
        day,
        count(*) AS indicators,
        count(DISTINCT reference) AS posts,
        count(DISTINCT "user") AS users,
        count(*) FILTER (WHERE indicator_type = 'url') AS urls,
        count(*) FILTER (WHERE indicator_type = 'domain') AS domains,
        count(*) FILTER (WHERE indicator_type IN ('ipv4', 'ipv6')) AS addresses,
        count(*) FILTER (WHERE indicator_type IN ('md5', 'sha256')) AS hashes
    FROM cleaned.tweetfeed
    GROUP BY day
),

tagged AS (
    SELECT day, unnest(tags) AS tag
    FROM cleaned.tweetfeed
    WHERE tags IS NOT NULL
),

ranked AS (
    SELECT day, tag AS top_tag, count(*) AS top_tag_indicators
    FROM tagged
    GROUP BY day, tag
    QUALIFY row_number() OVER (PARTITION BY day ORDER BY count(*) DESC, tag) = 1
)

SELECT days.*, ranked.top_tag, ranked.top_tag_indicators
FROM days
LEFT JOIN ranked USING (day)
ORDER BY day
