-- include: keys clock json records index
-- Bring the index up to date by one step, for when no worker runs. May be called at any time.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     agent…; none: every task is ours
-- returns  how many ids are still unknown, at least
-- cost     a look at 512 records at most

local LONG_WINDOW = 448   -- nobody waits for a reply here, as with a claim
local agents = agents_from(1)
begin_index(agents)
look_after_index(agents)
if unknown_ones() > 0 then look_for_unknown(agents, LONG_WINDOW) end
return math.max(0, unknown_ones())
