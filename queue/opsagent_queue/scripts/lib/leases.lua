-- Who holds a task.
--
-- CLAIMS[id] = owner, fence, score, version, token: one a line, all text. A lease is held as long as
-- this entry names its owner and fence, also after its deadline: then it merely may be reaped.
-- <own>:history:<id> = what must outlive one lease: retries, crashes, score (while delayed),
-- versions (that tried and did not finish). Only a task with a past has one.
-- <own>:settled:<minute> = "fence id" -> how that lease was given back, by which verb. Of dead letters:
-- "token id" -> what was done with it, by the call with that token.

local HISTORY_TTL_MS = 7 * 24 * 3600 * 1000  -- of a task that waits: as long as records are kept
local SETTLED_TTL_MS = 5 * 60 * 1000         -- for calls that are sent twice

local DROPPED = {}    -- ids whose lease ends in this call
local SETTLING = {}   -- "fence id" -> verb, of this call

-- Numbers for `count` new leases; returns the last one. None is ever given twice: they are not below the
-- clock (in microseconds), also when the counter is lost with everything else, in a flush, or is behind,
-- after a failover that lost the last writes.
local function take_fences(count)
  local given = tonumber(redis.call('GET', FENCE)) or 0
  local last = math.max(given, NOW_US) + count
  redis.call('SET', FENCE, string.format('%.0f', last))
  return last
end

local function claim_text(owner, fence, score, version, token)
  return table.concat({owner, fence, score, version, token}, '\n')
end

local function read_claim(text)
  local owner, fence, score, version, token =
    string.match(text, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  if owner then
    return {owner = owner, fence = fence, score = score, version = version, token = token}
  end
end

-- Whether `text`, which is CLAIMS[id] or false, says that `owner` holds the task under `fence`.
local function holds(id, owner, fence, text)
  local shown = owner .. '\n' .. fence .. '\n'
  return not DROPPED[id] and text and string.sub(text, 1, #shown) == shown
end

-- The claim that `owner` holds under `fence`, or nil.
local function held(id, owner, fence)
  local text = redis.call('HGET', CLAIMS, id)
  if holds(id, owner, fence, text) then return read_claim(text) end
end

-- Whether this very lease was given back by the same `verb` before: the call is being sent again.
local function settled(id, fence, verb)
  local entry = fence .. ' ' .. id
  if SETTLING[entry] then return SETTLING[entry] == verb end
  for minute = MINUTE, MINUTE - SETTLED_TTL_MS / 60000, -1 do
    if redis.call('HGET', SETTLED_PREFIX .. ms(minute), entry) == verb then return true end
  end
  return false
end

-- Milliseconds until the next delayed task is due, 0 if overdue, or '' if none is delayed.
local function next_due_ms()
  local first = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  return first[2] and ms(math.max(0, tonumber(first[2]) - NOW_MS)) or ''
end
