-- threat_trends, each row with what is usual and whether it is odd. Measured is what is new.
-- `usual`: the median of the 28 days before, over those on which the dimension has any row; a value
-- that is not among a day's counts as 0 there. `deviation`: how far from that, in robust standard
-- deviations: 1.4826 times the median absolute deviation, and no less than the square root of `usual`
-- (counts scatter as much by chance) and 1. `anomaly`: 3.5 or more of them (Iglewicz and Hoaglin, How
-- to detect and handle outliers, 1993), where seven days lie before and 20 are new or usual.
-- A value without a row on a day is not judged there.
WITH trends AS MATERIALIZED (FROM aggregated.threat_trends),

told AS (
    SELECT *, list(new_indicators) OVER before AS earlier
    FROM trends
    WINDOW before AS (
        PARTITION BY dimension, value
        ORDER BY day
        RANGE BETWEEN INTERVAL 28 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
),

days AS (
    SELECT dimension, day, count(*) OVER before AS days_before
    FROM (SELECT DISTINCT dimension, day FROM trends)
    WINDOW before AS (
        PARTITION BY dimension
        ORDER BY day
        RANGE BETWEEN INTERVAL 28 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
),

padded AS (
    SELECT
        told.* EXCLUDE (earlier),
        days_before,
        list_resize(coalesce(earlier, []), days_before, 0) AS earlier
    FROM told
    INNER JOIN days USING (dimension, day)
),

measured AS (
    SELECT
        *,
        list_aggregate(earlier, 'median') AS middle,
        greatest(
            1.4826 * list_aggregate(
                list_transform(earlier, lambda n: abs(n - list_aggregate(earlier, 'median'))),
                'median'
            ),
            sqrt(list_aggregate(earlier, 'median')),
            1
        ) AS scale
    FROM padded
)

SELECT
    day,
    dimension,
    value,
    sightings,
    indicators,
    new_indicators,
    CASE WHEN days_before >= 7 THEN middle END AS usual,
    CASE WHEN days_before >= 7 THEN round((new_indicators - middle) / scale, 2) END AS deviation,
    days_before >= 7
    AND greatest(new_indicators, middle) >= 20
    AND abs(new_indicators - middle) >= 3.5 * scale AS anomaly
FROM measured
