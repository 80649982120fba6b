-- The record of a task that is being claimed: read, judged and edited with one decoding.

local PENDING, STARTED_NULL = '"status": "pending"', '"started_at": null'

-- Position of `wanted` in `text` if it occurs there exactly once.
local function only(text, wanted)
  local first, last = string.find(text, wanted, 1, true)
  if first and not string.find(text, wanted, last + 1, true) then return first, last end
end

-- What json_set would make of `data` for a status of in_progress and started_at = now, with the
-- outcome decoded; nil where the short cut is not safe.
--
-- It is taken for text as the orchestrator's json.dumps writes it, in which each of both places to
-- change occurs exactly once. That they are the top-level ones is shown by the outcome: there the
-- fields have values which, as long as no letter is written as an escape, the text did not contain.
local function quick_start(data, now)
  local status, status_end = only(data, PENDING)
  local started, started_end = only(data, STARTED_NULL)
  if not status or not started or string.find(data, 'in_progress', 1, true)
    or string.find(data, now, 1, true)
    or string.find(data, '\\u00', 1, true) and string.find(data, '\\u00[2-7]') then
    return nil
  end
  local outcome
  if status < started then
    outcome = string.sub(data, 1, status - 1) .. '"status": "in_progress"'
      .. string.sub(data, status_end + 1, started - 1) .. '"started_at": "' .. now .. '"'
      .. string.sub(data, started_end + 1)
  else
    outcome = string.sub(data, 1, started - 1) .. '"started_at": "' .. now .. '"'
      .. string.sub(data, started_end + 1, status - 1) .. '"status": "in_progress"'
      .. string.sub(data, status_end + 1)
  end
  local doc = decode_object(outcome)
  if doc and doc.status == 'in_progress' and doc.started_at == now then return outcome, doc end
end

-- The record of a waiting task as read_record gives it, and in `started` the text it gets when it is
-- claimed now.
local function read_for_start(id, now)
  local data, status, updated = unpack(redis.call('HMGET', RECORD_PREFIX .. id, 'data', 'status',
    'updated_at'))
  if not data then return nil end
  local started, doc = quick_start(data, now)
  doc = doc or decode_object(data)
  if not doc then return nil end
  return {
    data = data,
    doc = doc,
    started = started or json_set(data, {
      {'started_at', json_string(now)}, {'status', '"in_progress"'},
    }),
    final = TERMINAL[status] and status or TERMINAL[doc.status] and doc.status or nil,
    type = text_of(doc.type),
    created_at = text_of(doc.created_at),
    touched = updated ~= false,
  }
end
