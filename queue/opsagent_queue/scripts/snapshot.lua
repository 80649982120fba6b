-- include: keys clock json records index leases stats server
-- Everything the operator needs to know, at one moment. Reads only: also runs under EVAL_RO.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     how far "soon" reaches in ms, of how many minutes the mean run time is taken, how many versions,
--          version…, agent…; no agent: every task is ours
-- returns  {{name, value…}, {type, pending…}, {pod, leases held…}, {pod, heartbeat JSON…}, {pod marked…}}
-- cost     O(types + in flight + workers), a look at 400 records at most, and 15 µs for each version and minute.
--          With few tasks of ours among up to 50,000 also O(waiting), at 0.07 µs each
--
-- What the index knows is counted as it stands there. What it does not know is estimated from a sample,
-- until `index` has made it known. Small numbers decide whether a worker is needed at all, so they are
-- exact: up to 200 waiting tasks are looked at one by one, and so are those of a larger queue that the
-- index does not know to be other agents' if it knows few of ours. An index that lost as many as it missed
-- would seem complete. Beyond, tasks that ended while they wait may be counted.

local soon_ms, minutes, versions = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local agents = agents_from(4 + versions)
local SMALL = 200
local SAMPLE = 400
local MOST_COMPARED = 50000   -- 3.5 ms
local GOLDEN_RATIO = (1 + math.sqrt(5)) / 2

local by_type, foreign, unreadable, oldest, estimated = {}, 0, 0, nil, 0

local function add(kind, number)
  by_type[kind] = (by_type[kind] or 0) + number
end

local function older(us)
  if us and (not oldest or us < oldest) then oldest = us end
end

-- Count `ids` by their records, as `look` reads them. Each stands for `number` tasks.
local function look_at(ids, look, number)
  for _, id in ipairs(ids) do
    local record = look(id)
    if not record then
      unreadable = unreadable + number
    elseif not ours(record, agents) then
      foreign = foreign + number
    elseif not record.final then
      add(record.type, number)
      older(parse_us(record.created_at))
    end
  end
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

local indexed, waiting = index_is_for(agents), redis.call('ZCARD', TASKS)
local known, sizes, known_ours = 0, {}, 0
if indexed then known, sizes = known_in_all() end
for _, size in pairs(sizes) do known_ours = known_ours + size end
local unknown = math.max(0, waiting - known)

-- All that may be ours, if that is likely to be little; else false.
local few = indexed and waiting > SMALL and waiting <= MOST_COMPARED and known_ours + unknown <= SAMPLE
  and redis.call('ZDIFF', 2, TASKS, FOREIGN)
if few then unknown = math.max(unknown, #few - known_ours) end

-- How many of the known foreign tasks have left at the front, which is where their agents take them.
local function gone_at_front()
  local gone = 0
  for _, score in ipairs(scores_in(TASKS, redis.call('ZRANGE', FOREIGN, 0, SAMPLE - 1))) do
    if not score then gone = gone + 1 end
  end
  return gone
end

-- Waiting tasks that the index does not know, spread evenly over the queue. From each stretch of it one is
-- taken, at a place that moves on by the golden ratio, so that nothing which comes in turns deceives. There
-- is no chance in it: an estimate does not waver.
local function sample_of_unknown()
  local ids, number = {}, math.min(SAMPLE, waiting)
  for place = 0, number - 1 do
    local rank = math.floor((place + place * GOLDEN_RATIO % 1) * waiting / number)
    ids[#ids + 1] = redis.call('ZRANGE', TASKS, rank, rank)[1]
  end
  local parts, sample = indexed and parts_of(ids) or {}, {}
  for index, id in ipairs(ids) do
    if not parts[index] then sample[#sample + 1] = id end
  end
  return sample
end

if waiting <= SMALL then
  look_at(redis.call('ZRANGE', TASKS, 0, -1), read_record, 1)
elseif few and #few <= SAMPLE then
  foreign = waiting - #few
  look_at(few, glance, 1)
else
  if indexed then
    known = known - gone_at_front()
    unknown = math.max(unknown, waiting - known)
    -- What else is missing from TASKS was taken by others, and those are other agents as a rule.
    foreign = math.max(0, waiting - unknown - known_ours - redis.call('SCARD', HELD))
  end
  -- Where that does not explain it, somebody took ours: no more of them wait than are there.
  local share = math.min(1, (waiting - unknown) / math.max(1, known_ours))
  for kind, size in pairs(sizes) do
    add(kind, size * share)
    find_oldest(kind)
  end
  if unknown > 0 then
    local sample = sample_of_unknown()
    if #sample < unknown and unknown > waiting / 100 then estimated = 1 end
    -- Ours if nothing says otherwise.
    if #sample == 0 then add('', unknown) else look_at(sample, glance, unknown / #sample) end
  end
end

local function round(number)
  return math.floor(number + 0.5)
end

local overdue = redis.call('ZCOUNT', DELAYED, '-inf', ms(NOW_MS))
local pending, types = overdue, {}
for kind, number in pairs(by_type) do
  number = round(number)
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
    'foreign', round(foreign),
    'orphaned', round(unreadable) + redis.call('ZCARD', ORPHANED),
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
    'fence', redis.call('GET', FENCE) or '0',
    'soon', redis.call('ZCOUNT', DELAYED, '(' .. ms(NOW_MS), ms(NOW_MS + soon_ms)),
    'unknown', unknown,
    'mean_seconds', mean_seconds(),
  },
  types,
  busy,
  redis.call('HGETALL', WORKERS),
  redis.call('ZRANGEBYSCORE', DRAIN, '(' .. ms(NOW_MS), '+inf'),
}
