-- include: keys clock json records index leases stats
-- Everything the operator needs to know, at one moment. Reads only: also runs under EVAL_RO.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     how far "soon" reaches in ms, of how many minutes the mean run time is taken, how many versions,
--          version…, agent…; no agent: every task is ours
-- returns  {{name, value…}, {type, pending…}, {pod, leases held…}, {pod, heartbeat JSON…}, {pod marked…}}
-- cost     O(types + in flight + workers). Where the index does not know every waiting task, a look at up
--          to 10,000 of them, and at the records of those it does not know; beyond, numbers are estimated.
--          With few tasks of ours among others' also O(waiting), at 0.07 µs each
--
-- Up to 200 waiting tasks are looked at one by one, and so are those of a larger queue that the index does
-- not know to be other agents' if it knows no more than 200 of ours: small numbers are exact, as they
-- decide whether a worker is needed at all. An index that lost as many as it missed would seem complete.
-- Beyond, tasks that ended while they wait may be counted.

local soon_ms, minutes, versions = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local agents = agents_from(4 + versions)
local SMALL, MOST, CHUNK = 200, 10000, 500
local MOST_COMPARED = 100000   -- 7 ms

local indexed = index_is_for(agents)
local by_type, foreign, unreadable, oldest = {}, 0, 0, nil

local function add(kind, number)
  by_type[kind] = (by_type[kind] or 0) + number
end

local function older(us)
  if us and (not oldest or us < oldest) then oldest = us end
end

-- Count `ids`: those the index knows by their part of it if it is to be trusted, the others by their
-- record. Returns of how many the record was read.
local function look_at(ids, trusting)
  local parts, read = trusting and #ids > 0 and parts_of(ids) or {}, 0
  for index, id in ipairs(ids) do
    local part = parts[index]
    local record = not part and read_record(id)
    if not part then read = read + 1 end
    if part == 'foreign' or record and not ours(record, agents) then
      foreign = foreign + 1
    elseif type(part) == 'table' then
      add(part[1], 1)
      older(part[2] % BAND + EPOCH_US)
    elseif record and not record.final then
      add(record.type, 1)
      older(parse_us(record.created_at))
    elseif record == nil then
      unreadable = unreadable + 1
    end
  end
  return read
end

-- Count the waiting tasks from the front on. At most MOST. Returns how many, and of how many the record
-- was read.
local function walk(trusting)
  local seen, read = 0, 0
  while seen < MOST do
    local ids = redis.call('ZRANGE', TASKS, seen, seen + CHUNK - 1)
    read = read + look_at(ids, trusting)
    seen = seen + #ids
    if #ids < CHUNK then break end
  end
  return seen, read
end

-- Each band of each type offers its first.
local function find_oldest(kind)
  local from = '-inf'
  while from do
    local first = redis.call('ZRANGEBYSCORE', READY_PREFIX .. kind, from, '+inf', 'WITHSCORES', 'LIMIT',
      0, 1)
    from = nil
    if first[2] then
      older(first[2] % BAND + EPOCH_US)
      from = string.format('%.0f', (math.floor(first[2] / BAND) + 1) * BAND)
    end
  end
end

local waiting, estimated = redis.call('ZCARD', TASKS), 0
local known, sizes, known_ours = 0, {}, 0
if indexed then known, sizes = known_in_all() end
for _, size in pairs(sizes) do known_ours = known_ours + size end

-- All that may be ours, if that is little: else false.
local few = indexed and known_ours <= SMALL and waiting - known <= SMALL and waiting > SMALL
  and waiting <= MOST_COMPARED and redis.call('ZDIFF', 2, TASKS, FOREIGN)

if waiting <= SMALL then
  walk(false)
elseif few and #few <= MOST then
  foreign = waiting - #few
  look_at(few, false)
elseif waiting <= known then
  -- What is missing from TASKS was taken by others, and those are other agents as a rule.
  foreign = math.max(0, redis.call('ZCARD', FOREIGN) - (known - waiting))
  for kind, size in pairs(sizes) do
    add(kind, size)
    find_oldest(kind)
  end
else
  local seen, read = walk(indexed)
  if seen < waiting then
    -- What was not looked at: as the index says, and beyond it like what was read; ours if nothing was.
    estimated = 1
    local unseen = waiting - known - read
    local read_ours = 0
    for kind, number in pairs(by_type) do read_ours = read_ours + number end
    local share = seen > 0 and read_ours / seen or 1
    for kind, size in pairs(sizes) do
      by_type[kind] = math.max(by_type[kind] or 0, size)
      find_oldest(kind)
    end
    add('', math.ceil(math.max(0, unseen) * share))
    foreign = math.max(foreign, indexed and redis.call('ZCARD', FOREIGN) or 0)
      + math.floor(math.max(0, unseen) * (1 - share))
  end
end

local overdue = redis.call('ZCOUNT', DELAYED, '-inf', ms(NOW_MS))
local pending, types = overdue, {}
for kind, number in pairs(by_type) do
  pending = pending + number
  if number > 0 then
    types[#types + 1] = kind
    types[#types + 1] = string.format('%d', number)
  end
end

local held_by, busy = {}, {}
for _, text in ipairs(redis.call('HVALS', CLAIMS)) do
  local owner = string.match(text, '^[^\n]*')
  held_by[owner] = (held_by[owner] or 0) + 1
end
for owner, number in pairs(held_by) do
  busy[#busy + 1] = owner
  busy[#busy + 1] = string.format('%d', number)
end

-- What Redis tells about itself; some managed servers do not let clients ask.
local function told(section, pattern)
  local info = redis.pcall('INFO', section)
  return type(info) == 'string' and string.match(info, pattern) or ''
end

-- Mean run time in seconds of what ended in the last minutes, or '' if nothing did.
local function mean_seconds()
  local us, ended = 0, 0
  for version = 4, 3 + versions do
    for minute = MINUTE - minutes + 1, MINUTE do
      local key = STATS_PREFIX .. ARGV[version] .. ':' .. ms(minute)
      for index, value in ipairs(redis.call('HMGET', key, 'us', 'le:inf', unpack(BUCKETS))) do
        if index == 1 then us = us + (tonumber(value) or 0) else ended = ended + (tonumber(value) or 0) end
      end
    end
  end
  return ended > 0 and string.format('%.6f', us / ended / 1000000) or ''
end

return {
  {
    'pending', pending,
    'foreign', foreign,
    'orphaned', unreadable + redis.call('ZCARD', ORPHANED),
    'oldest_ms', oldest and ms(math.max(0, NOW_MS - math.floor(oldest / 1000))) or '',
    'delayed', redis.call('ZCARD', DELAYED) - overdue,
    'next_due_ms', next_due_ms(),
    'in_flight', redis.call('ZCARD', LEASES),
    'dead', redis.call('ZCARD', DEAD),
    'paused', redis.call('HGET', GATE, 'paused') or '0',
    'estimated', estimated,
    'time_ms', ms(NOW_MS),
    'run_id', told('server', 'run_id:(%w+)'),
    'role', told('replication', 'role:(%w+)'),
    'soon', redis.call('ZCOUNT', DELAYED, '(' .. ms(NOW_MS), ms(NOW_MS + soon_ms)),
    'unknown', math.max(0, waiting - known),
    'mean_seconds', mean_seconds(),
  },
  types,
  busy,
  redis.call('HGETALL', WORKERS),
  redis.call('ZRANGEBYSCORE', DRAIN, '(' .. ms(NOW_MS), '+inf'),
}
