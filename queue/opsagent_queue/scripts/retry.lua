-- include: keys clock json records leases
-- End an attempt; the task waits for its back-off and is tried again.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     id, owner, fence, delay in ms, error JSON
-- returns  1 done (now, or by the same call before) · 0 the lease was lost
-- cost     O(record + log in flight + log delayed)

local id, owner, fence, delay_ms, error_json = unpack(ARGV)

local claim = held(id, owner, fence)
if not claim then
  if settled(id, fence, 'retry') then return 1 end
  count('late_retries')
  return 0
end

local record = read_record(id)
local known = tonumber(redis.call('HGET', HISTORY_PREFIX .. id, 'retries')) or 0
local retries = string.format('%d', 1 + math.max(known, record and retry_count(record) or 0))
put_back(id, claim, 'retry', {'retries', retries, 'versions', versions_tried(id, claim.version)},
  {{'error', error_json}, {'retry_count', retries}}, NOW_MS + tonumber(delay_ms))
return 1
