-- include: keys clock json records events leases finishing
-- End a task: record, lease, dead letter, event.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     id, owner, fence, status, result JSON or '', error JSON, error text, error class,
--          result TTL in ms, event payload JSON, event id
-- returns  1 done (now, or by the same call before) · 0 the lease was lost
-- cost     O(record + log in flight)

local id, owner, fence, status, result, error_json, error_text, error_class, ttl_ms, payload, event_id =
  unpack(ARGV)
ttl_ms = tonumber(ttl_ms)

local claim = held(id, owner, fence)
if not claim then
  if settled(id, fence, 'finish') then return 1 end
  count('late_finishes')
  return 0
end

local record = read_record(id)
local retries, crashes = unpack(redis.call('HMGET', HISTORY_PREFIX .. id, 'retries', 'crashes'))
local attempts = 1 + math.max(tonumber(retries) or 0, record and retry_count(record) or 0)

drop_lease(id)
if not close_record(id, record, status, result, error_json, attempts, ttl_ms) then
  count('cancelled_while_running')
  close_history(id, fence, 'finish')
  return 1
end
if status == 'failed' then
  bury(id, claim, attempts, tonumber(crashes) or 0, 'failed', error_text, error_class,
    ttl_ms)
end
close_history(id, fence, 'finish')
publish(event_id, 'task.' .. status, status == 'failed' and 'high' or 'medium', id, record, payload)
return 1
