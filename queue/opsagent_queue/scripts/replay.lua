-- include: keys clock json records events index leases moves dead
-- Let dead tasks wait again, as if they were new: all attempts, no crash, the score they had.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     token: the same when this call is sent again, and a UUID from which event ids are made; id…
-- returns  {1 waits again (now, or by the same call before) · why not …}, in the order asked; why not:
--          'not dead' no such dead letter · 'no record' its record is gone or unreadable, the letter
--          stays · 'completed', 'cancelled' what somebody has made of it since, the letter stays
-- cost     O(ids · (record + log queue))

local token = ARGV[1]

-- The score it had when it was claimed last, which is its priority's unless the producer chose otherwise.
local function original_score(id, record)
  local letter = redis.call('HGET', DEAD_RECORDS, id)
  local valid, doc = pcall(cjson.decode, letter or '')
  return valid and doc.score or score_by_priority(record)
end

local function replay(id)
  if settled(id, token, 'replay') then return 1 end
  if not redis.call('ZSCORE', DEAD, id) then return 'not dead' end
  local record = read_record(id)
  if not record then return 'no record' end
  if record.final and record.final ~= 'failed' then return record.final end
  local score = original_score(id, record)
  take_out(id, token, 'replay')
  redis.call('ZREM', ORPHANED, id)
  write_record(id, record, 'pending', {
    {'started_at', 'null'}, {'completed_at', 'null'}, {'error', 'null'}, {'retry_count', '0'},
  })
  redis.call('PERSIST', RECORD_PREFIX .. id)
  -- NX: should somebody have queued it again meanwhile, their score stands.
  redis.call('ZADD', TASKS, 'NX', score, id)
  publish(next_event_id(token), 'task.created', 'medium', id, record, string.format(
    '{"priority": %s, "assigned_to": %s}', json_get(record.data, 'priority') or 'null',
    json_get(record.data, 'assigned_to') or 'null'))
  return 1
end

local outcomes = {}
for index = 2, #ARGV do outcomes[#outcomes + 1] = replay(ARGV[index]) end
return outcomes
