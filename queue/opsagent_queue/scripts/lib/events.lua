-- Publish an event about a task on both of its channels, in the wire format of wire.py's Event.
-- payload: JSON object; the task's type is added to it. record may be nil: its trace is then unknown.
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
end
