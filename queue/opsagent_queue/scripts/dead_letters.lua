-- include: keys
-- Dead letters, the newest first. Reads only: also runs under EVAL_RO.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     how many to leave out at the beginning, how many to return at most
-- returns  {{id, died in ms since the epoch, letter JSON or '', record's data or ''}…}
-- cost     O(log dead + offset + limit · record)

local first = tonumber(ARGV[1])
local found = redis.call('ZREVRANGE', DEAD, first, first + tonumber(ARGV[2]) - 1, 'WITHSCORES')
local rows = {}
for index = 1, #found, 2 do
  local id = found[index]
  rows[#rows + 1] = {id, found[index + 1], redis.call('HGET', DEAD_RECORDS, id) or '',
    redis.call('HGET', RECORD_PREFIX .. id, 'data') or ''}
end
return rows
