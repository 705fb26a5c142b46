-- A browser request whose path, referer and cookie never repeat: nothing remembered of the previous head fits entirely.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local browser_request = dofile(folder .. "headers.lua")
local counter = 10000000

function request()
   counter = counter + 1
   return browser_request(
      "/articles/" .. counter,
      "http://www.example.com/from/" .. counter,
      "session=0123456789abcdef" .. counter .. "; theme=dark")
end
