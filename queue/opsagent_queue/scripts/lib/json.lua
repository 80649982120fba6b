-- Edits JSON text in place. Decoding and encoding again with cjson would turn [] into {}, cut big
-- numbers to 14 digits and reorder fields; here every byte that is not replaced stays as it was.
-- The text must be a valid JSON object: callers have let cjson.decode judge it first.

-- Position of the quote that closes the string opened at `at`.
local function json_string_end(text, at)
  local position = at + 1
  while true do
    position = string.find(text, '["\\]', position)
    if string.byte(text, position) == 34 then return position end
    position = position + 2
  end
end

-- Position of the last byte of the value that begins at `at`.
local function json_value_end(text, at)
  local first = string.byte(text, at)
  if first == 34 then return json_string_end(text, at) end
  if first ~= 123 and first ~= 91 then
    local _, last = string.find(text, '^[%w+.-]+', at)
    return last
  end
  local depth, position = 0, at
  while true do
    position = string.find(text, '["{}%[%]]', position)
    local byte = string.byte(text, position)
    if byte == 34 then
      position = json_string_end(text, position)
    elseif byte == 123 or byte == 91 then
      depth = depth + 1
    else
      depth = depth - 1
      if depth == 0 then return position end
    end
    position = position + 1
  end
end

-- Where the top-level values are: {name -> {first, last}}, the position of the closing brace, and
-- whether there is any field. Of a repeated name the last one counts, as for Python's reader.
local function json_fields(text)
  local fields, any = {}, false
  local position = string.find(text, '{', 1, true) + 1
  while true do
    position = string.find(text, '[^%s,]', position)
    if string.byte(text, position) == 125 then return fields, position, any end
    local closing = json_string_end(text, position)
    local name = string.sub(text, position, closing)
    name = string.find(name, '\\', 1, true) and cjson.decode('[' .. name .. ']')[1]
      or string.sub(name, 2, -2)
    local first = string.find(text, '[^%s:]', closing + 1)
    local last = json_value_end(text, first)
    fields[name], any = {first, last}, true
    position = last + 1
  end
end

-- The raw text of one top-level value, or nil.
local function json_get(text, name)
  local span = json_fields(text)[name]
  return span and string.sub(text, span[1], span[2])
end

-- `text` with top-level values replaced, or added at its end where absent.
-- changes: list of {name, raw JSON}; names are plain ASCII and occur once.
local function json_set(text, changes)
  local fields, closing, any = json_fields(text)
  local edits, added = {}, {}
  for _, change in ipairs(changes) do
    local span = fields[change[1]]
    if span then
      edits[#edits + 1] = {span[1], span[2], change[2]}
    else
      added[#added + 1] = '"' .. change[1] .. '": ' .. change[2]
    end
  end
  table.sort(edits, function(a, b) return a[1] < b[1] end)
  local parts, position = {}, 1
  for _, edit in ipairs(edits) do
    parts[#parts + 1] = string.sub(text, position, edit[1] - 1)
    parts[#parts + 1] = edit[3]
    position = edit[2] + 1
  end
  parts[#parts + 1] = string.sub(text, position, closing - 1)
  if #added > 0 then
    if any then parts[#parts + 1] = ', ' end
    parts[#parts + 1] = table.concat(added, ', ')
  end
  parts[#parts + 1] = string.sub(text, closing)
  return table.concat(parts)
end

-- A Lua string as JSON.
local function json_string(text)
  return (string.gsub(cjson.encode(text), '\\/', '/'))
end
