-- Names of the keys, in the order of Keys.vector (keys.py).
local TASKS, PROCESSING, LEASES, CLAIMS, FENCE, DELAYED, DEAD, DEAD_RECORDS, ORPHANED, WORKERS,
      GATE, COUNTERS, INDEX, TYPES, FOREIGN, HELD, RECENT, DRAIN = unpack(KEYS)

-- "<prefix>:tasks" and "<own>:leases" tell the names of what belongs to a single task.
local RECORD_PREFIX = string.sub(TASKS, 1, -2) .. ':'
local EVENT_PREFIX = string.sub(TASKS, 1, -6) .. 'events:'
local OWN_PREFIX = string.sub(LEASES, 1, -7)
local HISTORY_PREFIX = OWN_PREFIX .. 'history:'
local BATCH_PREFIX = OWN_PREFIX .. 'batch:'
local READY_PREFIX = OWN_PREFIX .. 'ready:'
local SETTLED_PREFIX = OWN_PREFIX .. 'settled:'
local STATS_PREFIX = OWN_PREFIX .. 'stats:'
local WAKE = OWN_PREFIX .. 'wake'

local function count(name, times)
  if times ~= 0 then redis.call('HINCRBY', COUNTERS, name, times or 1) end
end

-- One command for a whole list: far cheaper than one per item. Lua unpacks no more than some
-- thousand values, and pairs must stay together, hence the even size of the pieces.
local function with_all(list, command, ...)
  for first = 1, #list, 2000 do
    local arguments = {command, ...}
    for index = first, math.min(#list, first + 1999) do arguments[#arguments + 1] = list[index] end
    redis.call(unpack(arguments))
  end
end
