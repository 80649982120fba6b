-- Where a task goes when nobody holds it any more.
--
-- Moves of a batch are noted here and made together by make_moves(), which every script that ends
-- leases calls last: one command for many tasks costs a fraction of many commands.

local DROPPED_IDS = {}      -- leases that end
local SETTLING_PAIRS = {}   -- "fence id", verb…: how they were given back
local RETURNED = {}         -- tasks that wait again: {id, record, score}
local FORGOTTEN = {}        -- histories of tasks that ended

-- End the lease. verb: how it was given back; nil: it was lost, and whatever its owner still sends
-- comes too late.
local function drop_lease(id, fence, verb)
  DROPPED[id] = true
  DROPPED_IDS[#DROPPED_IDS + 1] = id
  if verb then
    local entry, last = fence .. ' ' .. id, #SETTLING_PAIRS
    SETTLING[entry] = verb
    SETTLING_PAIRS[last + 1], SETTLING_PAIRS[last + 2] = entry, verb
  end
end

local function make_moves()
  if #SETTLING_PAIRS > 0 then
    local key = SETTLED_PREFIX .. ms(MINUTE)
    with_all(SETTLING_PAIRS, 'HSET', key)
    redis.call('PEXPIRE', key, SETTLED_TTL_MS + 60000)
    -- Nobody asks for an older one. Expiring, each task of a minute would be freed while all wait.
    redis.call('UNLINK', SETTLED_PREFIX .. ms(MINUTE - SETTLED_TTL_MS / 60000 - 1))
  end
  if #RETURNED > 0 then
    local entries, ids = {}, {}
    for _, task in ipairs(RETURNED) do
      entries[#entries + 1], entries[#entries + 2] = task.score, task.id
      ids[#ids + 1] = task.id
    end
    -- NX: should somebody have queued it again meanwhile, their score stands.
    with_all(entries, 'ZADD', TASKS, 'NX')
    for index, score in ipairs(scores_in(TASKS, ids)) do
      note_ready(ids[index], RETURNED[index].record, score)
    end
    make_ready()
  end
  if #DROPPED_IDS > 0 then
    with_all(DROPPED_IDS, 'ZREM', LEASES)
    with_all(DROPPED_IDS, 'HDEL', CLAIMS)
    with_all(DROPPED_IDS, 'SREM', PROCESSING)
    with_all(DROPPED_IDS, 'SREM', HELD)
  end
  with_all(FORGOTTEN, 'DEL')
end

-- Nothing is left to do for this task.
local function forget_history(id)
  FORGOTTEN[#FORGOTTEN + 1] = HISTORY_PREFIX .. id
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
-- cancelled one is published as such). record: as read by read_record. verb: see drop_lease.
-- history: list of name, value to remember. changes: see json_set. seed: see next_event_id.
-- True if it waits again.
local function put_back(id, claim, record, verb, history, changes, seed, due_ms)
  local key = HISTORY_PREFIX .. id
  if record and record.final then
    forget_history(id)
    drop_lease(id, claim.fence, verb)
    if record.final == 'cancelled' then
      redis.call('PEXPIRE', RECORD_PREFIX .. id, HISTORY_TTL_MS)
      publish_cancelled(seed, id, record)
    end
    return false
  end
  if due_ms then
    history[#history + 1] = 'score'
    history[#history + 1] = claim.score
  end
  if #history > 0 then redis.call('HSET', key, unpack(history)) end
  redis.call('PEXPIRE', key, HISTORY_TTL_MS + math.max(0, (due_ms or 0) - NOW_MS))
  if not record then
    redis.call('ZADD', ORPHANED, claim.score, id)
    drop_lease(id, claim.fence, verb)
    count('orphaned')
    return false
  end
  changes[#changes + 1] = {'started_at', 'null'}
  write_record(id, record, 'pending', changes)
  if due_ms then
    redis.call('ZADD', DELAYED, ms(due_ms), id)
  else
    RETURNED[#RETURNED + 1] = {id = id, record = record, score = claim.score}
  end
  drop_lease(id, claim.fence, verb)
  return true
end

-- Move up to `limit` delayed tasks that are due back to where they wait; returns their ids.
local function promote_due(limit)
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', ms(NOW_MS), 'LIMIT', 0, limit)
  if #due == 0 then return due end
  local entries = {}
  for _, id in ipairs(due) do
    entries[#entries + 1] = redis.call('HGET', HISTORY_PREFIX .. id, 'score')
      or score_by_priority(read_record(id))
    entries[#entries + 1] = id
  end
  with_all(entries, 'ZADD', TASKS, 'NX')
  with_all(due, 'ZREM', DELAYED)
  return due
end
