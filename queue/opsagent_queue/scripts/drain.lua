-- include: keys room clock
-- Say which pods are to get no more tasks, and wake those that may claim again.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     how long the marks hold in ms, pod… (all that shall have one; none: no pod)
-- returns  how many pods lost their mark
-- cost     O(pods)

local expires, marks, marked, unmarked = ms(NOW_MS + tonumber(ARGV[1])), {}, {}, {}
for index = 2, #ARGV do
  marked[ARGV[index]] = true
  marks[#marks + 1], marks[#marks + 2] = expires, ARGV[index]
end
for _, pod in ipairs(redis.call('ZRANGE', DRAIN, 0, -1)) do
  if not marked[pod] then unmarked[#unmarked + 1] = pod end
end
with_all(unmarked, 'ZREM', DRAIN)
with_all(marks, 'ZADD', DRAIN)
if #unmarked > 0 then redis.call('PUBLISH', WAKE, 'unmarked') end
return #unmarked
