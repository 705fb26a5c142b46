-- The twelve headers of a browser, as one request head. Written out in full because wrk's own header table has no order.
-- Both scripts that use it send the same number of bytes, give or take the digits of a counter.
return function(path, referer, cookie)
   return "GET " .. path .. " HTTP/1.1\r\n" ..
      "Host: www.example.com\r\n" ..
      "Connection: keep-alive\r\n" ..
      "Cache-Control: max-age=0\r\n" ..
      "Upgrade-Insecure-Requests: 1\r\n" ..
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" ..
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" ..
      "Sec-Fetch-Site: same-origin\r\n" ..
      "Sec-Fetch-Mode: navigate\r\n" ..
      "Referer: " .. referer .. "\r\n" ..
      "Accept-Encoding: gzip, deflate, br, zstd\r\n" ..
      "Accept-Language: en-US,en;q=0.9\r\n" ..
      "Cookie: " .. cookie .. "\r\n\r\n"
end
