-- Publish an event about a task on both of its channels, in the wire format of wire.py's Event.
-- payload: JSON object; the task's type is added to it. record may be nil: its trace is then unknown.
-- Returns the event's JSON.
local function publish(event_id, event_type, priority, id, record, payload)
  local trace = record and json_get(record.data, 'trace_id') or 'null'
  if record then
    payload = json_set(payload, {{'task_type', json_get(record.data, 'type') or 'null'}})
  end
  local event = '{"event_id": ' .. json_string(event_id) .. ', "event_type": "' .. event_type
    .. '", "priority": "' .. priority .. '", "source_agent": "ops", "trace_id": ' .. trace
    .. ', "task_id": ' .. json_string(id) .. ', "payload": ' .. payload
    .. ', "timestamp": "' .. iso_now() .. '", "metadata": {}}'
  redis.call('PUBLISH', EVENT_PREFIX .. event_type, event)
  redis.call('PUBLISH', EVENT_PREFIX .. '*', event)
  return event
end

local EVENTS = 0

-- The next id of this call: unique as long as each call brings a UUID of its own.
local function next_event_id(seed)
  EVENTS = EVENTS + 1
  return string.format('%s%012x', string.sub(seed, 1, 24), EVENTS)
end

-- The end of a task that was cancelled while somebody held it.
local function publish_cancelled(seed, id, record)
  publish(next_event_id(seed), 'task.cancelled', 'medium', id, record, '{"status": "cancelled"}')
end
