-- The index over TASKS, which is shared with other agents and sorts equal scores by id:
--
-- <own>:ready:<type>   ours, by band and age: place = band * 1e15 + microseconds since 2020
-- FOREIGN              other agents', with their score in TASKS
-- HELD                 queued again while under a lease: looked at when that ends
-- TYPES                types that have a ready part
-- INDEX                {agents = whom it was made for, handed_out = how many tasks,
--                       tasks, foreign, reread = where the next look begins,
--                       checked = when it was compared with TASKS last, in ms}
--
-- TASKS stays the truth: whoever takes a task from the index asks TASKS whether it still waits. An id
-- that is in no part is unknown. There are unknown ones if TASKS is larger than all parts together;
-- a look at some ids at a time then sorts them in. Where as many are known that have left, numbers show
-- nothing: hence a look every so often. All of this may be lost at any time: it comes back.

local BAND = 1e15                       -- microseconds of 31 years; nine bands fit into a double
local EPOCH_US = 1577836800 * 1000000   -- 2020-01-01
local FRONT, WINDOW = 64, 192           -- ids looked at in each step: the first ones, and some more
local REREAD = 16                       -- foreign records read again in each idle step
local CHECK_MS = 100                    -- so often claims look though numbers show nothing

local READY = {}                        -- what is to be added: {type -> {place, id, …}}
local KNOWN_TYPES

local function ready_types()
  KNOWN_TYPES = KNOWN_TYPES or redis.call('SMEMBERS', TYPES)
  return KNOWN_TYPES
end

-- {score or false…} of `ids` in the sorted set `key`.
local function scores_in(key, ids)
  local scores = {}
  for first = 1, #ids, 2000 do
    for _, score in ipairs(redis.call('ZMSCORE', key, unpack(ids, first, math.min(#ids, first + 1999)))) do
      scores[#scores + 1] = score
    end
  end
  return scores
end

-- Scores of another making than the orchestrator's keep their order as far as whole numbers go.
local function band_of(score)
  return math.max(0, math.min(8, math.floor(tonumber(score))))
end

-- Where a task stands among those of its type. One whose age cannot be read is as old as our
-- knowledge of it.
local function place_of(record, score)
  local us = (parse_us(record.created_at) or NOW_US) - EPOCH_US
  return string.format('%.0f', band_of(score) * BAND + math.max(0, math.min(BAND - 1, us)))
end

local function note_ready(id, record, score)
  local list = READY[record.type] or {}
  READY[record.type] = list
  list[#list + 1] = place_of(record, score)
  list[#list + 1] = id
end

-- Add to the index what was noted.
local function make_ready()
  for kind, list in pairs(READY) do
    with_all(list, 'ZADD', READY_PREFIX .. kind)
    if redis.call('SADD', TYPES, kind) == 1 and KNOWN_TYPES then
      KNOWN_TYPES[#KNOWN_TYPES + 1] = kind
    end
  end
  READY = {}
end

local function agents_name(agents)
  local names = {}
  for name in pairs(agents or {}) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, '\n')
end

-- An index made for other agents knows nothing about what is ours.
local function index_is_for(agents)
  return redis.call('HGET', INDEX, 'agents') == agents_name(agents)
end

local function clear_index()
  for _, kind in ipairs(ready_types()) do redis.call('UNLINK', READY_PREFIX .. kind) end
  redis.call('UNLINK', TYPES, FOREIGN, HELD)
  KNOWN_TYPES = nil
end

-- Returns how many tasks were handed out, and when the index was compared with TASKS last.
local function begin_index(agents)
  local made_for, handed_out, checked =
    unpack(redis.call('HMGET', INDEX, 'agents', 'handed_out', 'checked'))
  handed_out, checked = tonumber(handed_out) or 0, tonumber(checked) or 0
  if made_for == agents_name(agents) then return handed_out, checked end
  redis.call('HSET', INDEX, 'agents', agents_name(agents), 'tasks', 0, 'foreign', 0)
  clear_index()
  return handed_out, checked
end

local PENDING_TASK = '^{"task_id": "[^"\\]*", "type": "([^"\\]*)", "priority": "[^"\\]*", "source": "[^"\\]*", '
  .. '"status": "pending", '

-- What the index needs to know of a record, by its text alone where that is laid out as the
-- orchestrator does it: decoding costs more than all else. Whatever is mistaken here (a record can be
-- written so as to mislead) is seen when the task is taken, or when foreign records are read again.
local function glance(id)
  local data, status = unpack(redis.call('HMGET', RECORD_PREFIX .. id, 'data', 'status'))
  if not data or TERMINAL[status] then return read_record(id) end
  local kind = string.match(data, PENDING_TASK)
  local first = kind and string.find(data, '"assigned_to"', 1, true)
  if not first or string.find(data, '"assigned_to"', first + 1, true) then return read_record(id) end
  local agent, created_at =
    string.match(data, '^"assigned_to": "([^"\\]*)", "created_at": "([^"\\]*)", ', first)
  if not agent then return read_record(id) end
  return {doc = {assigned_to = agent}, type = kind, created_at = created_at}
end

-- How many ids all parts have together, and how many each type has.
local function known_in_all()
  local sizes, known = {}, redis.call('ZCARD', FOREIGN) + redis.call('SCARD', HELD)
  for _, kind in ipairs(ready_types()) do
    sizes[kind] = redis.call('ZCARD', READY_PREFIX .. kind)
    known = known + sizes[kind]
  end
  return known, sizes
end

local function unknown_ones()
  return redis.call('ZCARD', TASKS) - known_in_all()
end

-- Where each of `ids` is: {{kind, place} | 'foreign' | 'held' | nil…}.
local function parts_of(ids)
  local parts = {}
  for _, kind in ipairs(ready_types()) do
    for index, place in ipairs(scores_in(READY_PREFIX .. kind, ids)) do
      if place then parts[index] = {kind, tonumber(place)} end
    end
  end
  for index, score in ipairs(scores_in(FOREIGN, ids)) do
    if score then parts[index] = 'foreign' end
  end
  if redis.call('EXISTS', HELD) == 1 then
    for index, found in ipairs(redis.call('SMISMEMBER', HELD, unpack(ids))) do
      if found == 1 then parts[index] = 'held' end
    end
  end
  return parts
end

-- Set aside what cannot run: {score, id…} without a record, {id…} that ended while they waited.
local function set_aside(orphans, ended)
  if #orphans > 0 then
    with_all(orphans, 'ZADD', ORPHANED)
    for index = 2, #orphans, 2 do redis.call('ZREM', TASKS, orphans[index]) end
    count('orphaned', #orphans / 2)
  end
  if #ended > 0 then
    count('skipped', #ended)
    with_all(ended, 'ZREM', TASKS)
    with_all(ended, 'ZREM', DELAYED)
    for _, id in ipairs(ended) do redis.call('DEL', HISTORY_PREFIX .. id) end
  end
end

-- Sort those of `ids` in that wait and are unknown; at most 1,000. Each unknown one costs a look at
-- its record, by `look` if that is not to be a glance. Returns how many left TASKS thereby.
local function sort_in(ids, agents, look)
  if #ids == 0 then return 0 end
  local scores, parts, claims = scores_in(TASKS, ids), parts_of(ids), nil
  local foreign, taken, orphans, ended = {}, {}, {}, {}
  for index, id in ipairs(ids) do
    local score, part = scores[index], parts[index]
    if score and type(part) == 'table' then
      -- Somebody has given it another priority.
      if math.floor(part[2] / BAND) ~= band_of(score) then
        READY[part[1]] = READY[part[1]] or {}
        table.insert(READY[part[1]], string.format('%.0f', band_of(score) * BAND + part[2] % BAND))
        table.insert(READY[part[1]], id)
      end
    elseif score and not part then
      claims = claims or redis.call('HMGET', CLAIMS, unpack(ids))
      local record = not claims[index] and (look or glance)(id)
      if claims[index] then
        taken[#taken + 1] = id
      elseif not record then
        orphans[#orphans + 1], orphans[#orphans + 2] = score, id
      elseif not ours(record, agents) then
        foreign[#foreign + 1], foreign[#foreign + 2] = score, id
      elseif record.final then
        ended[#ended + 1] = id
      else
        note_ready(id, record, score)
      end
    end
  end
  make_ready()
  with_all(foreign, 'ZADD', FOREIGN)
  with_all(taken, 'SADD', HELD)
  set_aside(orphans, ended)
  return #orphans / 2 + #ended
end

-- A piece of the sorted set `key`: its first ids and, from where the last look ended, `window` more.
-- Returns both as one list, and where the next look begins.
local function next_piece(key, name, window)
  local ids = redis.call('ZRANGE', key, 0, FRONT - 1)
  if #ids < FRONT then return ids, 0 end
  local start = math.max(FRONT, tonumber(redis.call('HGET', INDEX, name)) or 0)
  local more = redis.call('ZRANGE', key, start, start + window - 1)
  for _, id in ipairs(more) do ids[#ids + 1] = id end
  return ids, #more < window and 0 or start + window
end

local function remember_place(name, place)
  if place ~= (tonumber(redis.call('HGET', INDEX, name)) or 0) then
    redis.call('HSET', INDEX, name, place)
  end
end

-- One step of sorting in what is unknown, of WINDOW ids unless told otherwise.
local function look_for_unknown(agents, window)
  local ids, place = next_piece(TASKS, 'tasks', window or WINDOW)
  local gone = sort_in(ids, agents)
  remember_place('tasks', math.max(0, place - gone))
end

-- That many known ids left TASKS: what was not looked at yet moved up, or nearly so.
local function move_up(number)
  local place = tonumber(redis.call('HGET', INDEX, 'tasks')) or 0
  remember_place('tasks', math.max(0, place - number))
end

-- One step of forgetting foreign tasks that left, which is how their agents take them: from the
-- front. And one of reading records again, as a task may have been assigned to us meanwhile. Returns
-- whether another step at once is worth it: some were, or many left.
local function look_after_foreign(agents)
  if redis.call('EXISTS', FOREIGN) == 0 then return false end
  local ids, place = next_piece(FOREIGN, 'foreign', WINDOW)
  local left, moved = {}, {}
  for index, score in ipairs(scores_in(TASKS, ids)) do
    if not score then left[#left + 1] = ids[index] end
  end
  with_all(left, 'ZREM', FOREIGN)
  remember_place('foreign', math.max(0, place - #left))

  local first = tonumber(redis.call('HGET', INDEX, 'reread')) or 0
  local again = redis.call('ZRANGE', FOREIGN, first, first + REREAD - 1)
  for _, id in ipairs(again) do
    local record = read_record(id)
    if not record or ours(record, agents) then moved[#moved + 1] = id end
  end
  with_all(moved, 'ZREM', FOREIGN)
  sort_in(moved, agents, read_record)
  remember_place('reread', #again < REREAD and 0 or first + REREAD - #moved)
  return #moved > 0 or #left >= FRONT
end

-- One step of forgetting held ids that left TASKS, or whose lease is gone; returns whether there were
-- any of these.
local function look_after_held()
  local ids, left, free = redis.call('SRANDMEMBER', HELD, REREAD), {}, {}
  if #ids == 0 then return false end
  local scores = scores_in(TASKS, ids)
  for index, claim in ipairs(redis.call('HMGET', CLAIMS, unpack(ids))) do
    if not scores[index] then
      left[#left + 1] = ids[index]
    elseif not claim then
      free[#free + 1] = ids[index]
    end
  end
  with_all(left, 'SREM', HELD)
  with_all(free, 'SREM', HELD)
  return #free > 0
end

-- Any text may be a type, and each costs every claim some commands: forget those nothing waits of.
local function forget_types()
  local bare = {}
  for _, kind in ipairs(ready_types()) do
    if redis.call('EXISTS', READY_PREFIX .. kind) == 0 then bare[#bare + 1] = kind end
  end
  if #bare == 0 then return end
  with_all(bare, 'SREM', TYPES)
  KNOWN_TYPES = nil
end

-- One step of finding what the index knows wrongly; returns whether another one at once is worth it.
local function look_after_index(agents)
  forget_types()
  local foreign, held = look_after_foreign(agents), look_after_held()
  return foreign or held
end
