-- include: keys
-- Add a task as the orchestrator does: record, queue entry, `task.created`.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     id, data JSON, status, created_at, priority, score, event JSON
-- returns  1 added · 0 there is a record of this id already: nothing changed
-- cost     O(record + log queue)
--
-- Nothing of ours is touched: what the index (lib/index.lua) knows of it comes with the claim, as for every task.

local id, data, status, created_at, priority, score, event = unpack(ARGV)
local key = RECORD_PREFIX .. id
if redis.call('EXISTS', key) == 1 then return 0 end
redis.call('HSET', key, 'data', data, 'status', status, 'created_at', created_at, 'priority', priority)
redis.call('ZADD', TASKS, score, id)
redis.call('PUBLISH', EVENT_PREFIX .. 'task.created', event)
redis.call('PUBLISH', EVENT_PREFIX .. '*', event)
return 1
