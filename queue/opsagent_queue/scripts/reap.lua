-- include: keys room clock json records events index leases moves finishing stats
-- Bring back what nobody looks after: expired leases, due delayed tasks, orphans whose record is there.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     limit, max crashes, result TTL in ms, a UUID from which event ids are made, agent…
-- returns  {requeued, dead, promoted, ms until the next lease expires or ''}
-- cost     O(limit · (record + log queue))

local limit, max_crashes, ttl_ms, seed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]),
  ARGV[4]
local agents = agents_from(5)
local requeued, dead = 0, 0

-- Nothing can be left behind where nothing runs or is delayed.
if redis.call('EXISTS', LEASES, DELAYED, ORPHANED) == 0 then return {0, 0, 0, ''} end

-- A task that takes its worker down each time must not take down the next one.
local function poison(id, claim, record, crashes)
  local history = redis.call('HGET', HISTORY_PREFIX .. id, 'retries')
  local attempts = 1 + math.max(tonumber(history) or 0, retry_count(record))
  local reason = string.format(
    'gave up after %d crashes: each worker that ran this task died or stopped renewing its lease',
    crashes)
  close_record(id, record, 'failed', '', json_string(reason), attempts, ttl_ms)
  bury(id, claim, attempts, crashes, 'poisoned', reason, 'WorkerCrash', ttl_ms)
  forget_history(id)
  drop_lease(id, claim.fence)
  count('poisoned')
  dead = dead + 1
  remember_end(publish(next_event_id(seed), 'task.failed', 'high', id, record,
    string.format('{"status": "failed", "attempt": %d, "version": %s, "error": %s, "error_class": %s}',
      attempts, json_string(claim.version), json_string(reason), '"WorkerCrash"')))
  tally(claim.version, 'failed', 1)
  tally(claim.version, 'failed:' .. record.type, 1)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', ms(NOW_MS), 'LIMIT', 0, limit)) do
  local record = read_record(id)
  local text = redis.call('HGET', CLAIMS, id)
  -- Without its claim, which only hands from outside can remove, a task still finds its way back.
  local claim = text and read_claim(text)
    or {owner = '', fence = '', score = score_by_priority(record), version = 'unknown'}
  local crashes = 1 + (tonumber(redis.call('HGET', HISTORY_PREFIX .. id, 'crashes')) or 0)
  tally_outcome(claim.version, 'crashed', '', 0, 'WorkerCrash')
  if record and not record.final and crashes >= max_crashes then
    poison(id, claim, record, crashes)
  elseif put_back(id, claim, record, nil, {'crashes', string.format('%d', crashes),
      'versions', versions_tried(id, claim.version)}, {}, seed) then
    requeued = requeued + 1
    count('rescued')
  end
end
write_stats()
make_moves()

local promoted = promote_due(limit)

-- Orphans are looked at by chance, so that a few for ever unreadable ones do not hide the others.
local restored = {}
for _, id in ipairs(redis.call('ZRANDMEMBER', ORPHANED, limit)) do
  if read_record(id) then
    redis.call('ZADD', TASKS, 'NX', redis.call('ZSCORE', ORPHANED, id), id)
    redis.call('ZREM', ORPHANED, id)
    restored[#restored + 1] = id
  end
end
count('restored', #restored)

if index_is_for(agents) then
  sort_in(promoted, agents)
  sort_in(restored, agents)
end
if requeued + #promoted + #restored > 0 then redis.call('PUBLISH', WAKE, 'reaped') end
local first = redis.call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
local next_ms = first[2] and ms(math.max(0, tonumber(first[2]) - NOW_MS)) or ''
return {requeued, dead, #promoted, next_ms}
