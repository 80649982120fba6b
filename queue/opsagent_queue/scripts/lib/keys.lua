-- Names of the keys, in the order of Keys.vector (keys.py).
local TASKS, PROCESSING, LEASES, CLAIMS, FENCE, DELAYED, DEAD, DEAD_RECORDS, ORPHANED, WORKERS,
      GATE, COUNTERS = unpack(KEYS)

-- "<prefix>:tasks" and "<own>:leases" tell the names of what belongs to a single task.
local RECORD_PREFIX = string.sub(TASKS, 1, -2) .. ':'
local EVENT_PREFIX = string.sub(TASKS, 1, -6) .. 'events:'
local OWN_PREFIX = string.sub(LEASES, 1, -7)
local HISTORY_PREFIX = OWN_PREFIX .. 'history:'
local BATCH_PREFIX = OWN_PREFIX .. 'batch:'
local WAKE = OWN_PREFIX .. 'wake'

local function count(name)
  redis.call('HINCRBY', COUNTERS, name, 1)
end
