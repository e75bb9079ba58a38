-- What is odd of late: types, malware, tags, threats and countries of which much more or less is new
-- than usual, the newest day first.
SELECT day, dimension, value, new_indicators, usual, deviation, anomaly
FROM aggregated.threat_anomalies
ORDER BY anomaly DESC, day DESC, abs(deviation) DESC NULLS LAST
LIMIT 50
