-- include: keys clock json records events leases
-- Hand out waiting tasks under leases.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     owner, version, count, lease in ms, token, offset, anchor, window, number of types not to
--          hand out, type…, agent…
--          offset, anchor: where the previous call of this claim stopped (0 and '' at first);
--          window: how many waiting tasks to look at; no agent: every task is ours
-- returns  {paused 0|1, next due in ms or '', at end 0|1, offset, anchor,
--           {{id, data, fence, attempt, crashes}…}}
-- cost     O(window · record) plus O(log queue) per move; one HMGET per task looked at
--
-- Leaves the queue here: what is claimed; ids without a readable record (parked as orphaned); tasks
-- that ended while waiting, such as cancelled ones (skipped). Other agents' tasks stay untouched, and
-- so does an id that is under a lease already: somebody queued it again, it is looked at when the
-- lease ends.

local owner, version, wanted, lease_ms, token = ARGV[1], ARGV[2], tonumber(ARGV[3]),
  tonumber(ARGV[4]), ARGV[5]
local offset, anchor, window = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local without = {}
for index = 10, 9 + tonumber(ARGV[9]) do without[ARGV[index]] = true end
local agents = agents_from(10 + tonumber(ARGV[9]))
local batch = BATCH_PREFIX .. token

local function row(id, record, fence)
  local retries, crashes = unpack(redis.call('HMGET', HISTORY_PREFIX .. id, 'retries', 'crashes'))
  -- The greater of both: a rewritten record must not take attempts back.
  local attempt = 1 + math.max(tonumber(retries) or 0, retry_count(record))
  return {id, record.data, fence, string.format('%d', attempt), crashes or '0'}
end

-- The same claim again: its reply was lost on the way. Return what it took and still holds.
if redis.call('EXISTS', batch) == 1 then
  local rows = {}
  for _, id in ipairs(redis.call('LRANGE', batch, 0, -1)) do
    local text = redis.call('HGET', CLAIMS, id)
    local claim = text and cjson.decode(text)
    local record = read_record(id)
    if claim and claim.token == token and record then
      rows[#rows + 1] = row(id, record, claim.fence)
    end
  end
  return {0, next_due_ms(), 1, 0, '', rows}
end

if redis.call('HGET', GATE, 'paused') == '1' then return {1, next_due_ms(), 1, 0, '', {}} end

promote_due(100)

-- Ranks shift while others claim; the last task seen that stayed tells where to go on.
local start = offset
if anchor ~= '' then
  local rank = redis.call('ZRANK', TASKS, anchor)
  start = rank and rank + 1 or math.max(0, offset - 1)
end

local seen = redis.call('ZRANGE', TASKS, start, start + window - 1, 'WITHSCORES')
local candidates, stayed, last = {}, 0, anchor
for index = 1, #seen, 2 do
  local id, score = seen[index], seen[index + 1]
  -- Nothing further back can come before what was found already.
  if #candidates >= wanted and tonumber(score) > candidates[wanted].order then break end
  local record = read_record(id)
  if not record then
    redis.call('ZREM', TASKS, id)
    redis.call('ZADD', ORPHANED, score, id)
    count('orphaned')
  elseif redis.call('HEXISTS', CLAIMS, id) == 1 then
    stayed, last = stayed + 1, id
  elseif not ours(record, agents) then
    stayed, last = stayed + 1, id
  elseif record.final then
    redis.call('ZREM', TASKS, id)
    redis.call('ZREM', DELAYED, id)
    close_waiting(id)
    count('skipped')
  elseif without[record.doc.type] then
    stayed, last = stayed + 1, id
  else
    candidates[#candidates + 1] = {id = id, score = score, order = tonumber(score), record = record}
  end
end

-- Equal scores come out of the set by id, which is chance: let age decide among what was seen.
-- Times are compared as text, which is exact for the one way the orchestrator writes them.
table.sort(candidates, function(a, b)
  if a.order ~= b.order then return a.order < b.order end
  if a.record.created_at ~= b.record.created_at then
    return a.record.created_at < b.record.created_at
  end
  return a.id < b.id
end)

local rows, now = {}, iso_now()
local taken = math.min(wanted, #candidates)
local last_fence = taken > 0 and take_fences(taken) - taken
for index = 1, taken do
  local task = candidates[index]
  local id, fence = task.id, string.format('%.0f', last_fence + index)
  redis.call('ZREM', TASKS, id)
  redis.call('ZREM', DELAYED, id)
  redis.call('ZREM', ORPHANED, id)
  redis.call('ZREM', DEAD, id)
  redis.call('HDEL', DEAD_RECORDS, id)
  redis.call('ZADD', LEASES, ms(NOW_MS + lease_ms), id)
  redis.call('HSET', CLAIMS, id, cjson.encode({
    owner = owner, fence = fence, score = task.score, version = version, token = token,
  }))
  redis.call('SADD', PROCESSING, id)
  write_record(id, task.record, 'in_progress', {{'started_at', json_string(now)}})
  redis.call('PERSIST', RECORD_PREFIX .. id)
  redis.call('RPUSH', batch, id)
  rows[index] = row(id, task.record, fence)
end
if #rows > 0 then redis.call('PEXPIRE', batch, math.max(lease_ms, 60000)) end

local at_end = #seen < 2 * window and 1 or 0
return {0, next_due_ms(), at_end, start + stayed, last, rows}
