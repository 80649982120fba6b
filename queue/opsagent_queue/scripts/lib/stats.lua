-- What was finished, per version and minute, and the last ones of all.
--
-- <own>:stats:<version>:<minute> = {ok, failed, cancelled, retried, crashed, error:<class>,
-- <outcome>:<type> for ok and failed, us = run time in microseconds of what ended ok or failed,
-- le:<seconds> = how many of those took no longer and are in no lower one}
-- RECENT = the end events of the last tasks, the newest first.

local STATS_TTL_MS = 2 * 3600 * 1000
local RECENT_LENGTH = 50
local STATS_FIELDS = 200   -- types and classes beyond that many fields are counted as "other"
local LIMITS = {0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800}
local BUCKETS = {}
for index, limit in ipairs(LIMITS) do BUCKETS[index] = 'le:' .. limit end

local TALLIES, ENDS = {}, {}

local function tally(version, field, amount)
  TALLIES[version] = TALLIES[version] or {}
  TALLIES[version][field] = (TALLIES[version][field] or 0) + amount
end

-- An attempt ended. outcome: ok, failed, cancelled, retried or crashed.
local function tally_outcome(version, outcome, kind, seconds, error_class)
  tally(version, outcome, 1)
  if error_class ~= '' then tally(version, 'error:' .. string.sub(error_class, 1, 64), 1) end
  if outcome ~= 'ok' and outcome ~= 'failed' then return end
  tally(version, outcome .. ':' .. string.sub(kind, 1, 64), 1)
  tally(version, 'us', math.floor(seconds * 1000000 + 0.5))
  local bucket = 'le:inf'
  for index, limit in ipairs(LIMITS) do
    if seconds <= limit then
      bucket = BUCKETS[index]
      break
    end
  end
  tally(version, bucket, 1)
end

local function remember_end(event)
  ENDS[#ENDS + 1] = event
end

local function write_stats()
  for version, fields in pairs(TALLIES) do
    local key = STATS_PREFIX .. version .. ':' .. ms(MINUTE)
    local room = STATS_FIELDS - redis.call('HLEN', key)
    for field, amount in pairs(fields) do
      local prefix = string.match(field, '^(%a+:)')
      if room <= 0 and prefix and prefix ~= 'le:' and redis.call('HEXISTS', key, field) == 0 then
        field = prefix .. 'other'
      end
      if redis.call('HINCRBY', key, field, ms(amount)) == amount then room = room - 1 end
    end
    redis.call('PEXPIRE', key, STATS_TTL_MS)
  end
  if #ENDS > 0 then
    with_all(ENDS, 'LPUSH', RECENT)
    redis.call('LTRIM', RECENT, 0, RECENT_LENGTH - 1)
  end
end
