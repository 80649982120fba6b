-- Who holds a task, and where it goes when nobody does any more.
--
-- CLAIMS[id] = {"owner", "fence", "score", "version", "token"}, all text. A lease is held as long as
-- this entry names its owner and fence, also after its deadline: then it merely may be reaped.
-- <own>:history:<id> = what must outlive one lease: retries, crashes, score (while delayed),
-- versions (that tried and did not finish), settled (how the last lease was given back: "finish 7").

local HISTORY_TTL_MS = 7 * 24 * 3600 * 1000  -- of a task that waits: as long as records are kept
local SETTLED_TTL_MS = 5 * 60 * 1000         -- of a finished one: for calls that are sent twice

-- Numbers for `count` new leases; returns the last one. None is ever given twice: they are not below the
-- clock (in microseconds), also when the counter is lost with everything else, in a flush, or is behind,
-- after a failover that lost the last writes.
local function take_fences(count)
  local given = tonumber(redis.call('GET', FENCE)) or 0
  local last = math.max(given, TIME[1] * 1000000 + TIME[2]) + count
  redis.call('SET', FENCE, string.format('%.0f', last))
  return last
end

-- The claim that `owner` holds under `fence`, or nil.
local function held(id, owner, fence)
  local text = redis.call('HGET', CLAIMS, id)
  if not text then return nil end
  local claim = cjson.decode(text)
  if claim.owner == owner and claim.fence == fence then return claim end
end

-- Whether this very lease was given back by the same `verb` before: the call is being sent again.
local function settled(id, fence, verb)
  return redis.call('HGET', HISTORY_PREFIX .. id, 'settled') == verb .. ' ' .. fence
end

local function drop_lease(id)
  redis.call('ZREM', LEASES, id)
  redis.call('HDEL', CLAIMS, id)
  redis.call('SREM', PROCESSING, id)
end

-- Nothing is left to do for this task: keep only what recognises a repeated call. No verb: the
-- lease was lost, and whatever its owner still sends comes too late.
local function close_history(id, fence, verb)
  local key = HISTORY_PREFIX .. id
  redis.call('DEL', key)
  if verb then
    redis.call('HSET', key, 'settled', verb .. ' ' .. fence)
    redis.call('PEXPIRE', key, SETTLED_TTL_MS)
  end
end

-- The same for a task that ended while it waited: how its last lease was given back stays known.
local function close_waiting(id)
  local key = HISTORY_PREFIX .. id
  redis.call('HDEL', key, 'retries', 'crashes', 'score', 'versions')
  redis.call('PEXPIRE', key, SETTLED_TTL_MS)
end

local function versions_tried(id, version)
  local versions = redis.call('HGET', HISTORY_PREFIX .. id, 'versions')
  if not versions then return version end
  for tried in string.gmatch(versions, '%S+') do
    if tried == version then return versions end
  end
  return versions .. ' ' .. version
end

-- End a lease without an end of the task: it waits again, in TASKS or, if due_ms is given, DELAYED.
-- Unless its record says otherwise: gone (parked as orphaned) or ended by somebody else (left; a
-- cancelled one is published as such). verb: see close_history. history: list of name, value to
-- remember. changes: see json_set. seed: see next_event_id. True if it waits again.
local function put_back(id, claim, verb, history, changes, seed, due_ms)
  drop_lease(id)
  local record = read_record(id)
  if record and record.final then
    close_history(id, claim.fence, verb)
    if record.final == 'cancelled' then publish_cancelled(seed, id, record) end
    return false
  end
  local key = HISTORY_PREFIX .. id
  redis.call('HSET', key, 'settled', (verb or 'lost') .. ' ' .. claim.fence, unpack(history))
  redis.call('PEXPIRE', key, HISTORY_TTL_MS + math.max(0, (due_ms or 0) - NOW_MS))
  if not record then
    redis.call('ZADD', ORPHANED, claim.score, id)
    count('orphaned')
    return false
  end
  changes[#changes + 1] = {'started_at', 'null'}
  write_record(id, record, 'pending', changes)
  if due_ms then
    redis.call('HSET', key, 'score', claim.score)
    redis.call('ZADD', DELAYED, ms(due_ms), id)
  else
    -- NX: should somebody have queued it again meanwhile, their score stands.
    redis.call('ZADD', TASKS, 'NX', claim.score, id)
  end
  return true
end

-- Move up to `limit` delayed tasks that are due back to where they wait; returns how many.
local function promote_due(limit)
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', ms(NOW_MS), 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    local score = redis.call('HGET', HISTORY_PREFIX .. id, 'score')
      or score_by_priority(read_record(id))
    redis.call('ZREM', DELAYED, id)
    redis.call('ZADD', TASKS, 'NX', score, id)
  end
  return #due
end

-- Milliseconds until the next delayed task is due, 0 if overdue, or '' if none is delayed.
local function next_due_ms()
  local first = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  return first[2] and ms(math.max(0, tonumber(first[2]) - NOW_MS)) or ''
end
