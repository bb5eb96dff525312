-- ARGV: now, {claims, quotas}. How they stand; changes nothing.
local asked, budgets, quotas = cmsgpack.unpack(ARGV[2]), {}, {}
for number, claim in ipairs(asked[1]) do budgets[number] = standing(claim) end
for number, quota in ipairs(asked[2]) do quotas[number] = quota_standing(quota) end
return {budgets, quotas}
