-- include: keys clock json leases
-- Note how far running tasks are, and forget those that have ended.
--
-- PROGRESS[id] = progress JSON with `fence` and `at` added: whose note it is, and when it came. Only
-- the holder of a task's lease may leave one. What a dead worker leaves behind goes by and by: each
-- call looks at a few entries, so there are never many more than there are tasks in flight.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     id, owner, fence, progress JSON or '' to forget, of each task
-- returns  how many were noted or forgotten
-- cost     O(tasks · JSON)

local PROGRESS = OWN_PREFIX .. 'progress'
local TTL_MS = 24 * 3600 * 1000
local SWEEP = 4

local function forget(id, fence)
  local text = redis.call('HGET', PROGRESS, id)
  local whose = text and string.find(text, '^%s*{') and json_get(text, 'fence')
  if whose ~= json_string(fence) then return 0 end
  return redis.call('HDEL', PROGRESS, id)
end

local function note(id, owner, fence, text)
  if text == '' then return forget(id, fence) end
  if not held(id, owner, fence) then return 0 end
  redis.call('HSET', PROGRESS, id,
    json_set(text, {{'fence', json_string(fence)}, {'at', json_string(iso_now())}}))
  return 1
end

local noted = 0
for index = 1, #ARGV, 4 do noted = noted + note(unpack(ARGV, index, index + 3)) end
for _, id in ipairs(redis.call('HRANDFIELD', PROGRESS, SWEEP)) do
  if not redis.call('ZSCORE', LEASES, id) then redis.call('HDEL', PROGRESS, id) end
end
redis.call('PEXPIRE', PROGRESS, TTL_MS)
return noted
