-- A body of 16 MB.
local body = ("0123456789abcdef"):rep(1024 * 1024)
local request = "POST /streams/upload HTTP/1.1\r\n" ..
   "Host: www.example.com\r\n" ..
   "Content-Type: application/octet-stream\r\n" ..
   "Content-Length: " .. #body .. "\r\n\r\n" .. body

wrk.format = function() return request end
