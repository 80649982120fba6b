-- Leaving the dead letters alive or for good.

-- Whether this very call took `id` out of the dead letters before: it is being sent again.
local function taken_out(id, token)
  return redis.call('HGET', HISTORY_PREFIX .. id, 'undead') == token
end

local function take_out(id, token)
  redis.call('ZREM', DEAD, id)
  redis.call('HDEL', DEAD_RECORDS, id)
  -- A task that died left nothing in its history but how its last lease ended: no crash, no attempt.
  redis.call('HSET', HISTORY_PREFIX .. id, 'undead', token)
  redis.call('PEXPIRE', HISTORY_PREFIX .. id, SETTLED_TTL_MS)
end
