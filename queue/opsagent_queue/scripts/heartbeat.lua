-- include: keys room clock json
-- Record what a worker says about itself, stamped with when it was said.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     pod, heartbeat JSON
-- returns  now in ms since the epoch
-- cost     O(heartbeat)

redis.call('HSET', WORKERS, ARGV[1], json_set(ARGV[2], {{'seen_ms', ms(NOW_MS)}}))
return ms(NOW_MS)
