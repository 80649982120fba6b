-- include: clock server
-- How much work another queue system keeps under a key, at one moment. Reads only: also runs under EVAL_RO.
--
-- KEYS     the queue; the key of what is being worked on, if there is one
-- ARGV     List, SortedSet or Stream; the group that reads the stream; how far ahead `soon` looks, in ms
-- returns  {name, value…}; or {'wrong_type', key, type found, types expected}
-- cost     O(log n). For a stream whose server does not tell the group's lag, a look at up to 1,000 entries

local KIND, GROUP, SOON_MS = ARGV[1], ARGV[2], tonumber(ARGV[3])

local COUNTED = 1000
local YEAR_MS = 366 * 86400000

local TYPES = { List = 'list', SortedSet = 'zset', Stream = 'stream' }
local SIZES = { list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', stream = 'XLEN' }

local waiting, delayed, soon = 0, 0, 0
local next_due, oldest, in_flight, estimated = '', '', '', 0

local function type_of(key)
  return redis.call('TYPE', key).ok
end

-- Scores are compared with the time in milliseconds. What is no time but a priority is smaller, and waits.
local function read_sorted_set(key)
  local now = ms(NOW_MS)
  waiting = redis.call('ZCOUNT', key, '-inf', now)
  delayed = redis.call('ZCARD', key) - waiting
  soon = redis.call('ZCOUNT', key, '(' .. now, ms(NOW_MS + SOON_MS))
  local first = redis.call('ZRANGEBYSCORE', key, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  -- A year is as good as never, and fits into any type of time.
  if first[2] then next_due = ms(math.min(tonumber(first[2]) - NOW_MS, YEAR_MS)) end
end

local function find_group(key)
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = {}
    for index = 1, #reply - 1, 2 do group[reply[index]] = reply[index + 1] end
    if group['name'] == GROUP then return group end
  end
end

local function read_stream(key)
  local group = find_group(key)
  local after = group and '(' .. group['last-delivered-id'] or '-'
  in_flight = group and group['pending'] or 0
  if not group then
    -- Nobody has read from it yet: the first worker makes the group.
    waiting = redis.call('XLEN', key)
  elseif group['lag'] then
    waiting = group['lag']
  else
    waiting = #redis.call('XRANGE', key, after, '+', 'COUNT', COUNTED)
    estimated = waiting == COUNTED and 1 or 0
  end
  local first = redis.call('XRANGE', key, after, '+', 'COUNT', 1)[1]
  local at = first and tonumber(string.match(first[1], '^%d+'))
  -- Ids may be chosen: one that is no time of this century tells no age.
  if at and at > 1e12 then oldest = ms(math.max(0, NOW_MS - at)) end
end

local found = type_of(KEYS[1])
if found ~= 'none' then
  if found ~= TYPES[KIND] then return { 'wrong_type', KEYS[1], found, TYPES[KIND] } end
  if KIND == 'List' then waiting = redis.call('LLEN', KEYS[1]) end
  if KIND == 'SortedSet' then read_sorted_set(KEYS[1]) end
  if KIND == 'Stream' then read_stream(KEYS[1]) end
elseif KIND == 'Stream' then
  in_flight = 0
end

if KEYS[2] then
  local kind = type_of(KEYS[2])
  if kind ~= 'none' and not SIZES[kind] then
    return { 'wrong_type', KEYS[2], kind, 'list, set, zset, hash or stream' }
  end
  in_flight = kind == 'none' and 0 or redis.call(SIZES[kind], KEYS[2])
end

return {
  'waiting', waiting,
  'delayed', delayed,
  'soon', soon,
  'next_due_ms', next_due,
  'in_flight', in_flight,
  'oldest_ms', oldest,
  'estimated', estimated,
  'run_id', told('server', 'run_id:(%w+)'),
  'role', told('replication', 'role:(%w+)'),
  'time_ms', ms(NOW_MS),
}
