-- include: keys clock json records events leases
-- Everything the operator needs to know, at one moment. Reads only: also runs under EVAL_RO.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     agent…; none: every task is ours
-- returns  {{name, value…}, {pod, leases held…}, {pod, heartbeat JSON…}}
-- cost     O(waiting tasks · record + in flight + workers)

local agents = agents_from(1)
local CHUNK = 1000

local pending, foreign, unreadable, oldest = 0, 0, 0, ''
local first = 0
while true do
  local ids = redis.call('ZRANGE', TASKS, first, first + CHUNK - 1)
  for _, id in ipairs(ids) do
    local record = read_record(id)
    if not record then
      unreadable = unreadable + 1
    elseif not ours(record, agents) then
      foreign = foreign + 1
    elseif not record.final then
      pending = pending + 1
      if record.created_at ~= '' and (oldest == '' or record.created_at < oldest) then
        oldest = record.created_at
      end
    end
  end
  if #ids < CHUNK then break end
  first = first + CHUNK
end

local held_by, busy = {}, {}
for _, text in ipairs(redis.call('HVALS', CLAIMS)) do
  local owner = cjson.decode(text).owner
  held_by[owner] = (held_by[owner] or 0) + 1
end
for owner, number in pairs(held_by) do
  busy[#busy + 1] = owner
  busy[#busy + 1] = string.format('%d', number)
end

-- Some managed servers do not let clients ask.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''

return {
  {
    'pending', pending,
    'foreign', foreign,
    'orphaned', unreadable + redis.call('ZCARD', ORPHANED),
    'oldest', oldest,
    'delayed', redis.call('ZCARD', DELAYED),
    'next_due_ms', next_due_ms(),
    'in_flight', redis.call('ZCARD', LEASES),
    'dead', redis.call('ZCARD', DEAD),
    'paused', redis.call('HGET', GATE, 'paused') or '0',
    'time_ms', ms(NOW_MS),
    'run_id', run_id,
  },
  busy,
  redis.call('HGETALL', WORKERS),
}
