-- nvim -l bridge.lua INIT: an editor with a main loop of its own, asked by JSON lines {method, params} on stdin.
local editor = vim.fn.jobstart({ vim.v.progpath, '--embed', '--headless', '-n', '-u', arg[1] }, { rpc = true })
for line in io.lines() do
  local call = vim.json.decode(line)
  local ok, result = pcall(vim.rpcrequest, editor, call.method, unpack(call.params))
  io.write(vim.json.encode({ ok = ok, result = result }) .. '\n')
  io.flush()
end
