-- Time is Redis' own: the clocks of workers never meet.
local TIME = redis.call('TIME')
local NOW_MS = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local NOW_US = TIME[1] * 1000000 + TIME[2]
local MINUTE = math.floor(NOW_MS / 60000)

-- Milliseconds as Redis and readers want them: whole, and never in exponent notation.
local function ms(number)
  return string.format('%.0f', number)
end

-- Dates and days by Howard Hinnant's "chrono-compatible low-level date algorithms".

-- Now as the orchestrator writes times: 2025-10-22T12:34:56.789012+00:00.
local NOW_ISO
local function iso_now()
  if NOW_ISO then return NOW_ISO end
  local seconds = tonumber(TIME[1])
  local z = math.floor(seconds / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor(
    (doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local rest = seconds % 86400
  NOW_ISO = string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06d+00:00', year, month, day,
    math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60, tonumber(TIME[2]))
  return NOW_ISO
end

local DAYS = {}

-- Days from 1970-01-01 to a date like 2025-10-22. Most tasks of a queue share few dates.
local function days_until(date)
  local known = DAYS[date]
  if known then return known end
  local year, month, day = string.match(date, '(%d+)-(%d+)-(%d+)')
  year, month = tonumber(year) - (tonumber(month) <= 2 and 1 or 0), tonumber(month)
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * (month > 2 and month - 3 or month + 9) + 2) / 5) + day - 1
  local days = era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
  DAYS[date] = days
  return days
end

local MINUTES = {}

-- An ISO 8601 time, without an offset in UTC, as microseconds since the epoch; nil if it is none.
local function parse_us(text)
  -- As the orchestrator writes it. Most tasks of a queue share few minutes.
  local minute_text, seconds, micros =
    string.match(text, '^(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d):(%d%d)%.(%d%d%d%d%d%d)%+00:00$')
  if minute_text then
    local begun = MINUTES[minute_text]
    if not begun then
      begun = days_until(string.sub(minute_text, 1, 10)) * 86400 + string.sub(minute_text, 12, 13) * 3600
        + string.sub(minute_text, 15, 16) * 60
      MINUTES[minute_text] = begun
    end
    return (begun + seconds) * 1000000 + micros
  end
  local date, hour, minute, second, rest =
    string.match(text, '^(%d%d%d%d%-%d%d%-%d%d)[T ](%d%d):(%d%d):(%d%d)(.*)$')
  if not date then return nil end
  local fraction, zone = string.match(rest, '^%.(%d+)(.*)$')
  local us = fraction and tonumber(string.sub(fraction .. '00000', 1, 6)) or 0
  local offset = 0
  zone = zone or rest
  if zone ~= '+00:00' and zone ~= 'Z' and zone ~= '' then
    local sign, hours, minutes = string.match(zone, '^([+-])(%d%d):?(%d%d)$')
    if not sign then return nil end
    offset = (hours * 3600 + minutes * 60) * (sign == '+' and 1 or -1)
  end
  return (days_until(date) * 86400 + hour * 3600 + minute * 60 + second - offset) * 1000000 + us
end
