-- include: keys room clock json records events index leases moves finishing stats
-- End tasks: record, lease, dead letter, event, statistics.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     version, result TTL in ms, a UUID from which event ids are made, then of each task: id, owner,
--          fence, status, seconds, result JSON or '', error JSON, error text, error class, reason for a
--          dead letter, event payload JSON
-- returns  {1 done (now, or by the same call before) · 0 the lease was lost …}, in the order asked
-- cost     O(tasks · (record + log in flight))

local version, ttl_ms, seed = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function finish(id, owner, fence, status, seconds, result, error_json, error_text, error_class,
                      reason, payload)
  local claim = held(id, owner, fence)
  if not claim then
    if settled(id, fence, 'finish') then return 1 end
    count('late_finishes')
    return 0
  end
  local record = read_record(id)
  local retries, crashes = unpack(redis.call('HMGET', HISTORY_PREFIX .. id, 'retries', 'crashes'))
  local attempts = 1 + math.max(tonumber(retries) or 0, record and retry_count(record) or 0)
  if not close_record(id, record, status, result, error_json, attempts, ttl_ms) then
    count('cancelled_while_running')
    status = 'cancelled'
    payload = json_set(payload, {{'status', '"cancelled"'}})
  elseif status == 'failed' then
    bury(id, claim, attempts, tonumber(crashes) or 0, reason, error_text, error_class, ttl_ms)
  end
  forget_history(id)
  drop_lease(id, fence, 'finish')
  remember_end(publish(next_event_id(seed), 'task.' .. status,
    status == 'failed' and 'high' or 'medium', id, record, payload))
  tally_outcome(version, status == 'completed' and 'ok' or status, record and record.type or '',
    tonumber(seconds), error_class)
  return 1
end

local done = {}
for index = 4, #ARGV, 11 do done[#done + 1] = finish(unpack(ARGV, index, index + 10)) end
write_stats()
make_moves()
return done
