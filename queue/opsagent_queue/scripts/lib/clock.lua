-- Time is Redis' own: the clocks of workers never meet.
local TIME = redis.call('TIME')
local NOW_MS = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

-- Milliseconds as Redis and readers want them: whole, and never in exponent notation.
local function ms(number)
  return string.format('%.0f', number)
end

-- Now as the orchestrator writes times: 2025-10-22T12:34:56.789012+00:00.
-- Days become a date by Howard Hinnant's "chrono-compatible low-level date algorithms".
local function iso_now()
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
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06d+00:00', year, month, day,
    math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60, tonumber(TIME[2]))
end
