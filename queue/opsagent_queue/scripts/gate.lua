-- include: keys room
-- Close or open the gate, and wake those who wait when it opens.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     1 close · 0 open
-- returns  1 if it was the other way before · 0 if nothing changed
-- cost     O(1)

local before = redis.call('HGET', GATE, 'paused') or '0'
if before == ARGV[1] then return 0 end
if ARGV[1] == '1' then
  redis.call('HSET', GATE, 'paused', '1')
else
  redis.call('HDEL', GATE, 'paused')
  redis.call('PUBLISH', WAKE, 'opened')
end
return 1
