-- The orchestrator's record of a task: reading it, and writing the fields a worker owns.

local TERMINAL = {completed = true, failed = true, cancelled = true}

-- Lua's cjson has no null: it decodes to a marker that is not nil.
local function present(value)
  if value ~= cjson.null then return value end
end

-- The record of `id`: {data = text, doc = decoded for reading only, final = status or nil, created_at}.
-- nil if there is no record, or none that can be read as a JSON object.
-- A status counts as final if either the hash or the data says so: the two are written by others,
-- and not running a finished task is the safer mistake.
local function read_record(id)
  local data, status = unpack(redis.call('HMGET', RECORD_PREFIX .. id, 'data', 'status'))
  if not data or not string.find(data, '^%s*{') then return nil end
  local valid, doc = pcall(cjson.decode, data)
  if not valid then return nil end
  local inner = present(doc.status)
  local final = TERMINAL[status] and status or TERMINAL[inner] and inner or nil
  return {
    data = data,
    doc = doc,
    final = final,
    created_at = present(doc.created_at) or '',
  }
end

-- Whether a task assigned to `agent` is ours. agents: set of names, or nil for every task.
local function ours(record, agents)
  return not agents or agents[record.doc.assigned_to] == true
end

-- {name -> true} from ARGV[first] on; nil when there is none, which means every task.
local function agents_from(first)
  if #ARGV < first then return nil end
  local agents = {}
  for index = first, #ARGV do agents[ARGV[index]] = true end
  return agents
end

-- Write `status` and `changes` (see json_set) into the data, and the status beside it.
local function write_record(id, record, status, changes)
  changes[#changes + 1] = {'status', json_string(status)}
  record.data = json_set(record.data, changes)
  redis.call('HSET', RECORD_PREFIX .. id, 'data', record.data, 'status', status,
    'updated_at', iso_now())
end

-- The data's count of attempts after the first.
local function retry_count(record)
  return tonumber(present(record.doc.retry_count)) or 0
end

-- The score of a task by its priority, as the orchestrator gives it.
local function score_by_priority(record)
  local scores = {P0 = '1', P1 = '2', P2 = '3', P3 = '4'}
  return record and scores[record.doc.priority] or '3'
end
