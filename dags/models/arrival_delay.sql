-- One row per flight that leaves the gate, as it is known then. A diverted one has no arr_delay, so no label.
-- The weather is that of the scheduled departure hour; it has one row per origin and hour (its suite says so), or none.
SELECT
  flights.flight_id,
  flights.time_hour,
  flights.arr_delay,
  flights.dep_delay,
  flights.distance,
  flights.hour,
  dayofweek(make_date(flights.year, flights.month, flights.day)) AS day_of_week,
  weather.wind_speed,
  weather.visib,
  weather.precip,
  flights.carrier,
  flights.origin,
  flights.dest
FROM flights
LEFT JOIN weather
  ON weather.origin = flights.origin AND weather.time_hour = flights.time_hour
WHERE flights.dep_delay IS NOT NULL  -- nobody asks about a cancelled one
