-- The orchestrator's record of a task: reading it, and writing the fields a worker owns.

local TERMINAL = {completed = true, failed = true, cancelled = true}

-- A value that must be text, as Lua's cjson decodes it; anything else counts as absent.
local function text_of(value)
  return type(value) == 'string' and value or ''
end

-- data, decoded for reading only; nil if it is no JSON object.
local function decode_object(data)
  if not data or not string.find(data, '^%s*{') then return nil end
  local valid, doc = pcall(cjson.decode, data)
  return valid and doc or nil
end

-- The record of `id`: {data = text, doc = decoded for reading only, final = status or nil, type,
-- created_at, stored_status = status beside the data, touched = whether somebody has written to it
-- since it was created}. nil if there is no record, or none that can be read as a JSON object.
-- A status counts as final if either the hash or the data says so: the two are written by others,
-- and not running a finished task is the safer mistake.
local function read_record(id)
  local data, status, updated = unpack(redis.call('HMGET', RECORD_PREFIX .. id, 'data', 'status',
    'updated_at'))
  local doc = decode_object(data)
  if not doc then return nil end
  return {
    data = data,
    doc = doc,
    final = TERMINAL[status] and status or TERMINAL[doc.status] and doc.status or nil,
    type = text_of(doc.type),
    created_at = text_of(doc.created_at),
    stored_status = status,
    touched = updated ~= false,
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
  return tonumber(record.doc.retry_count) or 0
end

-- The score of a task by its priority, as the orchestrator gives it.
local function score_by_priority(record)
  local scores = {P0 = '1', P1 = '2', P2 = '3', P3 = '4'}
  return record and scores[record.doc.priority] or '3'
end
