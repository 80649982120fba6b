-- include: keys room clock json records events index leases moves finishing
-- Cancel a task: one that waits ends here, one that runs is ended by its worker, who is told.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     id, result TTL in ms, a UUID from which the event id is made, agent…
-- returns  'cancelled' ended now · 'cancelling' its worker has been told · 'ended' it had ended before ·
--          'unknown' no readable record, or another agent's
-- cost     O(record + log queue)

local id, ttl_ms, seed = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local record = read_record(id)
if not record or not ours(record, agents_from(4)) then return 'unknown' end
if record.final and record.final ~= 'cancelled' then return 'ended' end

-- Under a lease of ours, or handed out by another consumer: then it does not wait as well.
local runs = redis.call('HGET', CLAIMS, id)
  or redis.call('SISMEMBER', PROCESSING, id) == 1 and not redis.call('ZSCORE', TASKS, id)
if runs then
  if not record.final then write_record(id, record, 'cancelled', {}) end
  redis.call('PUBLISH', WAKE, 'cancelled ' .. id)
  return 'cancelling'
end
if record.final then return 'ended' end

close_record(id, record, 'cancelled', '', 'null', 1 + retry_count(record), ttl_ms)
redis.call('ZREM', TASKS, id)
redis.call('ZREM', DELAYED, id)
redis.call('ZREM', ORPHANED, id)
redis.call('ZREM', READY_PREFIX .. record.type, id)
redis.call('DEL', HISTORY_PREFIX .. id)
publish_cancelled(seed, id, record)
return 'cancelled'
