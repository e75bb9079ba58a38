-- Which sources are switched on or off.
SELECT source, enabled
FROM ops.switches
