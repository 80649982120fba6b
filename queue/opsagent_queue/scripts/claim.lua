-- include: keys clock json records events index leases moves starting
-- Hand out waiting tasks under leases.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     owner, version, count, lease in ms, token, how many hints, id…, how many types have little
--          room, type and how many of it to hand out at most (0: none)…, agent…
--          hints: ids heard of, sorted into the index first; no agent: every task is ours
-- returns  {paused 0|1, next due in ms or '', more 0|1, {{id, data, fence, attempt, crashes}…}, draining 0|1}
--          more: fewer were found than wanted, and there are ids that nobody has looked at yet
--          draining: the owner has a drain mark, and got nothing by this call
-- cost     O(count · (record + log queue)), plus a look at 256 records at most while ids are unknown, and a
--          comparison of 512 ids at most every 100 ms
--
-- Order: band, then age, over all types that have room. Of every 16 tasks handed out one is
-- the oldest of all, so that none waits for ever behind more urgent ones.
--
-- Leaves the queue here: what is claimed; ids without a readable record (parked as orphaned); tasks
-- that ended while waiting, such as cancelled ones (skipped). Other agents' tasks stay untouched, and
-- so does an id that is under a lease already: somebody queued it again, it is looked at when the
-- lease ends.

local owner, version, wanted, lease_ms, token = ARGV[1], ARGV[2], tonumber(ARGV[3]),
  tonumber(ARGV[4]), ARGV[5]
local hints, room, next_argument = {}, {}, 7 + tonumber(ARGV[6])
for index = 7, next_argument - 1 do hints[#hints + 1] = ARGV[index] end
local first_agent = next_argument + 1 + 2 * tonumber(ARGV[next_argument])
for index = next_argument + 1, first_agent - 1, 2 do room[ARGV[index]] = tonumber(ARGV[index + 1]) end
local agents = agents_from(first_agent)
local batch = BATCH_PREFIX .. token
local AGED = 16      -- of so many tasks handed out, one is the oldest
local SPARE = 256    -- how many may turn out not to be ready before the call ends

local function row(id, data, doc, fence, has_past)
  local retries, crashes
  if has_past then
    retries, crashes = unpack(redis.call('HMGET', HISTORY_PREFIX .. id, 'retries', 'crashes'))
  end
  -- The greater of both: a rewritten record must not take attempts back.
  local attempt = 1 + math.max(tonumber(retries) or 0, tonumber(doc.retry_count) or 0)
  return {id, data, fence, string.format('%d', attempt), crashes or '0'}
end

local marked_until = redis.call('ZSCORE', DRAIN, owner)
local draining = marked_until and tonumber(marked_until) > NOW_MS and 1 or 0

-- The same claim again: its reply was lost on the way. Return what it took and still holds.
if redis.call('EXISTS', batch) == 1 then
  local rows = {}
  for _, id in ipairs(redis.call('LRANGE', batch, 0, -1)) do
    local text = redis.call('HGET', CLAIMS, id)
    local claim, record = text and read_claim(text), read_record(id)
    if claim and claim.token == token and record then
      rows[#rows + 1] = row(id, record.data, record.doc, claim.fence, true)
    end
  end
  return {0, next_due_ms(), 0, rows, draining}
end

local paused = redis.call('HGET', GATE, 'paused') == '1' and 1 or 0
if paused + draining > 0 then return {paused, next_due_ms(), 0, {}, draining} end

-- Nothing waits, as each time when a worker looks that has nothing to do: so there is nothing to know, either.
if redis.call('EXISTS', TASKS, DELAYED) == 0 then
  redis.call('DEL', batch)  -- is not there: but a replica refuses even that, and it is not the place to look
  if redis.call('EXISTS', TYPES, FOREIGN, HELD) > 0 then clear_index() end
  return {0, '', 0, {}, 0}
end

-- Nothing new is begun while Redis is out of memory. It judges a script by its first write: this one,
-- which changes nothing, needs some.
redis.call('SETNX', FENCE, 0)

local handed_out, checked = begin_index(agents)
local next_due = next_due_ms()
if next_due == '0' then
  sort_in(promote_due(100), agents)
  next_due = next_due_ms()
end

local now, taken, seen = iso_now(), {}, {}

-- Add those of `ids` that really are to be handed out to `taken`. Each leaves the index in any case. One
-- that stands there twice, as can be after a loss of TYPES, counts once. kinds: the type in whose ready
-- part each stands, if it does.
local function take(ids, kinds)
  local scores, claims = scores_in(TASKS, ids), redis.call('HMGET', CLAIMS, unpack(ids))
  local foreign, busy, orphans, ended, again, by_kind = {}, {}, {}, {}, {}, {}
  for index, id in ipairs(ids) do
    local kind, score = kinds[index], scores[index]
    if kind then
      by_kind[kind] = by_kind[kind] or {}
      table.insert(by_kind[kind], id)
    end
    if score and not seen[id] then
      seen[id] = true
      local record = not claims[index] and read_for_start(id, now)
      if claims[index] then
        busy[#busy + 1] = id
      elseif not record then
        orphans[#orphans + 1], orphans[#orphans + 2] = score, id
      elseif not ours(record, agents) then
        foreign[#foreign + 1], foreign[#foreign + 2] = score, id
      elseif record.final then
        ended[#ended + 1] = id
      elseif room[record.type] == 0 then
        again[#again + 1] = {id, record, score}
      else
        taken[#taken + 1] = {id = id, record = record, score = score}
        if room[record.type] then room[record.type] = room[record.type] - 1 end
      end
    end
  end
  for kind, gone in pairs(by_kind) do with_all(gone, 'ZREM', READY_PREFIX .. kind) end
  with_all(foreign, 'ZADD', FOREIGN)
  with_all(busy, 'SADD', HELD)
  for _, task in ipairs(again) do note_ready(unpack(task)) end
  make_ready()
  set_aside(orphans, ended)
end

-- Take from the index, after the hints were sorted in and, where there are unknown ones, some of these.
-- Returns `more` of the reply, and whether unknown ones were looked for.
local function take_in_order()
  sort_in(hints, agents)

  local checks, again = math.abs(NOW_MS - checked) >= CHECK_MS, false
  if checks then
    redis.call('HSET', INDEX, 'checked', ms(NOW_MS))
    again = look_after_index(agents)
  end
  local looked = checks or unknown_ones() > 0
  if looked then look_for_unknown(agents) end

  -- One type's ready tasks in order, read piece by piece.
  local streams = {}
  for _, kind in ipairs(ready_types()) do
    if room[kind] ~= 0 then streams[#streams + 1] = {kind = kind, read = 0, at = 1, piece = {}} end
  end
  local PIECE = #streams > 1 and math.max(8, math.ceil(2 * wanted / #streams)) or wanted

  local function head(stream)
    if stream.at > #stream.piece and not stream.ended then
      stream.piece = redis.call('ZRANGE', READY_PREFIX .. stream.kind, stream.read,
        stream.read + PIECE - 1, 'WITHSCORES')
      stream.read, stream.at = stream.read + PIECE, 1
      stream.ended = #stream.piece < 2 * PIECE
      for index = 2, #stream.piece, 2 do stream.piece[index] = tonumber(stream.piece[index]) end
    end
    return stream.piece[stream.at], stream.piece[stream.at + 1]
  end

  -- The next `number` ids in order, and the type of each.
  local function next_ones(number)
    local ids, kinds, picked = {}, {}, {}
    while #ids < number do
      local best, best_id, best_place
      for _, stream in ipairs(streams) do
        local id, place
        if (picked[stream.kind] or 0) ~= room[stream.kind] then id, place = head(stream) end
        if id and (not best or place < best_place or place == best_place and id < best_id) then
          best, best_id, best_place = stream, id, place
        end
      end
      if not best then break end
      best.at = best.at + 2
      ids[#ids + 1], kinds[#kinds + 1] = best_id, best.kind
      picked[best.kind] = (picked[best.kind] or 0) + 1
    end
    return ids, kinds
  end

  -- The oldest of all: each band of each type offers its first.
  local function oldest()
    local best, best_age, best_kind
    for _, stream in ipairs(streams) do
      local key, from = READY_PREFIX .. stream.kind, room[stream.kind] ~= 0 and '-inf' or nil
      while from do
        local first = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
        local id, place = first[1], tonumber(first[2])
        from = nil
        if id then
          local age = place % BAND
          if not best or age < best_age or age == best_age and id < best then
            best, best_age, best_kind = id, age, stream.kind
          end
          from = string.format('%.0f', (math.floor(place / BAND) + 1) * BAND)
        end
      end
    end
    return best, best_kind
  end

  local aged = math.floor((handed_out + wanted) / AGED) - math.floor(handed_out / AGED)
  local spare, offered = SPARE, true
  while #taken < wanted - aged and spare > 0 and offered do
    local before = #taken
    local asked = wanted - aged - before
    local ids, kinds = next_ones(asked)
    if #ids > 0 then
      take(ids, kinds)
      -- What was taken out of the index shifts the ranks of what was not read yet.
      for _, stream in ipairs(streams) do stream.read, stream.at, stream.piece, stream.ended = 0, 1, {}, false end
    end
    local refused = #ids - #taken + before
    spare = spare - refused
    -- Whoever was not taken left room for another one of its type.
    offered = #ids == asked or refused > 0
  end
  while #taken < wanted and spare > 0 and offered do
    local id, kind = oldest()
    offered = id ~= nil
    if offered then
      take({id}, {kind})
      spare = spare - 1
    end
  end

  if #taken == wanted then return 0, looked end
  if offered then return 1, looked end
  if not checks then again = look_after_index(agents) end
  -- What is taken still stands in TASKS, but in no part of the index any more.
  return (again or unknown_ones() > #taken) and 1 or 0, looked
end

-- The only task there is, just announced, while the index is empty: this is how most tasks reach a worker
-- that is not busy. It need not be sorted in to be taken out again.
local more, looked = 0, false
if #hints == 1 and redis.call('ZCARD', TASKS) == 1 and redis.call('EXISTS', TYPES, FOREIGN, HELD) == 0 then
  take(hints, {})
end
if #taken == 0 then more, looked = take_in_order() end
if #taken == 0 then return {0, next_due, more, {}, 0} end

local fence = take_fences(#taken) - #taken
redis.call('HSET', INDEX, 'handed_out', ms(handed_out + #taken))
local ids, histories, leases, claims = {}, {}, {}, {}
local deadline = ms(NOW_MS + lease_ms)
for index, task in ipairs(taken) do
  local id = task.id
  task.fence = ms(fence + index)
  ids[index], histories[index] = id, HISTORY_PREFIX .. id
  leases[2 * index - 1], leases[2 * index] = deadline, id
  claims[2 * index - 1] = id
  claims[2 * index] = claim_text(owner, task.fence, task.score, version, token)
  redis.call('HSET', RECORD_PREFIX .. id, 'data', task.record.started, 'status', 'in_progress',
    'updated_at', now)
  -- Only a record that was finished once may expire, and that left its mark.
  if task.record.touched then redis.call('PERSIST', RECORD_PREFIX .. id) end
end
with_all(leases, 'ZADD', LEASES)
with_all(claims, 'HSET', CLAIMS)
with_all(ids, 'SADD', PROCESSING)
with_all(ids, 'RPUSH', batch)
redis.call('PEXPIRE', batch, math.max(lease_ms, 60000))
with_all(ids, 'ZREM', TASKS)
if looked then move_up(#ids) end
if redis.call('EXISTS', DELAYED, ORPHANED, DEAD, DEAD_RECORDS) > 0 then
  with_all(ids, 'ZREM', DELAYED)
  with_all(ids, 'ZREM', ORPHANED)
  with_all(ids, 'ZREM', DEAD)
  with_all(ids, 'HDEL', DEAD_RECORDS)
  next_due = next_due_ms()
end

local any_past = redis.call('EXISTS', unpack(histories)) > 0
local rows = {}
for index, task in ipairs(taken) do
  rows[index] = row(task.id, task.record.started, task.record.doc, task.fence, any_past)
end
return {0, next_due, more, rows, 0}
