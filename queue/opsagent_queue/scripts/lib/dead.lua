-- Leaving the dead letters alive or for good.

-- verb: what for. token: the call's, by which settled() tells that it is being sent again.
local function take_out(id, token, verb)
  redis.call('ZREM', DEAD, id)
  redis.call('HDEL', DEAD_RECORDS, id)
  local key = SETTLED_PREFIX .. ms(MINUTE)
  redis.call('HSET', key, token .. ' ' .. id, verb)
  redis.call('PEXPIRE', key, SETTLED_TTL_MS + 60000)
end
