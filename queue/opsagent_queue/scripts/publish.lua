-- include: keys
-- Publish events, each on both of its channels, in the order given.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     event type, event JSON of each
-- returns  nothing
-- cost     O(events · subscribers)

for index = 1, #ARGV, 2 do
  redis.call('PUBLISH', EVENT_PREFIX .. ARGV[index], ARGV[index + 1])
  redis.call('PUBLISH', EVENT_PREFIX .. '*', ARGV[index + 1])
end
