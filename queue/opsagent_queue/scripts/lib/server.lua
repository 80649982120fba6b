-- What Redis tells about itself; some managed servers do not let clients ask.
local function told(section, pattern)
  local info = redis.pcall('INFO', section)
  return type(info) == 'string' and string.match(info, pattern) or ''
end
