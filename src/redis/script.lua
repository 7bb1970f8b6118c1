-- Decides for a subject about all quotas of a policy: all are charged, or none is. Or for several subjects, for all of them or none.
--
-- KEYS     the subjects.
-- ARGV     for each subject, one after the other: op, cost, number of quotas; then five for each quota. Of one subject alone, then,
--          to settle, what `reserve` returned of the charge; or, to lease, the width of a slot, the most that may be lent, and how
--          much is wanted beside the cost.
--   op     check | reserve (a check that also returns by what to settle) | lease (the same, and it may be lent more to
--          spend by itself) | peek | refund | settle | reset
--   quota  what it is called, and its period, as NAME/PERIOD, or, if it has no name, AMOUNT/PERIOD; and then
--          bucket: b, units a token, units a microsecond, units of a full bucket
--          window: f (fixed) or a (aligned), length, amount, 0
--          sliding: s, length, amount, step in which the previous window's share falls
--          strict: w, length of a sub-window, amount, sub-windows that count beside the newest
--
-- Returns, for each subject, if there are several: 1 or 0, the time; for each quota what is left, microseconds until the whole limit
-- is back, and microseconds until the cost passes (-1 for never); for `reserve` and `lease`, of each quota by what to settle; for
-- `lease`, what is lent, and for how many microseconds.
--
-- A value is text: the time of the last change, then a record for each quota, which says all that is needed to read it:
--   NAME/PERIOD:b,units a token,units a microsecond,units owed       NAME/PERIOD:f|a,length,end,count
--   NAME/PERIOD:s,length,number of the window,previous,current
--   NAME/PERIOD:w,length of a sub-window,number of the newest,how many more count,counts from the newest on
-- While something is lent, the time is time,width of a slot,lent in this slot,lent in the one before; and m, if it was lent
-- under another policy. Where policies have taken turns, it ends with @ and when they last did.
--
-- A quota goes on with the record of its name; or else with one of its period; or else with one of those that are left, in order. So
-- what was spent under one policy is spent under another, whatever its width. Records that no quota takes wait for the policy that
-- has theirs. How much time has given back of a charge is known while there is one rate. So what was charged before policies last took
-- turns cannot be settled: then `settle` returns 0, and nothing has changed.
--
-- What is lent in a slot may be spent until the next slot ends, or the first window. Until then a bucket owes it, however much it
-- refills: so what is left and what is lent are never more than a burst together. And no slot is given another width before all
-- that was lent is over. What was lent under another policy may outlast the windows of this one, so they count it, too; and
-- nothing more is lent meanwhile. So does a server that has just come up count all that it may have forgotten.
--
-- All numbers are whole and below 2^53, times in microseconds, so doubles are exact: sums and products stay below 2^53, a product
-- that may not is only compared with what does, and the floor or ceiling of a quotient of such numbers is that of the exact one.
local floor, ceil, max, min, format, match, tonumber =
  math.floor, math.ceil, math.max, math.min, string.format, string.match, tonumber
local LARGEST = 4503599627370496 -- 2^52

local time = redis.call('TIME')
local read = time[1] * 1000000 + time[2]

-- A record as its parts; nil if it is none.
local function parts(word)
  local called, kind, a, b, rest = match(word, '^([^:]+):([bfasw]),(%d+),(%d+),([%d,]+)$')
  if not called then return nil end
  -- With room for all, so that it is made once.
  local this = { word = word, called = called, kind = kind, a = tonumber(a), b = tonumber(b), c = nil, d = nil }
  if kind == 's' then
    local c, d = match(rest, '^(%d+),(%d+)$')
    this.c, this.d = tonumber(c), d and tonumber(d)
  elseif kind == 'w' then
    this.counts = {}
    for count in string.gmatch(rest, '%d+') do
      if this.c then this.counts[#this.counts + 1] = tonumber(count) else this.c = tonumber(count) end
    end
  else
    this.c = tonumber(rest)
  end
  return this.c and this.a >= 1 and this or nil
end

-- Which record each quota goes on with, and which are left.
local function matched(called, records)
  local of, rest = {}, records
  local function name(text) return match(text, '^(%a[^/]*)/') or text end
  local function period(text) return match(text, '/(.*)$') end
  local function any() return true end
  for _, say in ipairs({ name, period, any }) do
    for i = 1, #called do
      local left = {}
      for _, record in ipairs(rest) do
        if not of[i] and say(record.called) == say(called[i]) then of[i] = record else left[#left + 1] = record end
      end
      rest = left
    end
  end
  return of, rest
end

-- Decides about one subject, whose value is this, as the arguments after so many say. Returns the answer, and what is to be written: a
-- value and in how many milliseconds it is over, false to delete it, or nil if nothing is.
local function decide(key, skip, value)
  local op, cost, quotas = ARGV[skip + 1], tonumber(ARGV[skip + 2]), tonumber(ARGV[skip + 3])
  local called, kinds, ps, qs, rs = {}, {}, {}, {}, {}
  for i = 1, quotas do
    local at = skip + 5 * i
    called[i], kinds[i] = ARGV[at - 1], ARGV[at]
    ps[i], qs[i], rs[i] = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  end
  local more_at = skip + 3 + 5 * quotas

  -- Time never steps back for a subject.
  local now, last, records = read, nil, {}
  local slot, lent, before, moved, turned
  if value then
    local n, head = 0, nil
    for word in string.gmatch(value, '%S+') do
      if n == 0 then last, head = tonumber(word), word else records[n] = parts(word) or false end
      n = n + 1
    end
    if not last and head then
      local rest, at = match(head, '^([^@]*)@(%d+)$')
      head, turned = rest or head, tonumber(at)
      last = tonumber(head)
    end
    if not last and head then
      last, slot, lent, before, moved = match(head, '^(%d+),(%d+),(%d+),(%d+)(,?m?)$')
      last, slot, lent, before, moved = tonumber(last), tonumber(slot), tonumber(lent), tonumber(before), moved == ',m'
    end
    local good = last and n > 1 and slot ~= 0
    for i = 1, n - 1 do good = good and records[i] end
    if not good then return redis.error_reply('TOLLGATE the value of this key is not a limit\'s') end
    if last > now then now = last end
  end
  local lag = now - read

  -- Mostly, each record is that of the quota in its place.
  local of, rest = records, nil
  for i = 1, value and max(quotas, #records) or 0 do
    if not records[i] or records[i].called ~= called[i] then
      of, rest = matched(called, records)
      break
    end
  end

  -- Of what is lent: what a bucket's debt comes to now, what of it is lent, and in how many microseconds it owes no more than so much.
  -- Only where something is or may be lent, so that it costs others nothing.
  local refilled, least, falls, ends, held
  if slot or op == 'lease' then
    -- Since the last change: until when how much had been lent. Then a slot more or two have passed.
    if slot then
      local e, passed = (floor(last / slot) + 1) * slot, floor(now / slot) - floor(last / slot)
      ends, held = { min(e, now), min(e + slot, now), now }, { lent + before, lent, 0 }
      if passed == 1 then lent, before = 0, lent elseif passed > 1 then lent, before = 0, 0 end
    elseif not value then
      local width = tonumber(ARGV[more_at + 1])
      local uptime = tonumber(match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
      -- It is told in whole seconds, of which the first was not whole.
      if (uptime - 1) * 1000000 < 2 * width then
        slot, lent, before, moved = width, tonumber(ARGV[more_at + 2]), 0, true
      end
    end
    function refilled(debt, units, gain)
      local from = last
      for j = 1, 3 do
        debt = max(debt - gain * (ends[j] - from), min(held[j] * units, LARGEST))
        from = ends[j]
      end
      return debt
    end
    function least(units)
      return min((lent + before) * units, LARGEST)
    end
    function falls(debt, to, units, gain)
      local from = now
      for j = 1, 2 do
        local e, low = (floor(now / slot) + j) * slot, min((j == 1 and lent + before or lent) * units, LARGEST)
        if low <= to and debt - gain * (e - from) <= to then break end
        debt, from = max(debt - gain * (e - from), low), e
      end
      return from - now + max(0, ceil((debt - to) / gain))
    end
  end
  if op == 'reset' then of, rest = {}, nil end

  -- What a bucket's record owes now.
  local function debt_of(this)
    return ends and refilled(this.c, this.a, this.b) or max(0, this.c - this.b * (now - last))
  end

  -- What a record comes to now, in whole requests, rounded up: for a quota that is counted in another way.
  local function owed(this)
    local kind, a, b, c, d = this.kind, this.a, this.b, this.c, this.d
    if kind == 'b' then
      return ceil(debt_of(this) / a)
    elseif kind == 'f' or kind == 'a' then
      return b > now and c or 0
    elseif kind == 's' then
      local number = floor(now / a)
      if b == number then return min(c, floor(c * ((b + 1) * a - now) / a) + 2) + d end
      if b + 1 == number then return min(d, floor(d * ((number + 1) * a - now) / a) + 2) end
      return 0
    end
    local spent = 0
    for j = 1, min(#this.counts, c + 1 - (floor(now / a) - b)) do spent = spent + this.counts[j] end
    return spent
  end

  -- The quotas' state now, three numbers each. A strict window's third is the table of its counts, from the newest on.
  local first, second, third = {}, {}, {}
  for i = 1, quotas do
    local kind, p, q, r, record = kinds[i], ps[i], qs[i], rs[i], of[i]
    local same = record and record.kind == kind and record.a == p
    if slot and not same then moved = true end
    if record and not (same and (kind ~= 'b' or record.b == q)) then turned = now end
    local spent = record and not same and owed(record) or 0
    if kind == 'b' then
      if record and record.kind == 'b' then
        local debt = debt_of(record)
        if not same and debt > 0 then debt = ceil(debt / record.a * p) + 1 end
        first[i] = min(debt, LARGEST)
      else
        first[i] = min(spent * p, LARGEST)
      end
    elseif kind == 'f' or kind == 'a' then
      if same and record.b > now and record.c > 0 then
        first[i], second[i] = record.b, record.c
      else
        first[i] = kind == 'f' and now + p or (floor(now / p) + 1) * p
        second[i] = spent
      end
    elseif kind == 's' then
      local number = floor(now / p)
      local most = floor(LARGEST / ceil(p / r))
      first[i], second[i], third[i] = number, 0, spent
      if same then
        if record.b == number then
          second[i], third[i] = record.c, record.d
        elseif record.b + 1 == number then
          second[i] = record.d
        end
      end
      second[i], third[i] = min(second[i], most), min(third[i], most)
    else
      local number = floor(now / p)
      if same then
        local counts, passed = record.counts, number - record.b
        local shifted, total = {}, 0
        if passed <= r then
          for j = 1, min(passed, r + 1) do shifted[j] = 0 end
          for j = 1, min(#counts, r + 1 - passed) do
            shifted[passed + j] = counts[j]
            total = total + counts[j]
          end
        end
        first[i], second[i], third[i] = number, total, shifted
      else
        first[i], second[i], third[i] = number, spent, { spent }
      end
    end
  end

  local width = op == 'lease' and tonumber(ARGV[more_at + 1])
  if slot and width and slot ~= width then moved = true end
  if slot and lent + before == 0 then slot = nil end
  if slot then
    local total = lent + before
    for i = 1, quotas do
      local kind, p, q, r = kinds[i], ps[i], qs[i], rs[i]
      if kind == 'b' then
        first[i] = max(first[i], least(p))
      elseif moved and (kind == 'f' or kind == 'a') then
        second[i] = max(second[i], total)
      elseif moved and kind == 's' then
        third[i] = max(third[i], min(total, floor(LARGEST / ceil(p / r))))
      elseif moved then
        local newest = third[i][1] or 0
        third[i][1] = max(newest, total)
        second[i] = second[i] + third[i][1] - newest
      end
    end
  elseif width then
    slot, lent, before, moved = width, 0, 0, nil
  end

  -- What is left, when all is back, and when the cost passes, of quota i; times from now on, -1 for never.
  local function judge(i)
    local kind, p, q, r = kinds[i], ps[i], qs[i], rs[i]
    if kind == 'b' then
      local debt = first[i]
      local left, back, wait = floor(max(0, r - debt) / p), 0, 0
      if debt > 0 and q > 0 then back = slot and falls(debt, 0, p, q) or ceil(debt / q) end
      if cost * p > r then
        wait = -1
      elseif debt + cost * p > r then
        wait = slot and falls(debt, r - cost * p, p, q) or ceil((debt + cost * p - r) / q)
      end
      return left, back, wait
    end
    local left, back, wait = 0, 0, 0
    if kind == 'f' or kind == 'a' then
      left = max(0, q - second[i])
      if second[i] > 0 then back = first[i] - now end
      if cost > left then wait = first[i] - now end
    elseif kind == 's' then
      -- The previous window's share falls in `steps` equal steps.
      local previous, current, steps = second[i], third[i], ceil(p / r)
      local start = first[i] * p
      local weighted = ceil(previous * (steps - floor((now - start) / r)) / steps)
      left = max(0, q - weighted - current)
      if current > 0 then back = start + 2 * p - now elseif previous > 0 then back = start + p - now end
      if cost > left and cost <= q then
        -- The step from which a previous count leaves room for so much; at the latest the next window's first.
        local function fits(count, room)
          if count <= room then return 0 end
          return (steps - floor(room * steps / count)) * r
        end
        local offset = p
        if current + cost <= q then offset = fits(previous, q - current - cost) end
        wait = offset < p and start + offset - now or start + p + min(p, fits(current, q - cost)) - now
      end
    else
      local newest, total, counts = first[i], second[i], third[i]
      left = max(0, q - total)
      local youngest
      for j = 1, #counts do
        if counts[j] > 0 then youngest = j break end
      end
      -- Counts of sub-window n are over when n + r + 1 begins.
      if youngest then back = (newest - youngest + 1 + r + 1) * p - now end
      if cost > left and cost <= q then
        local j = #counts
        while j > 1 and total - counts[j] + cost > q do
          total = total - counts[j]
          j = j - 1
        end
        wait = (newest - j + 1 + r + 1) * p - now
      end
    end
    if cost > q then wait = -1 end
    return left, back, wait
  end

  local reply, passes = { 1, now }, true
  local charges = op == 'check' or op == 'reserve' or op == 'lease'
  for i = 1, quotas do
    local left, back, wait = judge(i)
    if wait ~= 0 and cost > 0 then passes = false end
    reply[3 * i], reply[3 * i + 1], reply[3 * i + 2] = left, back, wait
  end

  -- What is lent beside the cost, and until when.
  local more, life = 0, 0
  if width and passes and not moved then
    life = (floor(now / slot) + 2) * slot - now
    more = min(tonumber(ARGV[more_at + 3]), tonumber(ARGV[more_at + 2]) - lent - before)
    for i = 1, quotas do
      local kind, p = kinds[i], ps[i]
      if kind == 'f' or kind == 'a' then
        life = min(life, first[i] - now)
      elseif kind ~= 'b' then
        life = min(life, (first[i] + 1) * p - now)
      end
      more = min(more, reply[3 * i] - cost)
    end
    -- Near a window's end less of it would be spent.
    if life < slot then more = floor(more * (life / slot)) end
    more = max(0, more)
    lent = lent + more
  end

  local text, expiry
  local is_settled = op == 'settle' and value and not (turned and tonumber(ARGV[more_at + 1]) < turned)
  if op == 'settle' and value and not is_settled then reply[1] = 0 end
  if cost > 0 and (op == 'refund' and value or is_settled or charges and passes) or op == 'reset' and value then
    local words = { format('%.0f', now) }
    local fresh, waits = 0, false
    if slot and lent + before > 0 then
      words[1] = format('%.0f,%.0f,%.0f,%.0f', now, slot, lent, before) .. (moved and ',m' or '')
      fresh = (floor(now / slot) + (lent > 0 and 2 or 1)) * slot - now
    end
    if turned then words[1] = words[1] .. format('@%.0f', turned) end
    for i = 1, quotas do
      local kind, p, q, r = kinds[i], ps[i], qs[i], rs[i]
      local mark = tonumber(ARGV[more_at + 1 + i])
      if kind == 'b' then
        if charges then
          first[i] = first[i] + (cost + more) * p
        else
          -- The bucket refills the oldest charge first, so of this one all is left that the bucket owed after it and has not refilled.
          local outstanding = first[i]
          if mark then outstanding = min(outstanding, max(0, mark - q * (now - tonumber(ARGV[more_at + 1])))) end
          first[i] = first[i] - min(cost * p, outstanding)
          if slot then first[i] = max(first[i], least(p)) end
        end
        -- Of no rate, nothing is given back: it waits for a policy that has one.
        waits = waits or q == 0 and first[i] > 0
        words[i + 1] = format('%s:b,%.0f,%.0f,%.0f', called[i], p, q, first[i])
      elseif kind == 'f' or kind == 'a' then
        if charges then
          second[i] = second[i] + cost + more
        elseif not mark or mark == first[i] then
          second[i] = max(0, second[i] - cost)
        end
        words[i + 1] = format('%s:%s,%.0f,%.0f,%.0f', called[i], kind, p, first[i], second[i])
      elseif kind == 's' then
        if charges then
          third[i] = third[i] + cost + more
        elseif (mark or floor(last / p)) == first[i] then
          third[i] = max(0, third[i] - cost)
        elseif (mark or floor(last / p)) + 1 == first[i] then
          second[i] = max(0, second[i] - cost)
        end
        words[i + 1] = format('%s:s,%.0f,%.0f,%.0f,%.0f', called[i], p, first[i], second[i], third[i])
      else
        local counts = third[i]
        if charges then
          counts[1] = (counts[1] or 0) + cost + more
        elseif mark then
          local j = first[i] - mark + 1
          if j >= 1 and counts[j] then counts[j] = max(0, counts[j] - cost) end
        else
          local left = cost
          for j = 1, #counts do
            local back = min(left, counts[j])
            counts[j], left = counts[j] - back, left - back
          end
        end
        local length, texts = #counts, {}
        while length > 1 and counts[length] == 0 do length = length - 1 end
        local total = 0
        for j = 1, length do
          texts[j] = format('%.0f', counts[j] or 0)
          total = total + (counts[j] or 0)
        end
        second[i] = total
        if length == 0 then texts[1] = '0' end
        words[i + 1] = format('%s:w,%.0f,%.0f,%.0f,', called[i], p, first[i], r) .. table.concat(texts, ',')
      end
      local left, back = judge(i)
      reply[3 * i], reply[3 * i + 1] = left, back
      fresh = max(fresh, back)
    end
    -- What no quota has taken, as it is now: its time goes on with the others'.
    for _, this in ipairs(rest or {}) do
      waits = waits or owed(this) > 0
      words[#words + 1] = this.kind ~= 'b' and this.word
        or format('%s:b,%.0f,%.0f,%.0f', this.called, this.a, this.b, debt_of(this))
    end
    -- A second more than is needed, because the server may expire by a clock that it read a little earlier.
    expiry = ceil((fresh + lag) / 1000) + 1000
    if waits then expiry = max(expiry, redis.call('PTTL', key)) end
    text = (fresh > 0 or waits) and table.concat(words, ' ')
  end
  if charges and not passes then reply[1] = 0 end

  if width or op == 'reserve' then
    for i = 1, quotas do
      reply[3 * quotas + 2 + i] = kinds[i] == 'b' and first[i] - more * ps[i] or first[i]
    end
  end
  if width then
    reply[4 * quotas + 3], reply[4 * quotas + 4] = more, life
  end
  for i = 1, quotas do
    reply[3 * i + 1] = reply[3 * i + 1] > 0 and reply[3 * i + 1] + lag or 0
    if reply[3 * i + 2] > 0 then reply[3 * i + 2] = reply[3 * i + 2] + lag end
  end
  return reply, text, expiry
end

local function write(key, text, expiry)
  if text then
    redis.call('SET', key, text, 'PX', format('%.0f', expiry))
  elseif text == false then
    redis.call('DEL', key)
  end
end

if #KEYS == 1 then
  local reply, text, expiry = decide(KEYS[1], 0, redis.call('GET', KEYS[1]))
  write(KEYS[1], text, expiry)
  return reply
end

-- Several: nothing is written before it is known that all pass. What one asks of a subject, the next one of the same finds spent.
local replies, passes, skip, texts, expiries = {}, true, 0, {}, {}
for k, key in ipairs(KEYS) do
  local value = texts[key]
  if value == nil then value = redis.call('GET', key) end
  local reply, text, expiry = decide(key, skip, value)
  if reply.err then return reply end
  replies[k], passes, skip = reply, passes and reply[1] == 1, skip + 3 + 5 * tonumber(ARGV[skip + 3])
  if text ~= nil then texts[key], expiries[key] = text, max(expiry, expiries[key] or 0) end
end
for key, text in pairs(passes and texts or {}) do write(key, text, expiries[key]) end
return replies
