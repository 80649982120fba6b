-- include: keys room clock json records events index leases moves stats
-- End tasks that succeeded, with records made beforehand for the case that nobody has touched them.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     version, result TTL in ms, owner, then of each task: id, fence, type, seconds, the record's data
--          as it was claimed, its final data up to the time of the end and from there on, the event's JSON up
--          to its timestamp and from there on
-- returns  {1 done (now, or by the same call before) · 0 the lease was lost · 2 the record has changed:
--          nothing done, this one needs finish …}, in the order asked
-- cost     O(tasks · (bytes of record and event + log in flight))

local version, ttl_ms, owner, now = ARGV[1], ARGV[2], ARGV[3], iso_now()
local FIRST, WIDTH = 4, 9

local ids = {}
for index = FIRST, #ARGV, WIDTH do ids[#ids + 1] = ARGV[index] end
local claims = redis.call('HMGET', CLAIMS, unpack(ids))
local completed, any = EVENT_PREFIX .. 'task.completed', EVENT_PREFIX .. '*'

local function complete(claim, id, fence, kind, seconds, data, head, tail, event_head, event_tail)
  if not holds(id, owner, fence, claim) then
    if settled(id, fence, 'finish') then return 1 end
    count('late_finishes')
    return 0
  end
  local key = RECORD_PREFIX .. id
  local stored = redis.call('HMGET', key, 'data', 'status')
  if stored[1] ~= data or stored[2] ~= 'in_progress' then return 2 end
  redis.call('HSET', key, 'data', head .. now .. tail, 'status', 'completed', 'updated_at', now)
  redis.call('PEXPIRE', key, ttl_ms)
  forget_history(id)
  drop_lease(id, fence, 'finish')
  local event = event_head .. now .. event_tail
  redis.call('PUBLISH', completed, event)
  redis.call('PUBLISH', any, event)
  remember_end(event)
  tally_outcome(version, 'ok', kind, tonumber(seconds), '')
  return 1
end

local done = {}
for number, claim in ipairs(claims) do
  local first = FIRST + (number - 1) * WIDTH
  done[number] = complete(claim, unpack(ARGV, first, first + WIDTH - 1))
end
write_stats()
make_moves()
return done
